"""Logs in the forms of well-known data sets are read with settings alone."""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sid_assets.core.events.rules import Rules
from sid_assets_tests.core.events.test_make import made

START = 1_600_000_000
DAY = 86_400
EVENTS = [(1, 10, 0, 5), (1, 11, 2, 3), (1, 12, 4, 4), (2, 10, 1, 2), (2, 12, 3, 5)]
"""User, item, day and rating."""

RULES = Rules(split="leave_last")


def movielens_1m(folder: Path) -> dict[str, Any]:
    """Without a header."""
    lines = [f"{u}::{i}::{r}::{START + d * DAY}\n" for u, i, d, r in EVENTS]
    (folder / "ratings.dat").write_text("".join(lines))
    return {
        "path": folder / "ratings.dat",
        "delimiter": "::",
        "header": "user_id,item_id,rating,timestamp",
    }


def movielens_32m(folder: Path) -> dict[str, Any]:
    """CSV with names of its own."""
    lines = [f"{u},{i},{r}.0,{START + d * DAY}\n" for u, i, d, r in EVENTS]
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "".join(lines))
    return {"path": folder / "ratings.csv", "user": "userId", "item": "movieId"}


def amazon_2023(folder: Path) -> dict[str, Any]:
    """JSON lines, gzipped, of text ids and milliseconds."""
    lines = [
        json.dumps(
            {
                "rating": float(r),
                "title": 'So "so"',
                "images": [],
                "parent_asin": f"B0{i}",
                "user_id": f"A{u}",
                "timestamp": (START + d * DAY) * 1000,
            }
        )
        for u, i, d, r in EVENTS
    ]
    with gzip.open(folder / "Books.jsonl.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")
    return {"path": folder / "Books.jsonl.gz", "item": "parent_asin", "pid_type": "string"}


def kuairand(folder: Path) -> dict[str, Any]:
    """Two CSV files of a folder, by a glob; times in milliseconds, a column of rating beside."""
    rows = [
        {
            "user_id": u,
            "video_id": i,
            "date": 20220408,
            "rating": r,
            "time_ms": (START + d * DAY) * 1000,
        }
        for u, i, d, r in EVENTS
    ]
    pd.DataFrame(rows[:2]).to_csv(folder / "log_standard_1.csv", index=False)
    pd.DataFrame(rows[2:]).to_csv(folder / "log_standard_2.csv", index=False)
    return {"path": folder / "log_standard_*.csv", "item": "video_id", "time": "time_ms"}


def kuairand_zipped(folder: Path) -> dict[str, Any]:
    """Its CSV files zipped."""
    options = kuairand(folder)
    for path in folder.glob("*.csv"):
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    return options | {"path": folder / "log_standard_*.csv.gz"}


def h_and_m(folder: Path) -> dict[str, Any]:
    """Days, users as hashes, articles with leading zeros."""
    rows = [
        {
            "t_dat": f"2020-09-{10 + d}",
            "customer_id": f"{u:064x}",
            "article_id": f"0{i}",
            "rating": r,
        }
        for u, i, d, r in EVENTS
    ]
    pd.DataFrame(rows).to_csv(folder / "transactions_train.csv", index=False)
    return {
        "path": folder / "transactions_train.csv",
        "user": "customer_id",
        "item": "article_id",
        "time": "t_dat",
        "pid_type": "string",
    }


def parquet_folders(folder: Path) -> dict[str, Any]:
    """Parquet below partition folders, with times as timestamps."""
    for u in (1, 2):
        (folder / "log" / f"user_id={u}").mkdir(parents=True)
        rows = [
            {"item_id": i, "timestamp": pd.Timestamp(START + d * DAY, unit="s"), "rating": r}
            for user, i, d, r in EVENTS
            if user == u
        ]
        pd.DataFrame(rows).to_parquet(folder / "log" / f"user_id={u}" / "part.parquet")
    return {"path": folder / "log"}


@pytest.mark.parametrize(
    "write",
    [
        movielens_1m,
        movielens_32m,
        amazon_2023,
        kuairand,
        kuairand_zipped,
        h_and_m,
        parquet_folders,
    ],
)
def test_a_log_of_this_form_is_read_with_settings_alone(tmp_path: Path, write: Any) -> None:
    options = write(tmp_path)
    rows, summary = made(options.pop("path"), RULES, "like: rating >= 4", **options)
    assert (summary.events, summary.users) == (5, 2)
    brief = [
        (
            row["uid"],
            row["split"],
            [str(pid)[-2:] for pid in row["hist_video_pid"]],
            [str(pid)[-2:] for pid in row["target_video_pid"]],
            row["hist_video_like"],
        )
        for row in rows
    ]
    assert brief == [
        (1, 0, ["10"], ["11"], [1]),
        (1, 1, ["10", "11"], ["12"], [1, 0]),
        (2, 1, ["10"], ["12"], [0]),
    ]
