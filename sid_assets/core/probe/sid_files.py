"""SIDs of a file, which the probe compares with those of the data folder."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import is_list
from sid_assets.core.errors import InputError, offending_rows
from sid_assets.core.inputs.ids import PidTypeSetting, convert_pids
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.schema import CODE_LAYERS, MAX_CODEBOOK_SIZE, PidType


def read_sids(path: str, pid_type: PidType | None, setting: PidTypeSetting = "auto") -> pa.Table:
    """Read the SIDs of a file.

    Args:
        path: Parquet with `pid` and `sid`, a list of three codes: a file, folder or glob.
        pid_type: The type of the catalog's ids; None for that of the file.
        setting: SID_PID_TYPE.

    Returns:
        Columns `pid` and `sid`, in the order of the file.

    Raises:
        InputError: A column is missing, there are no rows, an id occurs twice, or a SID is not
            three codes.
    """
    source = ParquetInput(path)
    if lacking := source.missing(["pid", "sid"]):
        raise InputError(
            f"{path}: there is no column {' or '.join(map(repr, lacking))}. The columns are "
            f"{', '.join(source.columns)}. SIDs are read from `pid` and `sid`, a list of 3 codes."
        )
    for file, type_ in source.types("sid"):
        value = type_.value_type if is_list(type_) else None
        if value is None or not (pa.types.is_integer(value) or pa.types.is_floating(value)):
            raise InputError(
                f"{file}: column 'sid' holds {type_}, not lists of {CODE_LAYERS} codes."
            )
    parts = [pa.Table.from_batches([batch]) for batch in source.batches(["pid", "sid"])]
    if not parts:
        raise InputError(f"{path}: there are no rows.")
    table = pa.concat_tables(parts, promote_options="permissive")  # files may differ in types
    pids = table["pid"].combine_chunks()
    if pid_type is None:
        pid_type = "int" if pa.types.is_integer(pids.type) else "string"
    converted = convert_pids(pids, pid_type, forced=setting != "auto")
    sids = table["sid"].combine_chunks()
    _require_sids(path, pids, converted, sids)
    codes = np.asarray(pc.list_flatten(sids).cast(pa.int64())).reshape(-1, CODE_LAYERS)
    made = pa.FixedSizeListArray.from_arrays(pa.array(codes.reshape(-1), pa.int16()), CODE_LAYERS)
    return pa.table({"pid": converted, "sid": made})


def _require_sids(path: str, pids: pa.Array, converted: pa.Array, sids: pa.Array) -> None:
    lengths = pc.fill_null(pc.list_value_length(sids), -1)
    bad = pc.not_equal(lengths, CODE_LAYERS).to_numpy(zero_copy_only=False)
    if not bad.any():
        codes = np.asarray(pc.list_flatten(sids).cast(pa.float64())).reshape(-1, CODE_LAYERS)
        known = (codes >= 0) & (codes < MAX_CODEBOOK_SIZE) & (codes == np.floor(codes))
        bad = ~known.all(axis=1)
    _refuse(
        path,
        "sid",
        f"the SID is not {CODE_LAYERS} codes from 0 to {MAX_CODEBOOK_SIZE - 1}",
        pids,
        bad,
    )
    nulls = converted.is_null().to_numpy(zero_copy_only=False)
    _refuse(path, "pid", "the id is null, or no id of the catalog's type", pids, nulls)
    first = np.unique(converted.to_numpy(zero_copy_only=False), return_index=True)[1]
    twice = np.ones(len(pids), bool)
    twice[first] = False
    _refuse(path, "pid", "the id occurs twice", pids, twice)


def _refuse(path: str, column: str, what: str, pids: pa.Array, bad: np.ndarray) -> None:
    if bad.any():
        raise offending_rows(
            what,
            source=path,
            column=column,
            rows=int(bad.sum()),
            ids=(pids[int(row)].as_py() for row in np.flatnonzero(bad)),
            remedy="Correct these rows.",
        )
