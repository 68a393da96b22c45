"""The contracts of the tables, checked on the files on disk, independently of the writers.

Each contract reads its table once, as a stream, and returns a finding for every check. It shares
nothing with the writers except schemas and constants.
"""

from collections.abc import Iterator
from itertools import zip_longest

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core import schema
from sid_assets.core.arrow.hashes import text_hash, vector_hashes
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.arrow.vectors import NORM_TOLERANCE, vectors_of
from sid_assets.core.contracts.findings import Check, Finding, Findings, Offenders, contract
from sid_assets.core.contracts.part_scans import scan_parts
from sid_assets.core.errors import SidAssetsError
from sid_assets.core.quantise.scale_fit import scale_fit
from sid_assets.core.schema import CODE_LAYERS, EMBEDDING_DIM, MAX_CODEBOOK_SIZE
from sid_assets.core.store.parts import rebatched
from sid_assets.core.store.versions import Version

COMPARED_ROWS = 65_536
TEXT_ROWS = 16_384

MOST_RATIO = 10
"""The first centroids may be at most this many times longer or shorter than the vectors."""

MOST_ERROR = 1.5
"""The largest relative error that is accepted. Above 1, more is left of a vector than there was;
centroids unrelated to the vectors give about 1.1 to 1.4."""


FILES = Check("files", "The files have the table's columns and the sizes they were committed with.")
"""The check of every table, made by `check_files`."""

PIDS = Check("pids", "Pids are sorted, unique and not null.")
SAME_PIDS = Check("same_pids", "The pids are those of the table that this one is made from.")
FINITE = Check("finite", "Every number is finite.")


def check_files(version: Version, wanted: pa.Schema) -> Finding:
    """The files have the sizes they were committed with, and the table's columns."""
    for part, path in zip(version.parts, version.paths, strict=True):
        size = path.stat().st_size if path.exists() else None
        if size != part.bytes:
            found = "is missing" if size is None else f"has {size:,} bytes"
            return Finding(False, f"{path} {found}; {part.bytes:,} bytes were committed.")
    try:
        found = version.schema()
    except SidAssetsError as error:
        return Finding(False, str(error))
    if not found.equals(wanted):
        return Finding(False, f"columns are {_columns(found)}; expected {_columns(wanted)}")
    return Finding(True, f"{len(version.parts):,} files as committed", {"bytes": version.bytes})


@contract(
    Check("rows", "The table has rows."),
    PIDS,
    Check("texts", "No text is empty."),
    Check("text_hashes", "Every hash matches its text."),
    Check(
        "pid_zero",
        "No item has pid 0, which OneRec's evaluation treats as 'not found'.",
        warns=True,
    ),
    Check("rejected", "No row of the catalog was rejected.", warns=True),
)
def check_item_texts(version: Version, rejected: Version | None) -> Findings:
    """The table has rows; pids are sorted and unique; texts are not empty and match their hashes.

    `rejected` holds the rows that were left out, if any.
    """
    order, empty, other_hash, zero = PidOrder(), Offenders(), Offenders(), Offenders()
    rows = 0
    for batch in version.stream(batch_rows=TEXT_ROWS):
        pids, texts = batch.column("pid"), batch.column("text")
        rows += batch.num_rows
        order.add(pids)
        empty.add(~_true(pc.not_equal(pc.utf8_trim_whitespace(texts), "")), pids)
        hashes = pa.array([text_hash(text or "") for text in texts.to_pylist()], schema.HASH)
        other_hash.add(~_true(pc.equal(hashes, batch.column("text_hash"))), pids)
        if pids.type == pa.int64():
            zero.add(_true(pc.equal(pids, 0)), pids)
    return {
        "rows": Finding(rows > 0, f"{rows:,} rows", {"rows": rows}),
        "pids": order.finding(),
        "texts": empty.finding("no text is empty", "a text is empty"),
        "text_hashes": other_hash.finding(
            "every hash matches its text", "a hash does not match its text"
        ),
        "pid_zero": zero.finding(
            "no item has pid 0",
            "an item has pid 0, which OneRec's evaluation treats as 'not found'",
        ),
        "rejected": _check_rejected(rejected),
    }


