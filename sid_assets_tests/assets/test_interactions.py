"""Interactions from a log of events, through the graph."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sid_assets import sample
from sid_assets.assets.inputs import event_log, input_problems
from sid_assets.core.errors import InputError
from sid_assets.core.events.log import EventLog
from sid_assets.core.store import places
from sid_assets.settings import Settings
from sid_assets_tests.films import STAGES, make
from sid_assets_tests.graph import (
    failed_checks,
    failure_message,
    materialize,
    metadata_of,
    settings_for,
    settings_with_interactions,
    table,
    write_catalog,
    write_frame,
    write_interactions,
)

DAY = 86_400
ITEMS = 30
USERS = 12


def write_events(path: Path, users: list[Any] | None = None, seed: int = 0) -> pd.DataFrame:
    """A log of sessions a day apart, each of a few events a minute apart."""
    draw = np.random.default_rng(seed)
    rows = []
    for user in users or range(1, USERS + 1):
        start = int(draw.integers(0, 30)) * DAY
        for session in range(int(draw.integers(2, 6))):
            for place in range(int(draw.integers(1, 4))):
                rows.append(
                    {
                        "user_id": user,
                        "item_id": int(draw.integers(1, ITEMS + 3)),  # two are in no catalog
                        "timestamp": 1_700_000_000 + start + session * DAY + 60 * place,
                        "rating": int(draw.integers(1, 6)),
                    }
                )
    frame = pd.DataFrame(rows).sample(frac=1, random_state=seed)
    write_frame(path, frame)
    return frame


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a log, the settings, the log's rows, and the run that made everything."""
    folder = tmp_path_factory.mktemp("events")
    write_catalog(folder / "catalog.parquet", items=ITEMS)
    events = write_events(folder / "events.csv")
    settings = settings_for(
        folder,
        events=str(folder / "events.csv"),
        event_labels="like: rating >= 4",
        event_keywords="category",
    )
    return folder, settings, events, materialize(settings, checks=True)


def test_the_graph_makes_training_data_from_a_log(made) -> None:
    _, settings, _, result = made
    assert result.success, failure_message(result)
    rows = table(settings, "interactions")
    training = rows[rows.split == 0]
    assert 0 < len(training) < len(rows)
    assert len(table(settings, "video_rec_dataset")) == len(training)
    assert len(table(settings, "sft_label_cond_rec_dataset")) > 0


def test_all_checks_of_the_interactions_pass(made) -> None:
    _, _, _, result = made
    found = {
        check.check_name: check.passed
        for check in result.get_asset_check_evaluations()
        if check.asset_key.to_user_string() == "interactions"
    }
    names = ("files", "rows", "order", "targets_after_history", "splits", "ids")
    assert found == dict.fromkeys(names, True)


def test_the_metadata_tell_what_became_of_the_events(made) -> None:
    _, settings, events, result = made
    metadata = metadata_of(result, "interactions")
    unknown = int((events.item_id > ITEMS).sum())
    rows = table(settings, "interactions")
    assert metadata["events"] == len(events)
    assert metadata["users"] == events.user_id.nunique()
    assert metadata["events_of_unknown_items"] == unknown > 0
    assert metadata["events_with_an_item_of_the_catalog"] == f"{1 - unknown / len(events):.2%}"
    assert metadata["rows_of_split_0"] + metadata["rows_of_split_1"] == len(rows)
    assert metadata["first_event"].startswith("2023-11-")
    assert metadata["first_event"] < metadata["split_at"] <= metadata["last_event"]
    assert "data:image/png" in metadata["history_lengths"]


def test_profiles_spell_sids_of_histories_and_keywords_name_targets(made) -> None:
    folder, settings, _, _ = made
    rows = table(settings, "interactions")
    category = pd.read_parquet(folder / "catalog.parquet").set_index("pid")["category"]
    assert rows["inter_user_profile_with_sid"].str.contains("<s_a_", regex=False).all()
    columns = (rows["inter_keyword_to_items"], rows["target_video_pid"])
    for text, targets in zip(*columns, strict=True):
        found = json.loads(text)
        assert {pid for pids in found.values() for pid in pids} == set(targets)
        assert all(category[pid] == name for name, pids in found.items() for pid in pids)
    assert len(table(settings, "user_profile_dataset")) == (rows.split == 0).sum()
    assert len(table(settings, "sft_interactive_rec_dataset")) > 0


