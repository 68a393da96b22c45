"""The SIDs of items that are no longer in the catalog: histories may still spell them."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import codes_array
from sid_assets.core.schema import CODE_LAYERS, PID_TYPES
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.store.versions import Version

COLUMNS = ["generation", "pid", "sid", "left_at", "freed_at"]
BATCH_ROWS = 65_536


def removed_sids(registry: Version, generation: str, live: SidIndex) -> SidIndex | None:
    """The last SID of each item of a generation that is gone; None if there are none.

    A SID that a purge has freed is not the item's any more. Memory is taken for SIDs that were
    left, not for the others.

    Args:
        registry: The table `sid_registry`.
        generation: Id of the generation.
        live: The SIDs of the items that are in the catalog.
    """
    pids, codes, times = [], [np.zeros((0, CODE_LAYERS), np.uint16)], []
    for batch in registry.stream(COLUMNS, BATCH_ROWS):
        left = pc.and_(batch["left_at"].is_valid(), batch["freed_at"].is_null())
        of_generation = pc.equal(batch["generation"], generation)
        rows = batch.filter(pc.and_(left, of_generation))
        rows = rows.filter(pa.array(~live.find(rows["pid"]).found))
        pids.append(rows["pid"])
        codes.append(codes_array(rows["sid"]).astype(np.uint16))
        times.append(rows["left_at"])
    if not sum(map(len, pids)):
        return None
    left = pa.table(
        {
            "pid": pa.chunked_array(pids, PID_TYPES[live.pid_type]),
            "left_at": pa.chunked_array(times),
        }
    )
    order = pc.sort_indices(left, [("pid", "ascending"), ("left_at", "ascending")])
    ordered = left["pid"].take(order).combine_chunks()
    is_last = pc.fill_null(pc.not_equal(ordered[:-1], ordered[1:]), True)
    last = order.filter(pa.concat_arrays([is_last, pa.array([True])]))
    return SidIndex(left["pid"].take(last).combine_chunks(), np.concatenate(codes)[last.to_numpy()])
