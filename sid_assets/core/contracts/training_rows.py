"""The rows of a finished training data set, checked by reading them as a trainer would.

The code that wrote the rows is not used: `json` reads the JSON, and SIDs are found in the texts.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.duck import spilling_database
from sid_assets.core.schema import MAX_CODEBOOK_SIZE
from sid_assets.core.sids.spelling import pack, spelled_sids
from sid_assets.core.training_sets import DataSet

MEMORY_MB = 512
"""Memory that DuckDB may use for the uuids before it spills to disk (MB)."""

NO_SIDS = np.empty(0, np.int64)

UUID5 = r"^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"

CHAT_MARKERS = r"<\|(endoftext|im_start|im_end)\|>"
"""Control tokens of the chat format: for most tokenizers, one inside a text would end the text."""


_DECODER = json.JSONDecoder()


@dataclass
class CheckedRows:
    """What was found in the rows of a data set.

    Attributes:
        rows: Rows read.
        sids: SIDs read.
        broken: Rows that break the contract, by problem.
        doubtful: Rows that deserve a warning, by problem.
    """

    rows: int = 0
    sids: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    doubtful: Counter[str] = field(default_factory=Counter)


def check_rows(
    rows: pa.RecordBatchReader,
    data_set: DataSet,
    items: np.ndarray,
    goods: np.ndarray | None = None,
    removed: np.ndarray = NO_SIDS,
) -> CheckedRows:
    """Check a data set as one stream; memory does not grow with its rows.

    Args:
        rows: The data set.
        data_set: Which one it is.
        items: The SIDs of the catalog, packed and sorted (`training.known_sids`).
        goods: The same for goods.
        removed: The SIDs of items and goods that are no longer there, which histories may spell.
    """
    checked = CheckedRows()
    if not rows.schema.remove_metadata().equals(data_set.schema):
        checked.broken[f"columns are not those of {data_set.name}"] += 1
        return checked
    known = _known_sids(data_set, items, goods, removed)
    with _uuids() as uuids:
        for batch in rows:
            checked.rows += batch.num_rows
            _check_columns(batch, data_set, checked)
            uuids.append(batch["uuid"])
            _check_texts(batch, data_set, known, checked)
        if twice := uuids.repeated():
            checked.broken["uuid is repeated"] = twice
    return checked


def _known_sids(
    data_set: DataSet, items: np.ndarray, goods: np.ndarray | None, removed: np.ndarray
) -> dict[str, np.ndarray]:
    """The SIDs that may occur in each text."""
    known = dict.fromkeys(data_set.roles, items)
    if data_set.goods and goods is not None:
        known |= {"user": np.union1d(items, goods), "assistant": goods}
    if data_set.has_histories:
        with_history = "user" if "user" in data_set.roles else data_set.roles[0]
        known[with_history] = np.union1d(known[with_history], removed)
    return known


def _check_columns(batch: pa.RecordBatch, data_set: DataSet, checked: CheckedRows) -> None:
    for name in batch.schema.names:
        checked.broken[f"{name} is null"] += batch[name].null_count
    other = pc.not_equal(batch["source"], data_set.source)
    checked.broken[f"source is not {data_set.source}"] += other.true_count
    valid = pc.match_substring_regex(batch["uuid"], UUID5)
    checked.broken["uuid is not version 5"] += valid.false_count
    # Remove the zeros, which a counter keeps.
    checked.broken = +checked.broken


def _check_texts(
    batch: pa.RecordBatch, data_set: DataSet, known: dict[str, np.ndarray], checked: CheckedRows
) -> None:
    """Check the JSON of a batch, and the SIDs of its texts."""
    body, metadata = batch.column(2).to_pylist(), batch["metadata"].to_pylist()
    said = [_texts(_json(value), data_set.roles) for value in body]
    about = [_json(value) for value in metadata]
    body_name = batch.schema.names[2]
    for texts, meta in zip(said, about, strict=True):
        if texts is None:
            checked.broken[f"{body_name} are not JSON with {', '.join(data_set.roles)}"] += 1
        if not isinstance(meta, dict) or tuple(meta) != data_set.metadata:
            checked.broken[f"metadata is not JSON with {', '.join(data_set.metadata)}"] += 1
    for number, role in enumerate(data_set.roles):
        column = pa.array([texts[number] for texts in said if texts is not None], pa.string())
        free = role in data_set.free_texts
        _check_sids(column, known[role], checked, free=free)
    if "sid" in data_set.metadata:
        sids = [str(meta.get("sid")) for meta in about if isinstance(meta, dict)]
        _check_sids(pa.array(sids, pa.string()), known[data_set.roles[0]], checked, free=False)


def _check_sids(
    texts: pa.StringArray, known: np.ndarray, checked: CheckedRows, *, free: bool
) -> None:
    """Check the SIDs in one text of each row; in free texts, problems are only doubtful."""
    found = spelled_sids(texts)
    checked.sids += len(found.codes)
    packed, inverse = np.unique(pack(found.codes), return_inverse=True)
    in_range = (found.codes < MAX_CODEBOOK_SIZE).all(axis=1)
    is_known = _among(packed, known)[inverse] & in_range
    row = np.repeat(np.arange(len(texts)), found.counts)
    unknown = len(np.unique(row[~is_known]))
    where = checked.doubtful if free else checked.broken
    if unknown:
        where["a SID that no item has" + (" in a text of the input" if free else "")] += unknown
    if broken := int(found.broken.sum()):
        where["an incomplete SID" + (" in a text of the input" if free else "")] += broken
    if free and (control := pc.match_substring_regex(texts, CHAT_MARKERS).true_count):
        checked.doubtful["a control token in a text of the input"] += control


def _among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which values are in `known`, which is sorted."""
    if not len(known):
        return np.zeros(len(values), bool)
    return known.take(np.searchsorted(known, values), mode="clip") == values


