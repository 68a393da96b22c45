"""Interactions and captions drawn by a seed, with the errors that real ones can have."""

import json
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from benchmarks.training_data_reference import LABELS
from sid_assets.core.inputs.ids import PidColumn
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.training.inputs import IdSpace
from sid_assets.core.training.prompts import SLOTS

UNIVERSE = 30
"""Pids in use; a catalog has some of them."""

ROWS = 12

TEXTS = (
    *("", " ", "\u3000\n", '说"话"\\n', "a\nb\tc\r\x00\x1f\x7f\u2028", "{sid} {{", "x" * 300),
    *("喜欢科幻", "a profile <|sid_begin|><s_a_1><s_b_2><s_c_3><|sid_end|>", "\\", "🎬"),
)


def pid(number: int, kind: str) -> Any:
    """A pid of the universe; as text it needs escaping in JSON."""
    return number if kind == "int" else f'电影"{number}'


def catalog(kind: str, rng: Random) -> tuple[IdSpace, dict[Any, list[int]]]:
    """The SIDs of some pids, for the package and for the reference."""
    numbers = rng.sample(range(UNIVERSE), rng.choice([0, 1, 15, 25, UNIVERSE]))
    codes = np.array([[rng.randrange(8192) for _ in range(3)] for _ in numbers]).reshape(-1, 3)
    pids = [pid(number, kind) for number in numbers]
    column = pa.array(pids, pa.int64() if kind == "int" else pa.string())
    stored = "int" if kind == "int" else "text"
    space = IdSpace(SidIndex(column, codes), PidColumn("catalog", "pid", stored, len(pids)))
    return space, dict(zip(pids, codes.tolist(), strict=True))


def wording(name: str) -> str:
    """The only wording of a list, with its slots."""
    return f'"{name}"\\: ' + "\n".join(f"<{{{slot}}}>" for slot in sorted(SLOTS[name]))


def one_wording() -> str:
    """A prompts file with one wording in each list, so that no draw has a choice."""
    groups: dict[str, dict[str, list[str]]] = {}
    for name in SLOTS:
        group, key = name.split(".")
        groups.setdefault(group, {})[key] = [wording(name)]
    return yaml.safe_dump(groups, allow_unicode=True)


def interactions(kind: str, columns: Sequence[str], rng: Random) -> pa.Table:
    """A table with some columns."""
    pid_type = pa.int64() if kind == "int" else pa.string()
    made: dict[str, pa.Array] = {}
    for name in columns:
        if name == "uid":
            type_ = rng.choice([pa.int64(), pa.float64()])
            values = [_uid(type_, rng) for _ in range(ROWS)]
        elif name == "split":
            values, type_ = [rng.choice([0, 0, 0, 1]) for _ in range(ROWS)], pa.int64()
        elif name == "target_pid":
            values, type_ = [_pid_or_null(kind, rng) for _ in range(ROWS)], pid_type
        elif name == "inter_keyword_to_items":
            values, type_ = [_keywords(kind, rng) for _ in range(ROWS)], pa.string()
        elif name.endswith(LABELS):
            listed = made[name.split("_")[0] + "_video_pid"].to_pylist()
            type_ = pa.list_(rng.choice([pa.int64(), pa.int8(), pa.float64(), pa.bool_()]))
            values = [_typed(_mask(pids, rng), type_.value_type) for pids in listed]
        elif name.endswith(("_pid", "_list")):
            values, type_ = [_pids(kind, rng) for _ in range(ROWS)], pa.list_(pid_type)
        else:
            values, type_ = [_text(rng) for _ in range(ROWS)], pa.string()
        made[name] = pa.array(values, type_)
    return pa.table(made)


def one_target_label(table: pa.Table, rng: Random) -> pa.Table:
    """The same interactions, where each row keeps only one label's mask of its targets."""
    kept = [rng.choice(LABELS) for _ in range(table.num_rows)]
    for label in LABELS:
        name = f"target_video_{label}"
        masks = [
            mask if one == label else None
            for mask, one in zip(table[name].to_pylist(), kept, strict=True)
        ]
        index = table.schema.get_field_index(name)
        table = table.set_column(index, name, pa.array(masks, table[name].type))
    return table


def captions(kind: str, columns: Sequence[str], rng: Random) -> pa.Table:
    """Captions: some belong to unknown items, some are duplicate, empty or missing."""
    pids = pa.array(
        [_pid_or_null(kind, rng) for _ in range(ROWS)],
        pa.int64() if kind == "int" else pa.string(),
    )
    return pa.table({"pid": pids, "dense_caption": [_text(rng) for _ in range(ROWS)]})


def _uid(type_: pa.DataType, rng: Random) -> Any:
    """A uid, or a missing one: null, or NaN as pandas writes it."""
    none = [None] if pa.types.is_integer(type_) else [None, float("nan")]
    return rng.choice(none) if rng.random() < 0.1 else rng.randrange(-(2**40), 2**40)


def _text(rng: Random) -> str | None:
    return None if rng.random() < 0.15 else "".join(rng.choices(TEXTS, k=rng.choice([1, 1, 3])))


def _pid_or_null(kind: str, rng: Random) -> Any:
    return None if rng.random() < 0.1 else pid(rng.randrange(UNIVERSE), kind)


def _pids(kind: str, rng: Random) -> list[Any] | None:
    """Null, empty, short, or longer than any data set keeps."""
    length = rng.choice([None, 0, 1, 5, 12, 12, 150, 600])
    return None if length is None else [_pid_or_null(kind, rng) for _ in range(length)]


def _mask(pids: list[Any] | None, rng: Random) -> list[int | None] | None:
    """A mask beside a list: mostly of the same length, sometimes of another, or missing."""
    length = len(pids or ()) + rng.choice([0] * 8 + [1])
    values = rng.choice([[0], [0, 1], [0, 0, 0, 1, None]])
    return None if rng.random() < 0.1 else [rng.choice(values) for _ in range(length)]


def _typed(mask: list[int | None] | None, type_: pa.DataType) -> list[Any] | None:
    if mask is not None and pa.types.is_boolean(type_):
        return [None if value is None else value == 1 for value in mask]
    if mask is not None and pa.types.is_floating(type_):  # As pandas writes it: NaN for null.
        return [float("nan") if value is None else float(value) for value in mask]
    return mask


def _keywords(kind: str, rng: Random) -> str | None:
    """A JSON object of keywords and items, or a text that is not one."""
    if rng.random() < 0.3:
        broken = [None, "", "{", "[1, 2]", "null", '{"a": [1}', "nan", "[" * 50, "{}"]
        return rng.choice(broken)
    items: list[Any] = [_pids(kind, rng) for _ in range(3)]
    for odd in range(3):
        if rng.random() < 0.1:
            items[odd] = rng.choice([[], [None], 7, "text", {}])
        elif items[odd] and any(one is not None for one in items[odd]) and rng.random() < 0.1:
            items[odd].append("1" if kind == "int" else 1)  # One id of the other type.
    return json.dumps(
        {_text(rng) or "": listed for listed in items}, ensure_ascii=rng.random() < 0.5
    )
