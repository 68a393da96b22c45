"""The constants and tables of the graph, defined once for writers and checks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from sid_assets.core.training_sets import DATA_SETS, PRETRAIN_ROWS, SFT_ROWS

EMBEDDING_DIM = 4096
"""Width of a Qwen3-Embedding-8B vector, which OneRec's tokenizer was trained on."""

CODE_LAYERS = 3
"""Codes in a semantic ID: the layers of the residual k-means tokenizer."""

MAX_CODEBOOK_SIZE = 8192
"""Centroids per layer of OneRec's tokenizer; its models have tokens for no more codes."""

FORMAT_VERSION = 2
"""Version of the files that this package writes; files of a newer version are refused."""

HASH_BYTES = 16
"""Length of `text_hash` and `vector_hash`: the first 128 bits of a SHA-256."""

PidType = Literal["int", "string"]
PID_TYPES: dict[PidType, pa.DataType] = {"int": pa.int64(), "string": pa.string()}

Pid = Any
"""An int or a str: all pids of a table have one type, which a union type cannot express."""

HASH = pa.binary(HASH_BYTES)
VECTOR = pa.list_(pa.float32(), EMBEDDING_DIM)
CODES = pa.list_(pa.int64())
RESIDUAL_NORMS = pa.list_(pa.float32(), CODE_LAYERS + 1)


def pid_type_of(schema: pa.Schema) -> PidType:
    """`int` or `string`: the type of the pids in a table of this package that has pids."""
    kind = (
        schema.field("pids").type.value_type if "pids" in schema.names else schema.field("pid").type
    )
    return "int" if kind == pa.int64() else "string"


def item_texts(pid: PidType) -> pa.Schema:
    """`item_texts`: the text of every item, sorted by pid."""
    return pa.schema(
        [_required("pid", PID_TYPES[pid]), _required("text", pa.string()), _HASH_OF_TEXT]
    )


def item_embeddings(pid: PidType) -> pa.Schema:
    """`item_embeddings`: the unit vector of every item, sorted by pid."""
    return pa.schema(
        [
            _required("pid", PID_TYPES[pid]),
            _required("embedding", VECTOR),
            _HASH_OF_TEXT,
            _required("vector_hash", HASH),
        ]
    )


def quality_sample(pid: PidType) -> pa.Schema:
    """`quality_sample`: the vectors of the items that measures of vectors use, sorted by pid."""
    return pa.schema(
        [
            _required("pid", PID_TYPES[pid]),
            _required("vector_hash", HASH),
            _required("embedding", VECTOR),
        ]
    )


def codes(pid: PidType) -> pa.Schema:
    """`codes`: the three codes of every item, and the norms of its residuals.

    `residual_norms` holds the Euclidean norm before the first and after each layer.
    """
    return pa.schema(
        [
            _required("pid", PID_TYPES[pid]),
            _required("codes", CODES),
            _required("vector_hash", HASH),
            _required("residual_norms", RESIDUAL_NORMS),
        ]
    )


def pid2sid(pid: PidType) -> pa.Schema:
    """`pid2sid`: what OneRec's programs read, `pid` and `sid` (a list of three codes)."""
    return pa.schema([_required("pid", PID_TYPES[pid]), _required("sid", CODES)])


def sid2pid(pid: PidType) -> pa.Schema:
    """`sid2pid`: the items of every SID, sorted by its codes.

    `pids` and `counts` are lists of equal length: the items, and how often each occurs in the
    interactions. The most frequent item is first; equally frequent items are sorted by pid.
    """
    return pa.schema(
        [
            _required("sid", pa.string()),
            _required("codes", CODES),
            _required("pids", pa.list_(PID_TYPES[pid])),
            _required("counts", pa.list_(pa.int64())),
        ]
    )


ITEM_TEXTS_REJECTED = pa.schema([(name, pa.string()) for name in ("pid", "text", "reason", "file")])
"""`item_texts_rejected`: rejected rows of the catalog, as text, each with the reason."""

PID_MAP = pa.schema([pa.field("pid", pa.string(), False), pa.field("number", pa.int64(), False)])
"""`pid_map`: a stable integer for every string id, for programs that call `int()` on ids."""

VOCABULARY = pa.schema([pa.field("token", pa.string(), False), pa.field("id", pa.int64(), False)])
"""`sid_vocabulary`: the tokens that OneRec adds to Qwen3's, and their ids."""


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


_HASH_OF_TEXT = _required("text_hash", HASH)


@dataclass(frozen=True)
class Table:
    """How a table of the graph is laid out on disk.

    Attributes:
        schema: Its columns, given the type of its pids (training data sets have no pids).
        layout: `file`: one file; `parts`: a folder of part files.
        rows_per_part: Rows per part file, if the writer and not the worker cuts the parts.
        suffix: Ending of the name that readers see.
    """

    schema: Callable[[PidType], pa.Schema]
    layout: Literal["file", "parts"]
    rows_per_part: int = 1000
    suffix: str = ".parquet"

    @property
    def has_rows(self) -> bool:
        """Whether it holds rows, and is not a file of another kind."""
        return self.suffix == ".parquet"


def _no_columns(pid: PidType) -> pa.Schema:
    return pa.schema([])


TABLES: dict[str, Table] = {
    "item_texts": Table(item_texts, "file"),
    "item_texts_rejected": Table(lambda pid: ITEM_TEXTS_REJECTED, "file"),
    "item_embeddings": Table(item_embeddings, "parts"),
    "tokenizer_checkpoint": Table(_no_columns, "file", suffix=".pt"),
    "codes": Table(codes, "parts"),
    "quality_sample": Table(quality_sample, "file"),
    "pid2sid": Table(pid2sid, "file"),
    "pid_map": Table(lambda pid: PID_MAP, "file"),
    "sid2pid": Table(sid2pid, "file"),
    "sid_prefixes": Table(_no_columns, "file", suffix=".safetensors"),
    "sid_vocabulary": Table(lambda pid: VOCABULARY, "file"),
    **{
        made.table: Table(lambda pid, made=made: made.schema, "parts")
        for made in DATA_SETS.values()
    },
    "pretrain_shuffled": Table(lambda pid: PRETRAIN_ROWS, "parts"),
    "sft_shuffled": Table(lambda pid: SFT_ROWS, "parts"),
}
"""Every table of this package, by the last part of its asset key."""


def table_named(key: str) -> Table:
    """The table of an asset key; a table that users add to the graph is one parquet file."""
    return TABLES.get(key.rsplit("/", 1)[-1], Table(_no_columns, "file"))