def test_inputs_in_a_bucket_are_read_like_files(made, bucket: str, tmp_path: Path) -> None:
    """The catalog, a log in two files that a pattern names, and captions."""
    folder, _, events, _ = made
    catalog = pd.read_parquet(folder / "catalog.parquet")
    captions = pd.DataFrame({"pid": catalog.pid, "dense_caption": catalog.title})
    files = {
        "catalog.parquet": catalog.to_parquet(index=False),
        "captions.parquet": captions.to_parquet(index=False),
        "log/events-1.csv": events[:20].to_csv(index=False).encode(),
        "log/events-2.csv": events[20:].to_csv(index=False).encode(),
        "log/others.csv": b"user_id\nbad\n",
    }
    for name, content in files.items():
        (places.place(bucket) / name).write_bytes(content)
    settings = settings_for(
        tmp_path,
        catalog=f"{bucket}/catalog.parquet",
        events=f"{bucket}/log/events-*.csv",
        event_labels="like: rating >= 4",
        event_keywords="category",
        captions=f"{bucket}/captions.parquet",
    )
    make(settings, *STAGES[:6], "interactions", "item_understand_dataset")
    local, of_bucket = (table(one, "interactions") for one in (made[1], settings))
    pd.testing.assert_frame_equal(of_bucket, local)
    assert len(table(settings, "item_understand_dataset")) == ITEMS


def test_counts_and_quality_are_those_of_the_log(made) -> None:
    _, settings, _, result = made
    rows = table(settings, "interactions")
    ids = pd.Series(
        [
            pid
            for name in ("hist_video_pid", "target_video_pid")
            for pids in rows[name]
            for pid in pids
        ]
    )
    counted = table(settings, "sid2pid").explode(["pids", "counts"]).set_index("pids")["counts"]
    expected = ids.value_counts().reindex(range(1, ITEMS + 1), fill_value=0)
    assert counted.sort_index().tolist() == expected.tolist()
    assert any("interactions" in name for name in metadata_of(result, "sid_quality"))


def test_text_users_get_numbers_that_stay(tmp_path: Path) -> None:
    write_catalog(tmp_path / "catalog.parquet", items=ITEMS)
    users = [f"user {n}" for n in range(6)]
    settings = settings_for(tmp_path, events=str(tmp_path / "events.jsonl"))
    numbers = []
    for known in (users[2:], users):
        write_events(tmp_path / "events.jsonl", known)
        make(settings, *STAGES[:6], "interactions")
        numbers.append(table(settings, "uid_map").set_index("pid")["number"].to_dict())
    assert numbers[0].keys() == {*users[2:]}
    assert numbers[1] == {**numbers[0], "user 0": 5, "user 1": 6}
    assert set(table(settings, "interactions").uid) <= set(numbers[1].values())


