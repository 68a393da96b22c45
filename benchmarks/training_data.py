"""Making training data, compared with a plain pandas program that loops over rows.

    python -m benchmarks.training_data [--rows 20000]

It simulates interactions of users with 20 to 700 videos each, over a catalog of a million items.
From these and pid2sid it makes the part files of two data sets, once with this package and once
with plain pandas (`benchmarks/training_data_reference.py`). Both read pid2sid and the interactions
from parquet and write parquet. The files are warm; times are medians of three; peak memory is that
of a separate process. The rows of both are compared. The last line is one JSON object.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from benchmarks import training_data_reference as reference
from benchmarks.measure import in_own_process, median_seconds
from sid_assets.core.inputs.ids import PidColumn
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.store.parts import write_parts
from sid_assets.core.training.inputs import IdSpace, TrainingInputs
from sid_assets.core.training.prompts import SLOTS, load_prompts
from sid_assets.core.training.rows import training_rows
from sid_assets.core.training_sets import LABELS

CATALOG = 1_000_000
SHORTEST, LONGEST, TARGETS = 20, 700, 10
LABEL_RATES = (0.3, 0.05, 0.01, 0.01, 0.02)
ROWS_PER_FILE = 1000


def make_catalog(folder: Path) -> np.ndarray:
    """Write pid2sid and return the pids, which are far apart, like hashes."""
    rng = np.random.default_rng(0)
    pids = np.unique(rng.integers(1, 2**62, CATALOG + CATALOG // 100))[:CATALOG]
    codes = rng.integers(0, 8192, 3 * CATALOG)
    sids = pa.ListArray.from_arrays(np.arange(0, 3 * CATALOG + 1, 3, dtype=np.int32), codes)
    pq.write_table(pa.table({"pid": pids, "sid": sids}), folder / "pid2sid.parquet")
    return pids


def make_interactions(folder: Path, pids: np.ndarray, rows: int) -> None:
    """Write interactions: popular items occur more often, one in twenty is not in the catalog."""
    rng = np.random.default_rng(1)
    history = rng.integers(SHORTEST, LONGEST + 1, rows)
    columns: dict[str, pa.Array] = {
        "uid": pa.array(np.arange(rows)),
        "split": pa.array(np.zeros(rows, np.int64)),
    }
    for side, lengths in (("hist", history), ("target", np.full(rows, TARGETS))):
        bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        # Squared, so that the first tenth of the items has a third of the interactions.
        chosen = pids[(rng.random(bounds[-1]) ** 2 * len(pids)).astype(np.int64)]
        chosen[rng.random(bounds[-1]) < 0.05] += 1
        columns[f"{side}_video_pid"] = pa.ListArray.from_arrays(bounds, chosen)
        for label, rate in zip(LABELS, LABEL_RATES, strict=True):
            mask = (rng.random(bounds[-1]) < rate).astype(np.int64)
            columns[f"{side}_video_{label}"] = pa.ListArray.from_arrays(bounds, mask)
    pq.write_table(pa.table(columns), folder / f"interactions_{rows}.parquet", row_group_size=5000)


def ours(folder: str, rows: int, name: str) -> None:
    """Make a data set with this package."""
    with pq.ParquetFile(f"{folder}/pid2sid.parquet") as file:
        index = SidIndex.from_table(
            pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches())
        )
    made = training_rows(
        name,
        TrainingInputs(
            IdSpace(index, PidColumn("pid2sid", "pid", "int", CATALOG)),
            ParquetInput(f"{folder}/interactions_{rows}.parquet"),
            prompts=load_prompts(f"{folder}/prompts.yaml"),
        ),
    )
    write_parts(UPath(_emptied(folder, f"ours_{name}_{rows}")), made.reader, ROWS_PER_FILE)


def plain(folder: str, rows: int, name: str) -> None:
    """Make a data set with pandas, row by row."""
    table = pd.read_parquet(f"{folder}/pid2sid.parquet")
    pid2sid = dict(zip(table["pid"], table["sid"], strict=True))
    columns = (
        None if name != "video_rec" else ["uid", "split", "hist_video_pid", "target_video_pid"]
    )
    interactions = pd.read_parquet(f"{folder}/interactions_{rows}.parquet", columns=columns)
    body = "segments" if name == "video_rec" else "messages"
    made = PLAIN[name](interactions, pid2sid)
    frame = pd.DataFrame(made, columns=["source", body, "metadata"])
    target = _emptied(folder, f"plain_{name}_{rows}")
    for number, start in enumerate(range(0, len(frame), ROWS_PER_FILE)):
        part = frame[start : start + ROWS_PER_FILE]
        part.to_parquet(target / f"part-{number:05d}.parquet", index=False)


PLAIN: dict[str, Callable[[pd.DataFrame, reference.Pid2Sid], list[reference.Row]]] = {
    "video_rec": reference.video_rec,
    "sft_label_cond_rec": lambda interactions, pid2sid: reference.sft_label_cond_rec(
        interactions,
        pid2sid,
        _wording,
        random.Random(0).choice,  # noqa: S311 - no secret
    ),
}


def _wording(name: str) -> str:
    return f"{name}:"


def _one_wording() -> str:
    """Prompts with one choice each, so that the rows of both can be compared."""
    groups: dict[str, dict[str, list[str]]] = {}
    for name, slots in SLOTS.items():
        group, key = name.split(".")
        groups.setdefault(group, {})[key] = [_wording(name) + "".join(f"{{{s}}}" for s in slots)]
    return json.dumps(groups)


def _emptied(folder: str, name: str) -> Path:
    target = Path(folder, name)
    target.mkdir(exist_ok=True)
    for file in target.iterdir():
        file.unlink()
    return target


def same_rows(folder: str, rows: int, name: str) -> bool:
    """Whether both made the same rows. If a label is drawn, only rows that both have are compared.

    If the labels differ, everything except what depends on the label is compared.
    """
    mine, theirs = (
        pq.read_table(Path(folder, f"{who}_{name}_{rows}")).drop_columns(
            ["uuid"] if who == "ours" else []
        )
        for who in ("ours", "plain")
    )
    if name == "video_rec":
        return mine.equals(theirs.cast(mine.schema))
    by_uid = [
        {json.loads(row["metadata"])["uid"]: row for row in table.to_pylist()}
        for table in (mine, theirs)
    ]
    common = by_uid[0].keys() & by_uid[1].keys()
    return len(common) > 0.9 * len(mine) and all(
        by_uid[0][uid] == by_uid[1][uid]
        or _but_the_label(by_uid[0][uid]) == _but_the_label(by_uid[1][uid])
        for uid in common
    )


def _but_the_label(row: dict[str, str]) -> list[str]:
    system, user, _ = json.loads(row["messages"])
    lines = user["content"][0]["text"].split("\n")
    return [row["source"], system["content"][0]["text"], *lines[:-1]]


def main() -> None:
    """Measure, print the results as text, and end with one JSON object."""
    parser = argparse.ArgumentParser(description="Making training data, compared with pandas.")
    parser.add_argument("--rows", type=int, default=20_000)
    rows = parser.parse_args().rows
    figures: dict[str, float | bool] = {"equal": True}
    with tempfile.TemporaryDirectory() as folder:
        pids = make_catalog(Path(folder))
        Path(folder, "prompts.yaml").write_text(_one_wording())
        for n in (rows, 4 * rows):
            make_interactions(Path(folder), pids, n)
        for name in PLAIN:
            quick = median_seconds(lambda name=name: ours(folder, rows, name))
            slow = median_seconds(lambda name=name: plain(folder, rows, name))
            equal = same_rows(folder, rows, name)
            peak = in_own_process(ours, folder, rows, name).peak_rss_mb
            plain_peak = in_own_process(plain, folder, rows, name).peak_rss_mb
            print(
                f"{name}, {rows:,} rows: {quick:.2f} s and {peak:,.0f} MB here, {slow:.2f} s and "
                f"{plain_peak:,.0f} MB row by row: {slow / quick:.1f} times as fast, rows "
                f"{'equal' if equal else 'DIFFERENT'}."
            )
            figures[f"{name.removeprefix('sft_')}_speedup"] = round(slow / quick, 2)
            figures["equal"] = figures["equal"] and equal
            if name == "video_rec":
                figures |= {"peak_rss_mb": round(peak), "reference_peak_rss_mb": round(plain_peak)}
                figures["seconds_20k"] = round(quick, 2)
        many = median_seconds(lambda: ours(folder, 4 * rows, "video_rec"))
        many_peak = in_own_process(ours, folder, 4 * rows, "video_rec").peak_rss_mb
        print(f"video_rec, {4 * rows:,} rows: {many:.2f} s and {many_peak:,.0f} MB.")
        figures |= {"seconds_80k": round(many, 2), "peak_rss_mb_80k": round(many_peak)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
