"""Profiles come from the history alone, and keywords from the targets alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.events.log import EventLog
from sid_assets.core.events.make import make_interactions
from sid_assets.core.events.profiles import Profiles, with_profiles
from sid_assets.core.events.rules import Rules
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.sids.spelling import sid_text

PIDS = np.arange(1, 9)
INDEX = SidIndex(pa.array(PIDS), np.stack([PIDS, PIDS, PIDS], axis=1))
WORDS = pa.table({"pid": PIDS, "keyword": ["odd", "even"] * 4})
START, DAY = 1_600_000_000, 86_400


def sids(*pids: int) -> str:
    """The SIDs of items, joined."""
    return "".join(sid_text(np.array([[pid] * 3]))[0].as_py() for pid in pids)


def profiled(folder: Path, items: list[int], ratings: list[int], **options: Any) -> list[Any]:
    """The rows of one user with an event a day."""
    frame = pd.DataFrame({"user_id": 1, "item_id": items, "rating": ratings})
    frame["timestamp"] = [START + place * DAY for place in range(len(items))]
    frame.to_csv(folder / "log.csv", index=False)
    scratch = folder / f"scratch{len(list(folder.iterdir()))}"
    scratch.mkdir()
    made = make_interactions(
        EventLog(str(folder / "log.csv")),
        Rules(split="leave_last"),
        "like: rating >= 4",
        pid_type="int",
        scratch_dir=scratch,
    )
    return with_profiles(made.reader, Profiles(INDEX, **options)).read_all().to_pylist()


SENTENCES = ("New: {recent}. ", "Liked: {like}. ", "Shared: {forward}.")


def test_a_profile_has_the_last_items_with_a_sid_and_no_empty_sentences(tmp_path: Path) -> None:
    rows = profiled(
        tmp_path, [99, 1, 2, 3, 4], [5, 1, 5, 1, 1], sentences=SENTENCES, shown=2, keywords=WORDS
    )
    assert [row["inter_user_profile_with_sid"] for row in rows] == [
        None,
        f"New: {sids(1)}. ",
        f"New: {sids(1, 2)}. Liked: {sids(2)}. ",
        f"New: {sids(2, 3)}. Liked: {sids(2)}. ",
    ]
    assert [row["inter_keyword_to_items"] for row in rows] == [
        '{"odd": [1]}',
        '{"even": [2]}',
        '{"odd": [3]}',
        '{"even": [4]}',
    ]


@pytest.mark.parametrize("changed", range(1, 7))
def test_an_event_at_or_after_the_target_changes_no_profile(tmp_path: Path, changed: int) -> None:
    items, ratings = [1, 2, 3, 4, 5, 6, 7], [5, 4, 1, 2, 5, 5, 1]
    before = profiled(tmp_path, items, ratings, sentences=SENTENCES, keywords=WORDS)
    items[changed], ratings[changed] = 8, 3
    after = profiled(tmp_path, items, ratings, sentences=SENTENCES, keywords=WORDS)
    # The row whose target is event k is row k - 1.
    for row in range(changed):
        column = "inter_user_profile_with_sid"
        assert before[row][column] == after[row][column]
        assert before[row]["hist_video_pid"] == after[row]["hist_video_pid"]
    assert before[changed - 1]["target_video_pid"] != after[changed - 1]["target_video_pid"]


def test_a_sentence_without_a_known_slot_is_refused() -> None:
    with pytest.raises(InputError, match="exactly one slot"):
        Profiles(INDEX, sentences=("Nothing.",))
