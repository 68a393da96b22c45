"""Rows of a log are those of a plain loop, and bad logs are refused with what is wrong."""

import itertools
import tempfile
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core.errors import InputError
from sid_assets.core.events.labels import parse_labels
from sid_assets.core.events.log import EventLog
from sid_assets.core.events.make import counted_users, make_interactions, text_users
from sid_assets.core.events.rules import Rules, Summary
from sid_assets_tests.core.events.plain import Event, plain_rows

LABELS = "like: rating >= 4; longview: ms > 10 and rating != 2 or kind == 'full'"
START = 1_600_000_000
PLAIN_COLUMNS = ("uid", "split", "hist_", "target_", "hist_longview")


def made(path: Path, rules: Rules, labels: str = "", **options: Any) -> tuple[list[Any], Summary]:
    """The rows without times, and the summary."""
    known = options.pop("known", None)
    pid_type = options.pop("pid_type", "int")
    uid_map = options.pop("uid_map", None)
    forced = options.pop("forced", False)
    reader = known and pa.table({"pid": pa.array(sorted(known))}).to_reader()
    with tempfile.TemporaryDirectory() as scratch:
        result = make_interactions(
            EventLog(str(path), **options),
            rules,
            labels,
            pid_type=pid_type,
            scratch_dir=scratch,
            known=reader,
            uid_map=uid_map,
            forced=forced,
        )
        table = result.reader.read_all()
    assert all(
        until < targets
        for until, targets in zip(
            table["history_until"].to_pylist(), table["targets_from"].to_pylist(), strict=True
        )
    )
    return table.drop_columns(["history_until", "targets_from"]).to_pylist(), result.summary


EVENTS = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.integers(1, 6),
        st.one_of(st.integers(0, 40), st.integers(0, 10_000)),
        st.sampled_from(["1", "2", "4", "4.5", None]),
        st.sampled_from(["5", "11", "12", None]),
        st.sampled_from(["full", "part", None]),
    ),
    min_size=1,
    max_size=40,
)

RULES = st.builds(
    Rules,
    split=st.sampled_from(["time", "leave_last"]),
    test_share=st.sampled_from([0.1, 0.3, 0.9]),
    session_minutes=st.sampled_from([0, 1, 30]),
    most_targets=st.integers(1, 3),
    most_history=st.integers(1, 4),
    rows_per_user=st.integers(1, 4),
    fewest_events=st.integers(1, 4),
    core=st.integers(0, 3),
    seed=st.integers(0, 2),
)

UNITS = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}


def write_log(folder: str, rows: list[dict[str, Any]], form: str, *, typed: bool) -> Path:
    """The log as CSV, or as parquet whose columns are numbers and timestamps."""
    frame = pd.DataFrame(rows)
    if not typed:
        frame.to_csv(path := Path(folder, "log.csv"), index=False)
        return path
    numbers = {"rating": "float64", "ms": "Int64", "seq": "int64"}
    frame = frame.astype(numbers | ({"timestamp": "int64"} if form in (*UNITS, "ymd") else {}))
    if form in ("iso", "zoned"):
        kind: Any = "datetime64[us, Asia/Tokyo]" if form == "zoned" else "datetime64[ms]"
        frame["timestamp"] = pd.to_datetime(frame["timestamp"]).astype(kind)
    frame.to_parquet(path := Path(folder, "log.parquet"))
    return path


