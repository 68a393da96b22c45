"""Interactions and captions that hypothesis makes, with all that real ones can have wrong."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from hypothesis import strategies as st

from sid_assets.core.pids import PidColumn
from sid_assets.core.recif.inputs import IdSpace
from sid_assets.core.recif.prompts import SLOTS
from sid_assets.core.sid_index import SidIndex
from sid_assets_tests.core.recif.reference import LABELS

UNIVERSE = 30
"""Pids in use; the catalog has a part of them."""

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["", " ", '说"话"\\n', "a\nb\tc\r\x00\x1f\x7f\u2028", "{slot} {{", "<|sid_begin|>"]
)


def pid(number: int, kind: str) -> Any:
    """A pid of the universe; as text it needs escaping in JSON."""
    return number if kind == "int" else f'电影"{number}'


def catalog(kind: str, numbers: list[int], seed: int) -> tuple[IdSpace, dict[Any, list[int]]]:
    """The SIDs of some pids, for the program and for the reference."""
    codes = np.random.default_rng(seed).integers(0, 8192, (len(numbers), 3))
    pids = [pid(number, kind) for number in numbers]
    column = pa.array(pids, pa.int64() if kind == "int" else pa.string())
    stored = "int" if kind == "int" else "text"
    space = IdSpace(SidIndex(column, codes), PidColumn("catalog", "pid", stored, len(pids)))
    return space, dict(zip(pids, codes.tolist(), strict=True))


def one_wording() -> str:
    """A prompts file with one wording in each list, so that nothing is left to chance."""
    groups: dict[str, dict[str, list[str]]] = {}
    for name, slots in SLOTS.items():
        group, key = name.split(".")
        text = f'"{name}"\\: ' + "\n".join(f"<{{{slot}}}>" for slot in sorted(slots))
        groups.setdefault(group, {})[key] = [text]
    return yaml.safe_dump(groups, allow_unicode=True)


@st.composite
def interactions(draw: st.DrawFn, kind: str, columns: Sequence[str]) -> pa.Table:
    """A table of some columns."""
    rows = draw(st.integers(0, 6))
    pids = st.none() | st.builds(lambda n: pid(n, kind), st.integers(0, UNIVERSE - 1))
    pid_type = pa.int64() if kind == "int" else pa.string()
    # Real histories are longer than what a row keeps: a few pids many times over.
    times = st.sampled_from([1, 1, 3, 120])
    pid_lists = st.none() | st.builds(lambda of, n: of * n, st.lists(pids, max_size=5), times)

    def column(name: str) -> pa.Array:
        values, type_ = {
            "uid": (st.integers(-(2**40), 2**40), pa.int64()),
            "split": (st.sampled_from([0, 0, 0, 1]), pa.int64()),
            "target_pid": (pids, pid_type),
            "inter_keyword_to_items": (keyword_objects(kind), pa.string()),
        }.get(name, (st.none() | TEXTS, pa.string()))
        if name.endswith(("video_pid", "ad_pid", "goods_pid", "_list")):
            values, type_ = pid_lists, pa.list_(pid_type)
        return pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), type_)

    def mask_column(name: str) -> pa.Array:
        listed = made[name.split("_")[0] + "_video_pid"]
        type_ = draw(st.sampled_from([pa.int64(), pa.int8(), pa.float64(), pa.bool_()]))
        masks = [draw(mask(of)) for of in listed.to_pylist()]
        return pa.array(_typed(masks, type_), pa.list_(type_))

    masks = [name for name in columns if name.endswith(LABELS)]
    made = {name: column(name) for name in columns if name not in masks}
    return pa.table(made | {name: mask_column(name) for name in masks})


@st.composite
def mask(draw: st.DrawFn, listed: list[Any] | None) -> list[Any] | None:
    """A mask beside a list: as long, or not, or not there."""
    lengths = [len(listed or ())] * 4 + [len(listed or ()) + 1, None]
    length = draw(st.sampled_from(lengths))
    if length is None:
        return None
    base = draw(st.lists(st.sampled_from([0, 1, 1, None]), min_size=1, max_size=7))
    return (base * (length // len(base) + 1))[:length]


def _typed(masks: list[Any], type_: pa.DataType) -> list[Any]:
    if pa.types.is_boolean(type_):
        return [m and [None if v is None else v == 1 for v in m] for m in masks]
    if pa.types.is_floating(type_):  # As pandas has it: NaN for null.
        return [m and [float("nan") if v is None else float(v) for v in m] for m in masks]
    return masks


def keyword_objects(kind: str) -> st.SearchStrategy[str | None]:
    """JSON objects of keywords and items, and texts that are none."""
    pids = st.builds(lambda n: pid(n, kind), st.integers(0, UNIVERSE - 1))
    items = st.lists(pids, max_size=14) | st.sampled_from([None, [], [None], 7, "text", {}])
    objects = st.dictionaries(TEXTS, items, max_size=4)
    broken = st.sampled_from([None, "", "{", "[1, 2]", "null", '{"a": [1}', "nan", "[" * 50])
    return broken | st.builds(lambda o: json.dumps(o, ensure_ascii=False), objects)


@st.composite
def captions(draw: st.DrawFn, kind: str, columns: Sequence[str]) -> pa.Table:
    """Captions, some of them of unknown items, twice, empty or missing."""
    pids = st.builds(lambda n: pid(n, kind), st.integers(0, UNIVERSE - 1))
    rows = draw(st.lists(st.tuples(st.none() | pids, st.none() | TEXTS), max_size=10))
    return pa.table(
        {
            "pid": pa.array([p for p, _ in rows], pa.int64() if kind == "int" else pa.string()),
            "dense_caption": pa.array([caption for _, caption in rows], pa.string()),
        }
    )
