"""The constants and tables of the graph, defined once for writers and checks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from sid_assets.core.training_sets import DATA_SETS, LABELS, PRETRAIN_ROWS, SFT_ROWS

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


TIME = pa.timestamp("us", tz="UTC")

MADE = ("quantised", "resolved", "kept")
"""How a SID was made: it is the item's codes; its third code was replaced because the SID of its
codes was taken; or it stayed when the text of the item changed (`SID_ON_TEXT_CHANGE=keep`)."""

LEFT_WHY = ("removed", "text changed")
"""Why an item left a SID."""


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


def item_counts(pid: PidType) -> pa.Schema:
    """`item_counts`: how many users have interacted with an item in split 0, sorted by pid.

    Items without such interactions have no row.
    """
    return pa.schema([_required("pid", PID_TYPES[pid]), _required("users", pa.int64())])


def sid_registry(pid: PidType) -> pa.Schema:
    """`sid_registry`: every SID that was ever published, and the item it belongs to.

    A row for each (generation, pid, sid), sorted by generation (the earliest first), pid and
    `published_at`. A row is never removed, and its first three columns and `published_at` never
    change. An item has at most one row of a generation whose `left_at` is null: its SID.

    - `codes`: what the text quantised to when it last changed; they differ from `sid` where a
      collision was resolved or the item kept its SID.
    - `text_hash`: of the text that the SID stands for; null if not known.
    - `made`: one of `MADE`.
    - `extra_error`: how much larger the relative reconstruction error of the text is than that of
      `codes`; null where `made` is not `resolved`.
    - `left_at`, `left_why`: when the item left the SID, and one of `LEFT_WHY`. The SID stays
      reserved for the item.
    - `freed_at`: when a purge gave the SID up; it is no longer reserved.
    """
    return pa.schema(
        [
            _required("generation", pa.string()),
            _required("pid", PID_TYPES[pid]),
            _required("sid", CODES),
            _required("codes", CODES),
            pa.field("text_hash", HASH),
            _required("made", pa.string()),
            pa.field("extra_error", pa.float32()),
            _required("published_at", TIME),
            pa.field("left_at", TIME),
            pa.field("left_why", pa.string()),
            pa.field("freed_at", TIME),
        ]
    )


def sid_moves(pid: PidType) -> pa.Schema:
    """`sid_moves`: the items whose SID differs from their codes to resolve a collision.

    `extra_error` is how much larger the relative reconstruction error is. Sorted by pid.
    """
    return pa.schema(
        [
            _required("pid", PID_TYPES[pid]),
            _required("codes", CODES),
            _required("sid", CODES),
            _required("extra_error", pa.float32()),
        ]
    )


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
"""`pid_map`: a stable integer for every string id, for programs that call `int()` on ids. `uid_map`
has the same columns for the users of a log of events."""

SID_REFRESHES = pa.schema(
    [
        pa.field("at", TIME, False),
        pa.field("generation", pa.string(), False),
        pa.field("tokenizer", pa.string(), False),
        pa.field("registry", pa.string(), False),
        *(
            pa.field(name, pa.int64(), False)
            for name in (
                *("items", "new", "changed", "removed", "returned", "resolved"),
                *("distinct_sids", "shared_sids"),
            )
        ),
    ]
)
"""`sid_refreshes`: a row for each refresh, the earliest first.