@settings(max_examples=20, deadline=None)
@given(
    rows=EVENTS,
    rules=RULES,
    form=st.sampled_from([*UNITS, "iso", "zoned", "days", "ymd"]),
    known=st.one_of(st.none(), st.sets(st.integers(1, 6), min_size=1)),
    ordered=st.booleans(),
    typed=st.booleans(),
)
def test_rows_are_those_of_a_plain_loop(
    rows: list[Any], rules: Rules, form: str, known: set[int] | None, ordered: bool, typed: bool
) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    events, written = [], []
    for position, (user, pid, minutes, rating, ms, kind) in enumerate(rows):
        moment = datetime.fromtimestamp(START, UTC) + timedelta(minutes=minutes / 2)
        if form in ("days", "ymd"):
            moment = datetime(2024, 3, 20, tzinfo=berlin) + timedelta(days=minutes % 30)
            time = f"{moment:%Y-%m-%d}" if form == "days" else f"{moment:%Y%m%d}"
        elif form in UNITS:
            time = str(int(moment.timestamp()) * UNITS[form])
        elif form == "iso":
            time = moment.astimezone(berlin).replace(tzinfo=None).isoformat()
        else:
            time = moment.astimezone(ZoneInfo("Asia/Tokyo")).isoformat()
        values = {"rating": rating, "ms": ms, "kind": kind, "seq": str(position % 3)}
        written.append({"user_id": user, "item_id": pid, "timestamp": time, **values})
        if not ordered:
            values.pop("seq")
        us = round(moment.timestamp()) * 1_000_000
        events.append(Event(str(user), pid, us, values))
    with tempfile.TemporaryDirectory() as folder:
        mine, summary = made(
            write_log(folder, written, form, typed=typed),
            rules,
            LABELS,
            known=known,
            timezone="Europe/Berlin",
            order="seq" if ordered else "",
            time_format="%Y%m%d" if form == "ymd" else "",
        )
    assert mine == plain_rows(events, rules, parse_labels(LABELS), known)
    assert summary.events == len(rows)
    assert sum(summary.history_lengths) == sum(summary.rows) == len(mine)


def log_of(path: Path, rows: list[tuple[Any, ...]], *more: str) -> Path:
    """A CSV file of (user, item, time, ...)."""
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", *more])
    frame.to_csv(path, index=False)
    return path


DAY = 86_400


def test_a_session_that_crosses_t1_is_cut_there(tmp_path: Path) -> None:
    rows = [(1, 1, START - DAY), (1, 2, START - 60), (1, 3, START), (1, 4, START + 60)]
    t1 = datetime.fromtimestamp(START, UTC).isoformat()
    found, _ = made(log_of(tmp_path / "a.csv", rows), Rules(split_at=t1))
    assert [(row["split"], row["hist_video_pid"], row["target_video_pid"]) for row in found] == [
        (0, [1], [2]),
        (1, [1, 2], [3, 4]),
    ]


def test_no_row_changes_before_an_event_that_changes(tmp_path: Path) -> None:
    rows = [(1, item, START + item * DAY) for item in range(1, 9)]
    before, _ = made(log_of(tmp_path / "a.csv", rows), Rules(split="leave_last"))
    rows[5] = (1, 99, START + 6 * DAY)
    after, _ = made(log_of(tmp_path / "b.csv", rows), Rules(split="leave_last"))
    assert before[:4] == after[:4]
    assert before[4]["hist_video_pid"] == after[4]["hist_video_pid"]
    assert before[4]["target_video_pid"] != after[4]["target_video_pid"]


def test_text_users_get_the_numbers_of_the_map_or_of_their_order(tmp_path: Path) -> None:
    rows = [("b", 1, START), ("b", 2, START + DAY), ("a", 1, START), ("a", 3, START + DAY)]
    path = log_of(tmp_path / "a.csv", rows)
    (tmp_path / "s").mkdir()
    users = text_users(EventLog(str(path)), tmp_path / "s")
    assert users
    assert sorted(users.read_all()["pid"].to_pylist()) == ["a", "b"]
    assert [row["uid"] for row in made(path, Rules())[0]] == [1, 2]
    numbers = pa.table({"pid": ["a", "b"], "number": [8, 7]}).to_reader()
    found, _ = made(path, Rules(), uid_map=numbers)
    assert [(row["uid"], row["target_video_pid"]) for row in found] == [(7, [2]), (8, [3])]
    lacking = pa.table({"pid": ["a"], "number": [8]}).to_reader()
    with pytest.raises(InputError, match=r"'user_id': users have no number .*2 rows.*'b'"):
        made(path, Rules(), uid_map=lacking)


