"""The order of events of a user at one time."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import as_bool
from sid_assets.core.arrow.duck import computed


def ties_ordered(events: pa.Table, seed: int) -> pa.Table:
    """The events; those of a user that are equal in time and `ord` by a hash, then by `bits`.

    The hash is of seed, user and item, so that neither the order of the file nor that of ids says
    anything. Only tied events are hashed.

    Args:
        events: Sorted by `uid`, `us` and `ord`; `user`, null where it is `uid` as text; `pid`;
            `bits`.
        seed: Of the hash.
    """
    events = events.combine_chunks()
    size = events.num_rows
    tied = np.ones(max(0, size - 1), bool)
    for column in ("uid", "us"):
        values = events[column].to_numpy()
        tied &= values[1:] == values[:-1]
    if events["ord"].null_count < size:
        order = events["ord"].combine_chunks()
        tied &= as_bool(pc.equal(order.slice(1), order.slice(0, size - 1)).fill_null(True))
    places = np.flatnonzero(np.r_[tied, False] | np.r_[False, tied])
    if not len(places):
        return events
    group = np.cumsum(~np.r_[False, tied])[places]
    user = "coalesce(user, CAST(uid AS VARCHAR))"
    text = f"concat_ws(chr(31), '{int(seed)}', {user}, CAST(pid AS VARCHAR))"
    hashed = computed(events.take(places), f"md5_number_upper({text}) AS tie, bits")
    tie, bits = hashed["tie"].to_numpy(), hashed["bits"].to_numpy()
    moved = np.arange(size)
    moved[places] = places[np.lexsort((bits, tie, group))]
    return events.take(moved)
