"""The columns of interactions and captions: their names, and what they must hold."""

from collections.abc import Callable, Iterable

import pyarrow as pa

from sid_assets.core.arrow.columns import is_list, is_text
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.training_sets import HISTORY_MASKS, TARGET_MASKS, VIDEO_LISTS

TARGET_PREFIX = "target_"
"""How the names of columns with targets begin."""

ITEM_COLUMNS = (*VIDEO_LISTS, "hist_ad_pid", "target_ad_pid")
GOODS_COLUMNS = ("hist_goods_pid", "target_goods_pid")
"""The columns whose pids count as interactions: with items of the catalog, and with goods."""

KEYWORDS = "inter_keyword_to_items"

Holds = Callable[[pa.DataType], bool]


def check_types(source: ParquetInput, columns: Iterable[str]) -> None:
    """Raise InputError if a column is there but does not hold what it must."""
    for column in columns:
        what, holds = EXPECTED[column]
        for file, type_ in source.types(column):
            if not holds(type_):
                raise InputError(
                    f"{file}: column {column!r} holds {type_}, not {what}.{_remedy(column, type_)}"
                )


def _remedy(column: str, type_: pa.DataType) -> str:
    """How to write lists that are text, or lists of text, as lists of numbers; else ""."""
    if "lists" not in EXPECTED[column][0] or column == KEYWORDS:
        return ""
    if is_list(type_) and is_text(type_.value_type):
        return f" In DuckDB, CAST({column} AS TINYINT[]) makes numbers of them."
    if is_text(type_):
        return (
            " Text is not read as a list, even if it is JSON. In DuckDB, "
            f"CAST({column} AS BIGINT[]) makes lists of numbers of it, and VARCHAR[] lists of text."
        )
    return ""


def _is_text(type_: pa.DataType) -> bool:
    return pa.types.is_null(type_) or is_text(type_)


def _is_number(type_: pa.DataType) -> bool:
    return (
        pa.types.is_null(type_)
        or pa.types.is_integer(type_)
        or pa.types.is_floating(type_)
        or pa.types.is_decimal(type_)
    )


def _is_id(type_: pa.DataType) -> bool:
    return _is_number(type_) or _is_text(type_)


def _is_number_or_bool(type_: pa.DataType) -> bool:
    return _is_number(type_) or pa.types.is_boolean(type_)


def _list_of(holds: Holds) -> Holds:
    return lambda type_: pa.types.is_null(type_) or (is_list(type_) and holds(type_.value_type))


def _is_keywords(type_: pa.DataType) -> bool:
    if pa.types.is_map(type_):
        return _is_text(type_.key_type) and _list_of(_is_id)(type_.item_type)
    if pa.types.is_struct(type_):
        return all(_list_of(_is_id)(field.type) for field in type_.fields)
    return _is_text(type_)


_TEXTS = (
    "inter_user_profile_with_sid",
    "reco_gsu_caption",
    "reco_target_caption",
    "reco_cot",
    "dense_caption",
)
_ID_LISTS = (*ITEM_COLUMNS, *GOODS_COLUMNS, "hist_longview_video_list")

EXPECTED: dict[str, tuple[str, Holds]] = {
    "split": ("numbers (0 for training)", _is_number_or_bool),
    **dict.fromkeys(("uid", "pid", "target_pid"), ("ids", _is_id)),
    **dict.fromkeys(_ID_LISTS, ("lists of ids", _list_of(_is_id))),
    **dict.fromkeys(
        (*HISTORY_MASKS, *TARGET_MASKS), ("lists of 0 and 1", _list_of(_is_number_or_bool))
    ),
    **dict.fromkeys(_TEXTS, ("text", _is_text)),
    KEYWORDS: ("JSON objects of keywords and lists of ids", _is_keywords),
}
"""What each column must hold, and whether a type fits."""