def test_integer_users_need_no_map(tmp_path: Path) -> None:
    path = log_of(tmp_path / "a.csv", [(-5, 1, START), (7, 2, START)])
    assert text_users(EventLog(str(path)), tmp_path) is None


@pytest.mark.parametrize("split", ["time", "leave_last"])
@pytest.mark.parametrize("gap", [0, 30])
def test_an_item_is_counted_once_for_each_user_of_split_0(
    tmp_path: Path, split: Any, gap: int
) -> None:
    draw = np.random.default_rng(0).integers
    # Users have one event to twelve, many of them at one time.
    written = [
        (user, int(draw(9)), START + int(draw(8)) * 1200)
        for user in range(60)
        for _ in range(1 + user % 12)
    ]
    path = log_of(tmp_path / "a.csv", written)
    rules = Rules(split=split, test_share=0.3, session_minutes=gap)
    (tmp_path / "s").mkdir()
    reader = counted_users(EventLog(str(path)), rules, pid_type="int", scratch_dir=tmp_path / "s")
    found = reader.read_all().to_pylist()
    users: dict[int, set[int]] = defaultdict(set)
    t1 = sorted(time for _, _, time in written)[-round(0.3 * len(written))]
    for user in range(60):
        times = sorted(time for u, _, time in written if u == user)
        begins = [b for a, b in itertools.pairwise(times) if b - a > gap * 60]
        until = t1 if split == "time" else max(begins, default=START)
        for u, item, time in written:
            if u == user and time < until:
                users[item].add(user)
    assert found == [{"pid": pid, "users": len(of)} for pid, of in sorted(users.items())]


def test_the_session_with_the_last_known_item_is_the_one_that_is_tested(tmp_path: Path) -> None:
    """As in `interactions`, which drop unknown items before sessions are made."""
    written = [
        (user, item, START + day * DAY) for user in (1, 2) for day, item in enumerate([3, 4, 5, 9])
    ]
    path = log_of(tmp_path / "a.csv", written)
    rules = Rules(split="leave_last")
    tables = {}
    for name, removed in (("unknown", None), ("removed", [9])):
        (tmp_path / name).mkdir()
        tables[name] = counted_users(
            EventLog(str(path)),
            rules,
            pid_type="int",
            scratch_dir=tmp_path / name,
            known=pa.table({"pid": [3, 4, 5]}).to_reader(),
            removed=removed and pa.table({"pid": removed}).to_reader(),
        ).read_all()
        assert tables[name].to_pylist() == [{"pid": 3, "users": 2}, {"pid": 4, "users": 2}]
    rows, _ = made(path, rules, known={3, 4, 5})
    assert {row["target_video_pid"][0] for row in rows if row["split"] == 1} == {5}


def test_milliseconds_that_are_called_seconds_are_refused(tmp_path: Path) -> None:
    path = log_of(tmp_path / "a.csv", [(1, 1, START * 1000), (1, 2, START * 1000 + 1)])
    with pytest.raises(InputError, match=r"a\.csv.*'timestamp'.*years 1 to 9999.*2 rows"):
        made(path, Rules(), time_format="s")


def test_ids_become_those_that_the_setting_of_their_type_says(tmp_path: Path) -> None:
    rows = [(1, "007", START), (1, "8.0", START + DAY), (1, "-9", START + 2 * DAY)]
    path = log_of(tmp_path / "a.csv", rows)
    found, _ = made(path, Rules(), forced=True)
    assert found[-1]["hist_video_pid"] + found[-1]["target_video_pid"] == [7, 8, -9]
    with pytest.raises(InputError, match=r"'item_id': ids are not 64-bit.*2 rows.*'007', '8.0'"):
        made(path, Rules())
    frame = pd.DataFrame({"user_id": 1, "item_id": [7, 8], "timestamp": [START, START + DAY]})
    frame.to_parquet(tmp_path / "a.parquet")
    found, _ = made(tmp_path / "a.parquet", Rules(), pid_type="string", forced=True)
    assert (found[0]["hist_video_pid"], found[0]["target_video_pid"]) == (["7"], ["8"])
    with pytest.raises(InputError, match="Ids stored as text never match ids stored as int"):
        made(tmp_path / "a.parquet", Rules(), pid_type="string")


