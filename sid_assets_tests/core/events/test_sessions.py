"""Blocks of events end where a user does."""

import itertools

import numpy as np
import pyarrow as pa

from sid_assets.core.events.sessions import whole_users


def test_no_user_is_in_two_blocks_and_nothing_is_lost() -> None:
    draw = np.random.default_rng(0).integers
    for _ in range(200):
        uids = sorted(int(draw(6)) for _ in range(int(draw(1, 30))))
        cuts = [0, *sorted(int(draw(len(uids) + 1)) for _ in range(4)), len(uids)]
        batches = [
            pa.record_batch({"uid": pa.array(uids[low:high], pa.int64())})
            for low, high in itertools.pairwise(cuts)
        ]
        blocks = [block["uid"].to_pylist() for block in whole_users(iter(batches))]
        assert [uid for block in blocks for uid in block] == uids
        assert sum(len(set(block)) for block in blocks) == len(set(uids))
