"""The contract of the training data sets, checked on what is on disk."""

import json
import uuid
from typing import Any

import numpy as np
import pyarrow as pa

from sid_assets.core.contracts import Finding, Findings, Offenders
from sid_assets.core.schema import CODE_LAYERS, MAX_CODEBOOK_SIZE
from sid_assets.core.sids import pack, spelled_sids
from sid_assets.core.versions import Version

ROLES = {("user", "assistant"), ("system", "user", "assistant")}
"""The roles of the messages of a row, in their order."""

LEAST_COVERAGE = 0.95
"""Share of pids that should have a SID."""

ROWS = 1024


def check_training_rows(version: Version, known_sids: np.ndarray) -> Findings:
    """JSON parses and has the right shape; SIDs are of the catalog; uuids are valid and unique.

    Memory holds 16 bytes a row for the uuids.

    Args:
        version: A training data set.
        known_sids: int64, sorted: the packed SIDs of the catalog (and of the goods).
    """
    broken_json, foreign, invalid = Offenders(), Offenders(), Offenders()
    seen: list[np.ndarray] = []
    sids = 0
    for batch in version.stream(batch_rows=ROWS):
        ids = batch.column("uuid")
        texts = [_text_of(row) for row in batch.to_pylist()]
        broken_json.add(np.array([text is None for text in texts]), ids)
        found, others = _spell_others(pa.array([text or "" for text in texts]), known_sids)
        sids += found
        foreign.add(others, ids)
        numbers = [_uuid_bytes(text) for text in ids.to_pylist()]
        invalid.add(np.array([number is None for number in numbers]), ids)
        seen.append(np.array([number or bytes(16) for number in numbers], "V16"))
    uuids = np.concatenate(seen) if seen else np.empty(0, "V16")
    double = len(uuids) - len(np.unique(uuids))
    valid = invalid.finding(f"{len(uuids):,} uuids, valid and unique", "a uuid is not valid")
    if valid.passed and double:
        valid = Finding(False, f"{double:,} uuids are not unique", {"double": double})
    return {
        "json": broken_json.finding("every row parses", "a row's JSON is not what it must be"),
        "sids": foreign.finding(
            f"{sids:,} SIDs, all of the catalog", "a SID is malformed or of no item of the catalog"
        ),
        "uuids": valid,
        "rows_add_up": _check_counts(version),
        "coverage": _check_coverage(version),
    }


def known_sids(pid2sid: Version) -> np.ndarray:
    """The distinct SIDs of a catalog, packed into one integer each: int64, sorted."""
    packed = []
    for batch in pid2sid.stream(["sid"], batch_rows=65_536):
        codes = batch.column("sid").flatten().to_numpy().reshape(-1, CODE_LAYERS)
        packed.append(np.unique(pack(codes)))
    return np.unique(np.concatenate(packed)) if packed else np.empty(0, np.int64)


def _text_of(row: dict[str, str]) -> str | None:
    """All text of a row; None where its JSON is not what it must be."""
    try:
        metadata = json.loads(row["metadata"])
        if "segments" in row:
            parts = json.loads(row["segments"])
        else:
            messages = json.loads(row["messages"])
            if tuple(message["role"] for message in messages) not in ROLES:
                return None
            parts = [part for message in messages for part in message["content"]]
        if not isinstance(metadata, dict) or not parts:
            return None
        return "\n".join(_checked_text(part) for part in parts)
    except (ValueError, KeyError, TypeError):
        return None


def _checked_text(part: dict[str, Any]) -> str:
    if part["type"] != "text" or not isinstance(part["text"], str):
        raise TypeError("a part is no text")
    return part["text"]


def _spell_others(texts: pa.StringArray, known: np.ndarray) -> tuple[int, np.ndarray]:
    """How many SIDs the texts spell, and which spell a malformed or unknown one: bool, (n,)."""
    spelled = spelled_sids(texts)
    in_range = (spelled.codes < MAX_CODEBOOK_SIZE).all(axis=1)
    is_known = in_range & np.isin(pack(spelled.codes), known)
    text_of = np.repeat(np.arange(len(texts)), spelled.counts)
    unknown = np.bincount(text_of, ~is_known, minlength=len(texts)) > 0
    return len(spelled.codes), unknown | spelled.broken


def _uuid_bytes(text: str) -> bytes | None:
    try:
        return uuid.UUID(text).bytes
    except ValueError:
        return None


def _check_counts(version: Version) -> Finding:
    """Rows that could be written = rows written + rows dropped by reason."""
    counts = version.provenance.details.get("counts")
    if counts is None:
        return Finding(False, "the table does not say what became of the rows of its input")
    dropped = sum(counts["dropped"].values())
    return Finding(
        counts["candidates"] == counts["written"] + dropped and counts["written"] == version.rows,
        f"{counts['candidates']:,} candidates, {version.rows:,} rows written, {dropped:,} dropped",
        {"candidates": counts["candidates"], "written": version.rows, "dropped": dropped},
    )


def _check_coverage(version: Version) -> Finding:
    """The share of pids that have a SID, by column."""
    counts = version.provenance.details.get("counts", {}).get("pids", {})
    shares = {
        column: count["with_sid"] / count["pids"]
        for column, count in counts.items()
        if count["pids"]
    }
    low = {column: share for column, share in shares.items() if share < LEAST_COVERAGE}
    shown = ", ".join(f"{column}: {share:.2%}" for column, share in shares.items())
    return Finding(
        not low,
        f"pids with a SID, by column: {shown or 'no column of pids'}",
        dict(shares),
    )