def test_parquet_files_with_integers_and_with_text_are_one_log(tmp_path: Path) -> None:
    times = [START, START + DAY]
    (tmp_path / "log").mkdir()
    for name, kind in (("a", "int64"), ("b", "str")):
        frame = pd.DataFrame({"user_id": [5, 5], "item_id": [1, 2], "timestamp": times})
        frame = frame.astype({"user_id": kind, "timestamp": kind})
        frame.to_parquet(tmp_path / "log" / f"{name}.parquet")
    found, summary = made(tmp_path / "log", Rules(most_targets=1))
    assert (summary.events, summary.users) == (4, 1)
    assert [(row["uid"], len(row["hist_video_pid"])) for row in found] == [(5, 2)]


BAD = {
    "no such column": (
        {"user": "usr_id"},
        "",
        [],
        r"a\.csv: no column 'usr_id'.*Did you mean 'user_id'\? SID_EVENT_USER",
    ),
    "a label of no column": ({}, "like: stars > 1", [], r"a\.csv: no column 'stars'"),
    "times that are none": (
        {},
        "",
        [(1, 1, "soon"), (2, 2, "later")],
        r"a\.csv: column 'timestamp': times are of several forms: 3 in s, and these in text "
        r"\(2 rows\).*'soon', 'later'.*SID_EVENT_TIME_FORMAT",
    ),
    "times of no format": (
        {"time_format": "%Y%m%d"},
        "",
        [],
        r"a\.csv: column 'timestamp': times are no times \(3 rows\).*'1600000000'",
    ),
    "times beyond 64 bits": (
        {"time_format": "s"},
        "",
        [(1, 1, START * 10**6)],
        r"times are no times \(1 row\).*'1600000000000000'",
    ),
    "mixed units": (
        {},
        "",
        [(1, 1, START * 1000)],
        r"several forms: 3 in s, and these in ms \(1 row\).*'1600000000000'",
    ),
    "a null user": ({}, "", [(None, 77, START)], r"'user_id': .*null or blank.*\(1 row\).*'77'"),
    "a null item": ({}, "", [(9, None, START)], r"'item_id': .*null or blank.*\(1 row\).*'9"),
    "a null time": ({}, "", [(9, 1, None)], r"'timestamp': .*null or blank.*\(1 row\).*'9"),
    "items that are no integers": ({}, "", [(9, "x7", START)], r"'item_id'.*\(1 row\).*'x7'"),
    "a label that is no number": (
        {},
        "like: item_id > 1; follow: user_id >= 1",
        [("bob", 1, START)],
        r"'user_id': values are no numbers.*\(1 row\).*'bob'",
    ),
    "no zone": ({"timezone": "Mars/Base"}, "", [], "SID_EVENT_TIMEZONE=Mars/Base"),
    "a delimiter of a header only": ({"header": "a,b"}, "", [], "2|no column"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_a_bad_log_is_refused_with_what_is_wrong(tmp_path: Path, case: str) -> None:
    options, labels, more, message = BAD[case]
    rows = [(1, 1, START), (1, 2, START + DAY), (2, 1, START), *more]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"], dtype=object)
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=f"(?s){message}"):
        made(tmp_path / "a.csv", Rules(), labels, **options)


def test_an_empty_log_is_refused(tmp_path: Path) -> None:
    path = log_of(tmp_path / "a.csv", [])
    with pytest.raises(InputError, match="no events"):
        made(path, Rules())