def _json(text: str | None) -> Any:
    text = text or ""
    try:
        # What json.loads does if there are no blanks around the value, in less time.
        value, end = _DECODER.raw_decode(text) if text[:1] in ("[", "{") else (None, -1)
        return value if end == len(text) else json.loads(text)
    except (ValueError, RecursionError):
        return None


def _texts(body: Any, roles: tuple[str, ...]) -> list[str] | None:
    """The texts of segments or messages, by role; None if the form is wrong."""
    segments = roles == ("text",)
    try:
        contents = [body] if segments else [message["content"] for message in body]
        texts = [content[0]["text"] for content in contents]
    except (KeyError, IndexError, TypeError):
        return None
    if len(texts) != len(roles) or not all(isinstance(text, str) for text in texts):
        return None
    # Compared as a whole, which is quicker than looking at every value.
    said = [[{"type": "text", "text": text}] for text in texts]
    if not segments:
        said = [[{"role": r, "content": c} for r, c in zip(roles, said, strict=True)]]
    return texts if said == [body] else None


class _Uuids:
    """All uuids, 16 bytes each; they spill to disk above a memory limit."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        connection.execute("CREATE TABLE uuids (id UUID)")

    def append(self, uuids: pa.StringArray) -> None:
        self._connection.register("batch", pa.table({"id": uuids}))
        self._connection.execute("INSERT INTO uuids SELECT TRY_CAST(id AS UUID) FROM batch")

    def repeated(self) -> int:
        """The number of rows whose uuid an earlier row has."""
        [(rows,)] = self._connection.execute(
            "SELECT coalesce(sum(n - 1), 0)::BIGINT FROM "
            "(SELECT count(*) AS n FROM uuids WHERE id IS NOT NULL GROUP BY id)"
        ).fetchall()
        return rows


@contextmanager
def _uuids() -> Iterator[_Uuids]:
    with spilling_database(MEMORY_MB) as connection:
        yield _Uuids(connection)