@contract(
    Check("width", "Every vector is 4096 wide."),
    FINITE,
    Check("unit_norm", "Every vector has unit norm."),
    Check("vector_hashes", "Every hash matches its vector."),
    PIDS,
    SAME_PIDS,
    Check("same_text_hash", "Every vector was made from the item's current text."),
)
def check_item_embeddings(version: Version, texts: Version) -> Findings:
    """Vectors are 4096 wide, finite, of unit norm and match their hashes; rows match `texts`."""
    order, infinite, norm, other_hash = PidOrder(), Offenders(), Offenders(), Offenders()
    width = version.schema().field("embedding").type
    if width != schema.VECTOR:
        return {"width": Finding(False, f"embedding is {width}; expected {schema.VECTOR}")}
    for found in scan_parts(version, _scan_vectors):
        for offenders, of_part in zip((infinite, norm, other_hash), found, strict=True):
            offenders.extend(of_part)
    for batch in version.stream(["pid"], batch_rows=COMPARED_ROWS):
        order.add(batch.column("pid"))
    return {
        "width": Finding(True, f"every vector is {EMBEDDING_DIM} wide"),
        "finite": infinite.finding("every number is finite", "a vector has NaN or infinity"),
        "unit_norm": norm.finding("every norm is 1", "a norm is not 1"),
        "vector_hashes": other_hash.finding(
            "every hash matches its vector", "a hash does not match its vector"
        ),
        "pids": order.finding(),
        **_same_rows(version, texts, "text_hash"),
    }


def _scan_vectors(rows: pa.RecordBatchReader) -> tuple[Offenders, Offenders, Offenders]:
    """The vectors of a part that are not finite, not of unit norm, or not those of their hash."""
    infinite, norm, other_hash = Offenders(), Offenders(), Offenders()
    for batch in rows:
        pids, vectors = batch.column("pid"), vectors_of(batch.column("embedding"))
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
        infinite.add(~np.isfinite(norms), pids)
        norm.add(~(np.abs(norms - 1) <= NORM_TOLERANCE), pids)
        same_hash = pc.equal(vector_hashes(vectors), batch.column("vector_hash"))
        other_hash.add(~_true(same_hash), pids)
    return infinite, norm, other_hash


@contract(
    Check("three_codes", "Every item has exactly three codes."),
    Check("codes_in_range", "Every code is within the codebook."),
    PIDS,
    SAME_PIDS,
    Check("same_vector_hash", "Every item's codes were made from its current vector."),
)
def check_codes(version: Version, embeddings: Version, codebook_size: int) -> Findings:
    """Every item has exactly three codes within the codebook; rows match `embeddings`."""
    order, length, outside = PidOrder(), Offenders(), Offenders()
    for batch in version.stream(["pid", "codes"], batch_rows=COMPARED_ROWS):
        pids, codes = batch.column("pid"), batch.column("codes")
        order.add(pids)
        _add_codes(codes, pids, codebook_size, length, outside)
    return {
        **_code_findings(length, outside, codebook_size),
        "pids": order.finding(),
        **_same_rows(version, embeddings, "vector_hash"),
    }


