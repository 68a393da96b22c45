"""A look at the inputs of the training data before anything is embedded.

Everything that columns, types, first ids, splits and label masks can tell is told here, in the
words of the last stage. Histories and targets are not read.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.ids import PidColumn, PidTypeSetting
from sid_assets.core.inputs.interactions import check_types
from sid_assets.core.inputs.parquet import SPLIT, ParquetInput
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.training.inputs import IdSpace, TrainingInputs
from sid_assets.core.training.labels import require_masks
from sid_assets.core.training.rows import checked_source, lacking
from sid_assets.core.training.run import require_columns
from sid_assets.core.training_sets import DATA_SETS, HISTORY_MASKS, TARGET_MASKS


def ids_without_sids(catalog: PidColumn, setting: PidTypeSetting = "auto") -> IdSpace:
    """The ids of a catalog whose items have no SIDs yet, to compare other ids with."""
    pids = pa.array([], pa.string() if catalog.stored == "text" else pa.int64())
    return IdSpace(SidIndex(pids, np.zeros((0, 3), np.int32)), catalog, setting)


def problems(inputs: TrainingInputs) -> list[str]:
    """What would stop the data sets that these inputs are for, a message for each problem.

    Args:
        inputs: The inputs; the SIDs in them are not used.
    """
    return list(dict.fromkeys(_problems(inputs)))


def _row_problems(interactions: ParquetInput) -> Iterable[str]:
    """What rows of interactions tell: whether some are of split 0, and their masks."""
    try:
        check_types(interactions, [SPLIT, *HISTORY_MASKS, *TARGET_MASKS])
        if not any(batch.num_rows for batch in interactions.train_batches([])):
            yield (
                f"{interactions.path}: no row is of split 0. Rows of split 0 are trained on, "
                "others are left out."
            )
        require_masks(interactions, (*HISTORY_MASKS, *TARGET_MASKS))
    except InputError as error:
        yield str(error)


def _problems(inputs: TrainingInputs) -> Iterable[str]:
    if inputs.interactions and SPLIT in inputs.interactions.columns:
        yield from _row_problems(inputs.interactions)
    for data_set in DATA_SETS.values():
        try:
            if data_set.required and inputs.interactions:
                require_columns(inputs.interactions, data_set)
            if not lacking(data_set, inputs):
                checked_source(data_set, inputs)
        except InputError as error:
            yield str(error)