@pytest.mark.parametrize("in_histories", [False, True])
def test_items_that_left_the_catalog_are_counted_and_are_no_targets(
    made, tmp_path: Path, in_histories: bool
) -> None:
    folder, _, events, _ = made
    write_catalog(tmp_path / "catalog.parquet", items=ITEMS)
    settings = settings_for(
        tmp_path,
        events=str(folder / "events.csv"),
        removed_in_histories=str(in_histories),
        max_changed_share="1",
    )
    make(settings, *STAGES[:6])
    write_catalog(tmp_path / "catalog.parquet", items=ITEMS // 2)
    result = make(settings, *STAGES[:6], "interactions")
    unknown = int((events.item_id > ITEMS).sum())
    gone = int((events.item_id > ITEMS // 2).sum())
    metadata = metadata_of(result, "interactions")
    assert metadata["events_of_removed_items"] == (gone - unknown if in_histories else 0)
    assert metadata["events_of_unknown_items"] == (unknown if in_histories else gone)
    assert metadata["events_with_an_item_of_the_catalog"] == f"{1 - gone / len(events):.2%}"
    rows = table(settings, "interactions")
    assert max(pid for pids in rows.target_video_pid for pid in pids) <= ITEMS // 2
    assert any(pid > ITEMS // 2 for pids in rows.hist_video_pid for pid in pids) == in_histories


def test_numbered_users_keep_their_numbers_if_all_become_integers(tmp_path: Path) -> None:
    write_catalog(tmp_path / "catalog.parquet", items=ITEMS)
    settings = settings_for(tmp_path, events=str(tmp_path / "events.jsonl"))
    for users in (["bob", 70, 80], [70, 80]):
        write_events(tmp_path / "events.jsonl", [str(user) for user in users])
        make(settings, *STAGES[:6], "interactions")
    numbers = table(settings, "uid_map").set_index("pid")["number"].to_dict()
    assert numbers.keys() == {"bob", "70", "80"}
    assert set(table(settings, "interactions").uid) <= {numbers["70"], numbers["80"]}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"event_split_at": "soon"}, "SID_EVENT_SPLIT_AT=soon: no time"),
        ({"event_split_at": "2001-01-01"}, "its first event lies after the time split"),
        ({"event_session_minutes": "9999999"}, "SID_EVENT_SESSION_MINUTES=0 makes a session"),
        ({"event_keywords": "colour"}, "SID_EVENT_KEYWORDS=colour: .*colour"),
        ({"event_time_format": "%Q"}, "SID_EVENT_TIME_FORMAT=%Q: no format of times"),
        ({"event_item": "rating_"}, "no column 'rating_'"),
        ({"event_item": "timestamp"}, "none of its .* events has an item of the catalog"),
        (
            {"event_split": "leave_last", "event_rows_per_user": "1"},
            "SID_EVENT_ROWS_PER_USER=1 keeps the last row",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_log_of_which_nothing_can_be_learned_stops_before_anything_is_embedded(
    tmp_path: Path, wrong: dict[str, str], said: str
) -> None:
    write_catalog(tmp_path / "catalog.parquet", items=ITEMS)
    write_events(tmp_path / "events.csv")
    settings = settings_for(tmp_path, events=str(tmp_path / "events.csv"), **wrong)
    result = materialize(settings, "item_texts", "item_embeddings")
    assert re.search(said, failure_message(result))
    assert not (tmp_path / "data" / "item_embeddings.parquet").exists()


def test_without_a_log_the_interactions_are_skipped_and_the_rest_is_made(tmp_path: Path) -> None:
    frame = write_catalog(tmp_path / "catalog.parquet", items=ITEMS)
    write_interactions(tmp_path / "interactions.parquet", frame.pid.tolist())
    settings = settings_with_interactions(tmp_path)
    result = materialize(settings, *STAGES[:6], "interactions", "video_rec_dataset", checks=True)
    assert result.success, failure_message(result)
    assert metadata_of(result, "interactions")["skipped"] == "SID_EVENTS is not set"
    assert not (tmp_path / "data" / "interactions.parquet").exists()
    assert not {name for name in failed_checks(result) if name.startswith("interactions:")}
    assert len(table(settings, "video_rec_dataset")) > 0


def test_a_log_and_interactions_together_are_refused(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, events="events.csv", interactions="interactions.parquet")
    with pytest.raises(InputError, match=r"Unset SID_INTERACTIONS .* or unset SID_EVENTS"):
        event_log(settings)
    (said,) = input_problems(settings)
    assert "are both set" in said


def test_interactions_replace_the_log_of_the_sample() -> None:
    settings = Settings.from_environment({"SID_INTERACTIONS": "interactions.parquet"})
    assert settings.of_catalog("events") == str(sample.EVENTS)
    assert event_log(settings) is None
    assert event_log(Settings.from_environment({})) is not None
    assert event_log(Settings.from_environment({"SID_EVENTS": ""})) is None


def test_the_settings_say_how_a_log_is_read() -> None:
    """MovieLens as the docs set it, from the environment."""
    given = {
        "SID_EVENTS": "ratings.dat",
        "SID_EVENT_DELIMITER": "::",
        "SID_EVENT_HEADER": "user,item,rating,time",
        "SID_EVENT_USER": "user",
        "SID_EVENT_ITEM": "item",
        "SID_EVENT_TIME": "time",
        "SID_EVENT_TIME_FORMAT": "s",
        "SID_EVENT_TIMEZONE": "Europe/Berlin",
        "SID_EVENT_ORDER": "rating",
    }
    assert event_log(Settings.from_environment(given)) == EventLog(
        "ratings.dat",
        user="user",
        item="item",
        time="time",
        order="rating",
        delimiter="::",
        header="user,item,rating,time",
        time_format="s",
        timezone="Europe/Berlin",
        quoting="auto",
    )


def test_a_log_without_its_columns_stops_before_anything_is_embedded(tmp_path: Path) -> None:
    write_catalog(tmp_path / "catalog.parquet", items=ITEMS)
    write_events(tmp_path / "events.csv")
    settings = settings_for(tmp_path, events=str(tmp_path / "events.csv"), event_time="time")
    result = materialize(settings)
    assert "events.csv: no column 'time'" in failure_message(result)
    assert not (tmp_path / "data" / "item_embeddings.parquet").exists()
