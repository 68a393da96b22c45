"""What the columns of interactions and captions have to hold."""

from collections.abc import Callable, Iterable

import pyarrow as pa

from sid_assets.core.errors import InputError
from sid_assets.core.training.inputs import ParquetInput
from sid_assets.core.training_sets import LABELS

Holds = Callable[[pa.DataType], bool]


def check_types(source: ParquetInput, columns: Iterable[str]) -> None:
    """Raise InputError where a column, as far as it is there, holds something else."""
    for column in columns:
        what, holds = EXPECTED[column]
        for file, type_ in source.types(column):
            if not holds(type_):
                raise InputError(f"{file}: column {column!r} holds {type_}, not {what}.")


def _is_text(type_: pa.DataType) -> bool:
    return (
        pa.types.is_null(type_)
        or pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_string_view(type_)
        or (pa.types.is_dictionary(type_) and _is_text(type_.value_type))
    )


def _is_number(type_: pa.DataType) -> bool:
    return pa.types.is_null(type_) or pa.types.is_integer(type_) or pa.types.is_floating(type_)


def _is_id(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        return _is_id(type_.value_type)
    return _is_number(type_) or _is_text(type_)


def _is_label(type_: pa.DataType) -> bool:
    return _is_number(type_) or pa.types.is_boolean(type_)


def _list_of(holds: Holds) -> Holds:
    def is_list(type_: pa.DataType) -> bool:
        if pa.types.is_null(type_):
            return True
        listed = (
            pa.types.is_list(type_)
            or pa.types.is_large_list(type_)
            or pa.types.is_fixed_size_list(type_)
        )
        return listed and holds(type_.value_type)

    return is_list


def _is_keywords(type_: pa.DataType) -> bool:
    if pa.types.is_map(type_):
        return _is_text(type_.key_type) and _list_of(_is_id)(type_.item_type)
    if pa.types.is_struct(type_):
        return all(_list_of(_is_id)(field.type) for field in type_.fields)
    return _is_text(type_)


EXPECTED: dict[str, tuple[str, Holds]] = {
    **dict.fromkeys(("split",), ("numbers", _is_number)),
    **dict.fromkeys(("uid", "pid", "target_pid"), ("ids", _is_id)),
    **{
        f"{side}_{of}_pid": ("lists of ids", _list_of(_is_id))
        for side in ("hist", "target")
        for of in ("video", "ad", "goods")
    },
    "hist_longview_video_list": ("lists of ids", _list_of(_is_id)),
    **{
        f"{side}_video_{label}": ("lists of 0 and 1", _list_of(_is_label))
        for side in ("hist", "target")
        for label in LABELS
    },
    **dict.fromkeys(
        (
            "inter_user_profile_with_sid",
            "reco_gsu_caption",
            "reco_target_caption",
            "reco_cot",
            "dense_caption",
        ),
        ("text", _is_text),
    ),
    "inter_keyword_to_items": ("JSON objects of keywords and lists of ids", _is_keywords),
}
"""What each column has to hold, and whether a type is that."""