@contract(PIDS, Check("numbers", "Numbers start at 1 and are unique, and every item has one."))
def check_pid_map(version: Version, sids: Version) -> Findings:
    """Ids are sorted and unique; numbers run from 1 to the number of ids; every item has one."""
    order, numbers, known = PidOrder(), Offenders(), 0
    seen = np.zeros(version.rows + 1, bool)
    for batch in version.stream(batch_rows=COMPARED_ROWS):
        order.add(batch.column("pid"))
        values = batch.column("number").to_numpy()
        again = np.ones(len(values), bool)
        again[np.unique(values, return_index=True)[1]] = False
        again |= seen[np.clip(values, 0, version.rows)]
        bad = again | (values < 1) | (values > version.rows)
        numbers.add(bad, batch.column("pid"))
        seen[values[~bad]] = True
    numbered = pa.schema([("number", pa.int64())])
    ids = sids.stream(["pid"], batch_rows=COMPARED_ROWS)
    for batch in joined(ids, version.stream(batch_rows=COMPARED_ROWS), numbered):
        known += batch.num_rows - batch.column("number").null_count
    found = numbers.finding(
        f"the numbers 1 to {version.rows:,}", "a number repeats or is too large"
    )
    if found.passed and known != sids.rows:
        found = Finding(False, f"{sids.rows - known:,} items of pid2sid have no number")
    return {"pids": order.finding(), "numbers": found}


@contract(PIDS, Check("users", "Every item in it has a user."))
def check_item_counts(version: Version) -> Findings:
    """Ids are sorted and unique; every count is at least 1."""
    order, users = PidOrder(), Offenders()
    for batch in version.stream(batch_rows=COMPARED_ROWS):
        order.add(batch.column("pid"))
        users.add(batch.column("users").to_numpy() < 1, batch.column("pid"))
    return {
        "pids": order.finding(),
        "users": users.finding(f"{version.rows:,} items with users", "an item without a user"),
    }


@contract(
    Check("shape", "Three layers, 4096 wide, at most 8192 centroids each."),
    FINITE,
    Check("embedding_space", "The recorded embedding space is that of the vectors."),
    Check("scale", "The centroids have the scale of the vectors and lie near them."),
)
def check_tokenizer(
    centroids: np.ndarray, tokenizer: Version, embeddings: Version, sample: np.ndarray
) -> Findings:
    """The codebooks have the right shape, are finite, and were made for these vectors.

    A checkpoint from elsewhere does not record its embedding space. So the contract also compares
    its centroids with `sample`, some of the vectors (float32, shape (n, 4096)).
    """
    layers, size, width = centroids.shape
    fits = (layers, width) == (CODE_LAYERS, EMBEDDING_DIM) and size <= MAX_CODEBOOK_SIZE
    finite = bool(np.isfinite(centroids).all())
    space, wanted = tokenizer.provenance.space, embeddings.provenance.space
    return {
        "shape": Finding(
            fits,
            f"{layers} layers of {size:,} centroids, {width} wide",
            {"layers": layers, "codebook_size": size, "dimension": width},
        ),
        "finite": Finding(finite, "all finite" if finite else "a centroid has NaN or infinity"),
        "embedding_space": Finding(
            space is not None and space == wanted,
            "the embedding space of the vectors"
            if space == wanted
            else f"made for {space}; the vectors are in {wanted}",
        ),
        **({"scale": _check_scale(centroids, sample)} if fits and finite else {}),
    }


def _check_scale(centroids: np.ndarray, sample: np.ndarray) -> Finding:
    fit = scale_fit(centroids, sample)
    return Finding(
        1 / MOST_RATIO <= fit.ratio <= MOST_RATIO and fit.relative_error <= MOST_ERROR,
        f"centroids of the first layer are {fit.ratio:.2f} times as long as the vectors (expected: "
        f"1/{MOST_RATIO} to {MOST_RATIO}); the mean relative reconstruction error of a sample is "
        f"{fit.relative_error:.2f} (expected: at most {MOST_ERROR})",
        {"ratio": fit.ratio, "relative_error": fit.relative_error},
    )


def _check_rejected(rejected: Version | None) -> Finding:
    if rejected is None or not rejected.rows:
        return Finding(True, "no row of the catalog was rejected", {"rows_rejected": 0})
    return Finding(
        False,
        f"{rejected.rows:,} rows of the catalog were rejected; {rejected.paths[0]} has the reasons",
        {"rows_rejected": rejected.rows},
    )


