"""Profiles come from the history alone, and keywords from the targets alone."""

import tempfile
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


Event = tuple[int, int, int, int]
"""User, item, seconds since the start, and rating."""


def profiled(folder: Path, events: list[Event], rules: Rules, **options: Any) -> list[Any]:
    """The rows of a log."""
    frame = pd.DataFrame(events, columns=["user_id", "item_id", "timestamp", "rating"])
    frame["timestamp"] += START
    frame.to_csv(folder / "log.csv", index=False)
    with tempfile.TemporaryDirectory() as scratch:
        made = make_interactions(
            EventLog(str(folder / "log.csv")),
            rules,
            "like: rating >= 4; longview: rating == 2",
            pid_type="int",
            scratch_dir=scratch,
        )
        return with_profiles(made.reader, Profiles(INDEX, **options)).read_all().to_pylist()


SENTENCES = ("New: {recent}. ", "Liked: {like}. ", "Shared: {forward}.")


def test_a_profile_has_the_last_items_with_a_sid_and_no_empty_sentences(tmp_path: Path) -> None:
    events = [(1, 99, 0, 5), (1, 1, DAY, 1), (1, 2, 2 * DAY, 5), (1, 3, 3 * DAY, 1)]
    rows = profiled(
        tmp_path,
        [*events, (1, 4, 4 * DAY, 1)],
        Rules(),
        sentences=SENTENCES,
        shown=2,
        keywords=WORDS,
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


CHANGES = ("item", "rating", "later", "earlier", "removed")


def changed(event: Event, change: str, earliest: int) -> tuple[list[Event], int]:
    """What becomes of an event, and the time from which on the log differs.

    An event moves to `earliest` at most.
    """
    user, item, time, rating = event
    new = {
        "item": [(user, 9 - item, time, rating)],
        "rating": [(user, item, time, 6 - rating if rating != 3 else 5)],
        "later": [(user, item, time + 5 * DAY, rating)],
        "earlier": [(user, item, earliest, rating)],
        "removed": [],
    }[change]
    return new, min(time, earliest) if change == "earlier" else time


@pytest.mark.parametrize("rules", [Rules(split_at="2020-09-13T18:00"), Rules("leave_last")])
def test_an_event_at_or_after_the_target_changes_no_prompt(tmp_path: Path, rules: Rules) -> None:
    draw = np.random.default_rng(0).integers
    before: list[Event] = []
    after: list[Event] = []
    differs: dict[int, int] = {}
    for user in range(60):
        events = [
            (user, int(draw(1, 9)), int(draw(40)) * 1200, int(draw(1, 6)))
            for _ in range(draw(3, 14))
        ]
        events.sort(key=lambda event: event[2])
        place = int(draw(1, len(events)))
        earliest = events[place // 2][2]
        new, differs[user] = changed(events[place], CHANGES[user % len(CHANGES)], earliest)
        before += events
        after += [*events[:place], *new, *events[place + 1 :]]
    found = [
        {
            (row["uid"], row["targets_from"]): row
            for row in profiled(tmp_path, log, rules, sentences=SENTENCES, keywords=WORDS)
        }
        for log in (before, after)
    ]
    at_change = same_targets = other_prompts = 0
    for key in found[0].keys() & found[1].keys():
        old, new = found[0][key], found[1][key]
        since = round(key[1].timestamp()) - START - differs[key[0]]
        of_prompt = [name for name in old if name.startswith("hist_") or "profile" in name]
        if since <= 0:
            assert [old[name] for name in of_prompt] == [new[name] for name in of_prompt]
            at_change += since == 0
        else:
            other_prompts += any(old[name] != new[name] for name in of_prompt)
        if old["target_video_pid"] == new["target_video_pid"]:
            assert old["inter_keyword_to_items"] == new["inter_keyword_to_items"]
            same_targets += since > 0
    assert min(at_change, same_targets, other_prompts) > 10


def test_a_sentence_without_a_known_slot_is_refused() -> None:
    with pytest.raises(InputError, match="exactly one slot"):
        Profiles(INDEX, sentences=("Nothing.",))
