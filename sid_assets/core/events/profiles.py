"""Profiles and keywords of rows of interactions, by templates.

A profile spells SIDs of the history alone. Keywords name targets alone, because they are answers.
"""

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import as_bool
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.interactions import KEYWORDS
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.sids.spelling import joined_sid_text
from sid_assets.core.training_sets import LABELS, PROFILE

CHINESE = (
    "用户最近观看的视频：{recent}。",
    "用户完整观看的视频：{longview}。",
    "用户点赞的视频：{like}。",
    "用户关注了作者的视频：{follow}。",
    "用户转发的视频：{forward}。",
    "用户不感兴趣的视频：{not_interested}。",
)
ENGLISH = (
    "The user's latest items: {recent}. ",
    "Items that held the user's attention: {longview}. ",
    "Items that the user liked: {like}. ",
    "Items whose author the user followed: {follow}. ",
    "Items that the user shared: {forward}. ",
    "Items that did not interest the user: {not_interested}. ",
)

_SLOT = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True)
class Profiles:
    """What profiles and keywords are made of.

    Attributes:
        index: The SIDs of pid2sid.
        sentences: Each has one slot: `{recent}`, the last items of the history, or a label, the
            last items of the history with this label. It is left out where there are none.
        shown: The most SIDs of a slot.
        keywords: Columns `pid`, unique, and `keyword`, text; None for no keywords. It is held in
            memory: dictionary-encoded keywords are small.
    """

    index: SidIndex
    sentences: Sequence[str] = CHINESE
    shown: int = 20
    keywords: pa.Table | None = None

    def __post_init__(self) -> None:
        """Raise InputError if a sentence has not one known slot."""
        for sentence in self.sentences:
            slots = _SLOT.findall(sentence)
            if len(slots) != 1 or slots[0] not in ("recent", *LABELS):
                raise InputError(
                    f"Profile sentence {sentence!r}: needs exactly one slot. Slots: "
                    f"{', '.join(f'{{{name}}}' for name in ('recent', *LABELS))}."
                )


def with_profiles(rows: pa.RecordBatchReader, profiles: Profiles) -> pa.RecordBatchReader:
    """The rows with `inter_user_profile_with_sid` and, with keywords, `inter_keyword_to_items`.

    A profile is null where no sentence remains. The JSON of keywords lists the targets of each
    keyword in their order, and is null where no target has one.
    """
    columns = [PROFILE] + ([KEYWORDS] if profiles.keywords is not None else [])
    schema = rows.schema
    for column in columns:
        schema = schema.append(pa.field(column, pa.string()))

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            added = [_profile_texts(batch, profiles)]
            if profiles.keywords is not None:
                added.append(_keyword_texts(batch, profiles.keywords))
            yield pa.RecordBatch.from_arrays([*batch.columns, *added], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _profile_texts(batch: pa.RecordBatch, profiles: Profiles) -> pa.Array:
    """The profile of each row."""
    history = batch["hist_video_pid"]
    bounds = history.offsets.to_numpy().astype(np.int64)
    pids = history.values.slice(bounds[0], bounds[-1] - bounds[0])
    bounds = bounds - bounds[0]
    found = profiles.index.find(pids)
    texts: list[pa.Array] = []
    for sentence in profiles.sentences:
        [slot] = _SLOT.findall(sentence)
        if slot == "recent":
            chosen = found.found
        elif f"hist_video_{slot}" in batch.schema.names:
            mask = batch[f"hist_video_{slot}"].flatten().to_numpy(zero_copy_only=False)
            chosen = found.found & mask.astype(bool)
        else:
            continue
        before, after = sentence.split(f"{{{slot}}}")
        sids = _last_sids(found.fragments, chosen[found.found], chosen, bounds, profiles.shown)
        texts.append(pc.binary_join_element_wise(before, sids, after, ""))
    if not texts:
        return pa.nulls(batch.num_rows, pa.string())
    some = reduce(pc.or_, (text.is_valid() for text in texts))
    joined = pc.binary_join_element_wise(*(text.fill_null("") for text in texts), "")
    return pc.if_else(some, joined, pa.scalar(None, pa.string()))


def _last_sids(
    fragments: np.ndarray, of_found: np.ndarray, chosen: np.ndarray, bounds: np.ndarray, shown: int
) -> pa.Array:
    """The SIDs of the last chosen items of each row as one text; null if there are none."""
    ends = np.r_[0, np.cumsum(chosen)][bounds]
    # From the end of the row, the place of each chosen item.
    row = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
    near_end = ends[1:][row] - np.arange(len(row)) <= shown
    counted = np.r_[0, np.cumsum(near_end)][ends]
    return joined_sid_text(fragments[of_found][near_end], counted)


def _keyword_texts(batch: pa.RecordBatch, keywords: pa.Table) -> pa.Array:
    """The keywords of the targets of each row, as JSON."""
    targets = batch["target_video_pid"]
    flat = targets.flatten()
    place = pc.index_in(flat, value_set=keywords["pid"])
    words = keywords["keyword"].take(place).to_pylist()
    has = as_bool(place.is_valid())
    pids = flat.to_pylist()
    bounds = targets.offsets.to_numpy() - targets.offsets[0].as_py()
    texts: list[str | None] = []
    for low, high in itertools.pairwise(bounds):
        of_row: dict[str, list[int | str]] = defaultdict(list)
        for position in range(low, high):
            word = words[position] if has[position] else None
            if word is not None and pids[position] not in of_row[word]:
                of_row[word].append(pids[position])
        texts.append(json.dumps(of_row, ensure_ascii=False) if of_row else None)
    return pa.array(texts, pa.string())
