"""The contracts of what leads back from a SID, checked on what is on disk."""

import tempfile

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from upath import UPath

from sid_assets.core.contracts import Finding, Findings, Offenders
from sid_assets.core.reverse_index import MEMORY_LIMIT, json_chunks
from sid_assets.core.schema import CODE_LAYERS, MAX_CODEBOOK_SIZE
from sid_assets.core.sid_prefixes import SidPrefixes
from sid_assets.core.sids import pack, sid_text, unpack
from sid_assets.core.training_contracts import known_sids
from sid_assets.core.versions import Version

BATCH_ROWS = 65_536

SMALL = 1_000_000
"""As many triples of codes are all tried; of more only a sample is."""

SAMPLE = 200_000


def check_sid2pid(version: Version, pid2sid: Version, json_file: UPath, id_name: str) -> Findings:
    """SIDs are in order, their items those of `pid2sid`, and the JSON file says the same.

    Args:
        version: The table sid2pid.
        pid2sid: The table it is made from.
        json_file: The same as OneRec's JSON.
        id_name: What the JSON calls a pid.
    """
    wrong_text, wrong_lists = Offenders(), Offenders()
    last, ordered = -1, True
    for batch in version.stream(batch_rows=BATCH_ROWS):
        codes = batch["codes"].flatten().to_numpy().reshape(-1, CODE_LAYERS)
        packed = pack(codes)
        ordered &= bool((np.diff(packed, prepend=last) > 0).all())
        last = int(packed[-1])
        sids = batch["sid"]
        wrong_text.add(pc.not_equal(sids, sid_text(codes)).to_numpy(False), sids)
        wrong_lists.add(_wrong_lists(batch), sids)
    texts = wrong_text.finding("every SID is spelled as its codes", "a SID is not its codes")
    if texts.passed and not ordered:
        texts = Finding(False, "SIDs are not in the order of their codes, or there twice")
    return {
        "sids_in_order": texts,
        "most_frequent_first": wrong_lists.finding(
            "every SID has items, the most frequent first",
            "the counts of a SID are not one for each item, the highest first",
        ),
        "inverts_pid2sid": _check_inverse(version, pid2sid),
        "json_file": _check_json(version, json_file, id_name),
    }


def _wrong_lists(batch: pa.RecordBatch) -> np.ndarray:
    """Which rows have no items, or not a count for each, or counts that rise: bool, shape (n,)."""
    lengths = pc.list_value_length(batch["pids"]).to_numpy()
    counted = pc.list_value_length(batch["counts"]).to_numpy()
    counts = batch["counts"].flatten().to_numpy()
    row = np.repeat(np.arange(batch.num_rows), counted)
    rises = (np.diff(counts) > 0) & (row[1:] == row[:-1])
    rising = np.bincount(row[1:], rises, minlength=batch.num_rows) > 0
    return (lengths == 0) | (lengths != counted) | rising


def _check_inverse(version: Version, pid2sid: Version) -> Finding:
    """Both tables hold the same pairs of item and SID. DuckDB joins them, on disk if need be."""
    with tempfile.TemporaryDirectory() as spill, duckdb.connect() as connection:
        connection.execute("SET temp_directory = $1", [spill])
        connection.execute("SET memory_limit = $1", [MEMORY_LIMIT])
        connection.execute("SET enable_progress_bar = false")
        connection.register("back", version.stream(["codes", "pids"], BATCH_ROWS))
        connection.register("there", pid2sid.stream(["pid", "sid"], BATCH_ROWS))
        rows = connection.sql(
            "SELECT coalesce(there.pid, back.pid), count(*) OVER () "
            "FROM (SELECT unnest(pids) AS pid, codes FROM back) AS back "
            "FULL JOIN there ON back.pid = there.pid AND back.codes = there.sid "
            "WHERE back.pid IS NULL OR there.pid IS NULL LIMIT 5"
        ).fetchall()
    items = sum(
        pc.sum(pc.list_value_length(batch["pids"])).as_py() or 0
        for batch in version.stream(["pids"], BATCH_ROWS)
    )
    if rows:
        first = ", ".join(repr(pid) for pid, _ in rows)
        return Finding(
            False,
            f"{rows[0][1]:,} pairs of item and SID are only in one of the tables; first ids: "
            f"{first}",
            {"rows_offending": rows[0][1], "first_ids": first},
        )
    if items != pid2sid.rows:
        return Finding(False, f"{items:,} items; pid2sid has {pid2sid.rows:,}")
    return Finding(True, f"{items:,} items, each under its SID", {"items": items})