`registry` is the version of `sid_registry` that the refresh committed. `new`: published for the
first time in the generation. `changed`: items with a new text. `removed`, `returned`: items that
left, and that came back. `resolved`: items whose SID is not that of their codes because it was
taken. `shared_sids`: SIDs of more than one item.
"""

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
    "item_counts": Table(item_counts, "file"),
    "sid_registry": Table(sid_registry, "file"),
    "sid_moves": Table(sid_moves, "file"),
    "sid_refreshes": Table(lambda pid: SID_REFRESHES, "file"),
    "pid2sid": Table(pid2sid, "file"),
    "pid_map": Table(lambda pid: PID_MAP, "file"),
    "sid2pid": Table(sid2pid, "file"),
    "sid_prefixes": Table(_no_columns, "file", suffix=".safetensors"),
    "interactions": Table(_no_columns, "file"),
    "uid_map": Table(lambda pid: PID_MAP, "file"),
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


COLUMNS: dict[str, str] = {
    "pid": "The id of an item.",
    "text": "The text of the item.",
    "text_hash": "The first 128 bits of the SHA-256 of the text.",
    "embedding": f"The vector of the text: {EMBEDDING_DIM} numbers, of length 1.",
    "vector_hash": "The first 128 bits of the SHA-256 of the vector.",
    "codes": "The three codes that the vector is quantised to.",
    "residual_norms": "The length of the vector, and of what is left of it after each layer.",
    "sid": "The three codes of the semantic ID.",
    "users": "How many users have interacted with the item in split 0.",
    "generation": "The id of the generation: texts, vectors and codes are made in one way.",
    "made": f"How the SID was made: {', '.join(MADE)}.",
    "extra_error": "How much larger the relative reconstruction error is than that of the codes.",
    "published_at": "When the SID was published.",
    "left_at": "When the item left the SID; null: it has it.",
    "left_why": f"Why the item left the SID: {' or '.join(LEFT_WHY)}.",
    "freed_at": "When a purge freed the SID; null: it is reserved for the item.",
    "pids": "The items of the SID, the most frequent first.",
    "counts": "How often each item occurs in the interactions.",
    "number": "An integer that stands for the id and never changes.",
    "token": "A token of a SID, as in <s_a_5>.",
    "id": "The id of the token in Qwen3's vocabulary.",
    "reason": "Why the row was rejected.",
    "file": "The file of the catalog that has the row.",
    "at": "When the SIDs were refreshed.",
    "tokenizer": "The hash of the tokenizer's centroids.",
    "registry": "The version of `sid_registry` that the refresh made.",
    "items": "Items that have a SID.",
    "new": "Items that got a SID for the first time in the generation.",
    "changed": "Items with a new text.",
    "removed": "Items that are no longer in the catalog.",
    "returned": "Items that came back.",
    "resolved": "Items whose third code was replaced, because the SID of their codes was taken.",
    "distinct_sids": "SIDs that items have.",
    "shared_sids": "SIDs of more than one item.",
    "source": "The name of the data set, as OneRec's programs know it.",
    "uuid": "The id of the row. It depends on the data set, the content and the seed.",
    "segments": "The text to train on, as JSON.",
    "messages": "The conversation to train on, as JSON.",
    "metadata": "What the row was made from, such as its user or item, as JSON.",
    "uid": "The user.",
    "split": "0 for training, 1 for evaluation.",
    "history_until": "The time of the last event of the history.",
    "targets_from": "The time of the first target.",
    "hist_video_pid": "The items of the history, the oldest first.",
    "target_video_pid": "The items that came next.",
    **{f"hist_video_{label}": f"1 where an item of the history has {label}." for label in LABELS},
    **{f"target_video_{label}": f"1 where a target has {label}." for label in LABELS},
    "hist_longview_video_list": "Items of the history that were watched for a long time.",
    "inter_user_profile_with_sid": "A text that describes the user.",
    "inter_keyword_to_items": "Keywords, and the items that the user chose after each, as JSON.",
}
"""What the columns of all tables hold, by name."""

COLUMNS_OF: dict[str, dict[str, str]] = {
    "item_texts_rejected": {"text": "The rejected row.", "pid": "The id in the row, as text."},
    "sid_registry": {
        "codes": "The codes of the item when its text last changed.",
        "text_hash": "The hash of the text that the SID stands for; null if not known.",
    },
    "sid2pid": {"sid": "The semantic ID as text.", "codes": "The three codes of the SID."},
    "uid_map": {"pid": "The id of a user."},
}
"""The same for columns that hold something else in one table."""


def column_description(key: str, column: str) -> str | None:
    """What a column of an asset's table holds; None for a table that users add to the graph."""
    table = key.rsplit("/", 1)[-1]
    if table not in TABLES:
        return None
    return COLUMNS_OF.get(table, {}).get(column, COLUMNS.get(column))