class PidOrder:
    """Whether pids are sorted, unique and not null across the batches of a stream.

    Attributes:
        rows: The pids so far.
    """

    def __init__(self) -> None:
        """Begin before the first batch."""
        self._last: pa.Scalar | None = None
        self._offenders = Offenders()
        self.rows = 0

    def add(self, pids: pa.Array) -> None:
        """Look at the pids of the next batch."""
        self.rows += len(pids)
        if not len(pids):
            return
        before = pa.concat_arrays([pa.array([self._last], pids.type), pids.slice(0, len(pids) - 1)])
        ascends = pc.fill_null(pc.less(before, pids), False).to_numpy(zero_copy_only=False)
        if self._last is None:
            ascends[0] = pids[0].is_valid
        self._offenders.add(~ascends, pids)
        self._last = pids[-1].as_py()

    def finding(self) -> Finding:
        """The finding once all batches were added."""
        return self._offenders.finding(
            f"{self.rows:,} pids, sorted and unique", "a pid is null, repeated or out of order"
        )


def _add_codes(
    codes: pa.Array, pids: pa.Array, codebook_size: int, length: Offenders, outside: Offenders
) -> None:
    """Count the rows without exactly three codes, and those with a code outside the codebook."""
    lengths = pc.fill_null(pc.list_value_length(codes), 0).to_numpy(zero_copy_only=False)
    length.add(lengths != CODE_LAYERS, pids)
    flat = codes.flatten()
    wrong = pc.fill_null(pc.or_(pc.less(flat, 0), pc.greater_equal(flat, codebook_size)), True)
    rows = pc.list_parent_indices(codes).to_numpy(zero_copy_only=False)
    outside.add(np.bincount(rows, _true(wrong), minlength=len(codes)) > 0, pids)


def _code_findings(length: Offenders, outside: Offenders, codebook_size: int) -> Findings:
    return {
        "three_codes": length.finding(
            f"every item has {CODE_LAYERS} codes", f"an item does not have {CODE_LAYERS} codes"
        ),
        "codes_in_range": outside.finding(
            f"every code is in 0..{codebook_size - 1}",
            f"a code is not in 0..{codebook_size - 1}",
        ),
    }


def _same_rows(version: Version, other: Version, hash_column: str) -> Findings:
    """Whether a table has the pids of its input table, and was made from its current rows.

    Args:
        version: The table.
        other: The table that it is made from.
        hash_column: The hash of what each row is made from; a column of both tables.
    """
    stale = Offenders()
    name = other.provenance.asset
    row = 0
    for mine, theirs in zip_longest(_rows(version, hash_column), _rows(other, hash_column)):
        if mine is None or theirs is None or not mine["pid"].equals(theirs["pid"]):
            differ = (
                f"{version.rows:,} pids; {name} has {other.rows:,}. They differ after row {row:,}. "
                "Materialise the downstream table again."
            )
            return {"same_pids": Finding(False, differ)}
        same = pc.equal(mine[hash_column], theirs[hash_column])
        stale.add(~_true(same), mine["pid"])
        row += mine.num_rows
    return {
        "same_pids": Finding(True, f"the {row:,} pids of {name}", {"rows": row}),
        f"same_{hash_column}": stale.finding(
            f"every row was made from the current row of {name}",
            f"a row was not made from the current row of {name}",
        ),
    }


def _rows(version: Version, hash_column: str) -> Iterator[pa.RecordBatch]:
    stream = version.stream(["pid", hash_column], batch_rows=COMPARED_ROWS)
    for table in rebatched(stream, COMPARED_ROWS):
        yield table.to_batches()[0]


def _true(mask: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Where a mask is true; null counts as false: bool, shape (n,)."""
    return pc.fill_null(mask, False).to_numpy(zero_copy_only=False)


def _columns(columns: pa.Schema) -> str:
    return ", ".join(f"{column.name}: {column.type}" for column in columns)
