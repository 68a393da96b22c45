"""Training inputs of one file, and the rows that become of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import training_data_reference as reference
from sid_assets.core.inputs.ids import PidColumn
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.training.inputs import IdSpace, TrainingInputs


def content(rows: pa.Table) -> list[reference.Row]:
    """The rows without their uuids."""
    columns = [rows.column(i).to_pylist() for i in (0, 2, 3)]
    return list(zip(*columns, strict=True))


def inputs_of(
    folder: Path, table: pa.Table, pids: list[Any], **options: Any
) -> tuple[TrainingInputs, Path]:
    """Inputs of one file, and a catalog in which the pid i has the codes (i, 0, 0)."""
    path = folder / "rows.parquet"
    pq.write_table(table, path)
    codes = np.array([[i, 0, 0] for i in range(len(pids))]).reshape(-1, 3)
    column = pa.array(pids)
    stored = "int" if column.type == pa.int64() else "text"
    catalog = PidColumn("catalog.parquet", "pid", stored, len(pids), tuple(pids[:5]))
    source = ParquetInput(str(path))
    space = IdSpace(SidIndex(column, codes), catalog, options.pop("setting", "auto"))
    return TrainingInputs(space, source, source, space, **options), path


def sid(code: int) -> str:
    return f"<|sid_begin|><s_a_{code}><s_b_0><s_c_0><|sid_end|>"


def video_rows(history: list[Any], targets: list[Any], uid: list[Any] | None = None) -> pa.Table:
    rows = len(history)
    return pa.table(
        {
            "uid": pa.array(uid or list(range(rows))),
            "split": [0] * rows,
            "hist_video_pid": history,
            "target_video_pid": targets,
        }
    )


def keyword_rows(*objects: Any) -> pa.Table:
    return pa.table(
        {
            "uid": list(range(len(objects))),
            "split": [0] * len(objects),
            "inter_user_profile_with_sid": ["p"] * len(objects),
            "inter_keyword_to_items": [json.dumps(one) for one in objects],
        }
    )
