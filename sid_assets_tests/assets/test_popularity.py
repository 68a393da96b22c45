"""`item_counts` as Dagster makes it: from interactions or a log of events, or empty."""

from collections import Counter

import numpy as np
import pandas as pd

from sid_assets_tests.graph import (
    failed_checks,
    failure_message,
    materialize,
    settings_for,
    settings_with_interactions,
    table,
    write_frame,
    write_interactions,
)

TABLES = ("item_texts", "item_counts")


def counts_of(settings) -> dict[int, int]:
    result = materialize(settings, *TABLES, checks=True)
    assert result.success, failure_message(result)
    assert not failed_checks(result)
    return dict(table(settings, "item_counts").itertuples(index=False))


def test_users_of_split_0_are_counted(folder):
    frame = write_interactions(folder / "interactions.parquet", range(1, 61))
    settings = settings_with_interactions(folder)
    rows = frame[frame.split == 0]
    of_users = zip(rows.hist_video_pid, rows.target_video_pid, strict=True)
    users = Counter(pid for history, targets in of_users for pid in {*history, *targets})
    assert counts_of(settings) == users


def test_the_log_of_events_is_counted_before_interactions_are_made_of_it(folder):
    days = pd.DataFrame({"user_id": np.repeat(range(10), 6), "item_id": np.tile(range(1, 7), 10)})
    days["timestamp"] = 1_700_000_000 + np.arange(60) * 86_400
    write_frame(folder / "events.csv", days)
    settings = settings_for(folder, events=str(folder / "events.csv"))
    before = days.iloc[:-6]  # the last tenth of the events is split 1
    assert counts_of(settings) == before.groupby("item_id").user_id.nunique().to_dict()


def test_without_interactions_it_is_empty(folder):
    assert counts_of(settings_for(folder)) == {}


def test_ids_of_another_type_are_refused(folder):
    write_interactions(folder / "interactions.parquet", [f"item {pid}" for pid in range(9)])
    settings = settings_with_interactions(folder)
    result = materialize(settings, *TABLES)
    assert not result.success
    assert "hist_video_pid" in failure_message(result)


def test_of_colliding_items_the_more_popular_ones_keep_their_sid(folder):
    frame = pd.read_parquet(folder / "catalog.parquet").head(20)
    texts = ["title", "description", "category"]
    frame.loc[frame.index[:5], texts] = frame[texts].iloc[0].tolist()
    write_frame(folder / "catalog.parquet", frame)
    rows = {"uid": [1, 2], "split": [0, 0], "hist_video_pid": [[3, 2], [3]]}
    rows["target_video_pid"] = [[], []]
    write_frame(folder / "interactions.parquet", pd.DataFrame(rows))
    settings = settings_for(
        folder,
        interactions=str(folder / "interactions.parquet"),
        max_items_per_sid="2",
        seed="3",
    )
    chain = ("item_embeddings", "tokenizer_checkpoint", "codes", "sid_registry", "sid_moves")
    result = materialize(settings, *TABLES, *chain)
    assert result.success, failure_message(result)
    moved = set(table(settings, "sid_moves").pid)
    assert moved & set(range(1, 6)) == {1, 4, 5}