def _check_json(version: Version, json_file: UPath, id_name: str) -> Finding:
    """The file is what the table is as JSON, byte for byte."""
    if not json_file.exists():
        return Finding(False, f"{json_file} is missing")
    with json_file.open("rb") as file:
        rows = version.stream(batch_rows=BATCH_ROWS)
        same = all(file.read(len(chunk)) == chunk for chunk in json_chunks(rows, id_name))
        same = same and not file.read(1)
    what = "says the same as the table" if same else "is not what the table says"
    return Finding(same, f"{json_file} {what}", {"bytes": json_file.stat().st_size})


def check_sid_prefixes(prefixes: SidPrefixes, pid2sid: Version, seed: int = 0) -> Findings:
    """A walk down the prefixes ends at every SID of the catalog, and at no other.

    Args:
        prefixes: As they were read from their file.
        pid2sid: The table they are made from.
        seed: Of the sample of triples that are tried where there are too many for all.
    """
    refused = Offenders()
    for batch in pid2sid.stream(batch_rows=BATCH_ROWS):
        codes = batch["sid"].flatten().to_numpy().reshape(-1, CODE_LAYERS)
        refused.add(~prefixes.contain(codes), batch["pid"])
    known = known_sids(pid2sid)
    tried, every = _triples(known, seed)
    wrong = int((prefixes.contain(tried) & ~np.isin(pack(tried), known)).sum())
    listed = np.array_equal(prefixes.packed(), known)
    how = "all" if every else "a sample of"
    return {
        "accepts_all": refused.finding(
            f"{len(known):,} SIDs, all accepted", "the SID of an item is refused"
        ),
        "accepts_no_other": Finding(
            listed and not wrong,
            f"{len(prefixes):,} SIDs are listed, {len(known):,} are in the catalog; of {how} "
            f"{len(tried):,} triples of codes {wrong:,} are accepted that are none of them",
            {"listed": len(prefixes), "in_the_catalog": len(known), "tried": len(tried)},
        ),
    }


def _triples(known: np.ndarray, seed: int) -> tuple[np.ndarray, bool]:
    """Triples of codes that may be SIDs, shape (n, 3), and whether they are all there are.

    In a sample half of the triples are made of the first two codes of one SID and the last of
    another, so that a walk goes deep before it has to stop.
    """
    sids = unpack(known)
    sizes = sids.max(axis=0, initial=0) + 1
    if sizes.prod() <= SMALL:
        return np.indices(sizes).reshape(CODE_LAYERS, -1).T, True
    draw = np.random.default_rng(seed)
    mixed = sids[draw.integers(len(sids), size=SAMPLE)]
    mixed[:, -1] = sids[draw.integers(len(sids), size=SAMPLE), -1]
    mixed[: SAMPLE // 2] = draw.integers(MAX_CODEBOOK_SIZE, size=(SAMPLE // 2, CODE_LAYERS))
    return mixed, False


def check_sid_vocabulary(version: Version) -> Findings:
    """The tokens and ids are those of OneRec's models: layer after layer, then begin and end."""
    rows = version.stream().read_all()
    tokens, ids = rows["token"].to_pylist(), rows["id"].to_numpy()
    wanted = [f"<s_{layer}_{code}>" for layer in "abc" for code in range(8192)]
    wanted += ["<|sid_begin|>", "<|sid_end|>"]
    wrong = [at for at, pair in enumerate(zip(tokens, wanted, strict=False)) if pair[0] != pair[1]]
    return {
        "tokens": Finding(
            tokens == wanted,
            f"{len(tokens):,} tokens; wanted are {len(wanted):,}"
            + (f"; the first wrong one is number {wrong[0]:,}" if wrong else ", in their order"),
        ),
        "ids": Finding(
            np.array_equal(ids, np.arange(151_669, 176_247)), "ids are 151,669 to 176,246"
        ),
    }
