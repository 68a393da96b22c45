"""Events of a user at one time are ordered by a hash of seed, user and item alone."""

import hashlib
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sid_assets.core.events.ties import ties_ordered

FIELDS = pa.schema(
    {
        "uid": pa.int64(),
        "user": pa.string(),
        "us": pa.int64(),
        "ord": pa.decimal128(38, 6),
        "pid": pa.int64(),
        "bits": pa.uint8(),
    }
)


def by_hash(row: dict[str, Any], seed: int) -> int:
    """The place of an event among those at its time."""
    text = f"{seed}\x1f{row['user'] or row['uid']}\x1f{row['pid']}"
    return int.from_bytes(hashlib.md5(text.encode()).digest()[:8], "little")  # noqa: S324


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("ordered", [False, True])
def test_ties_are_ordered_by_hash_whatever_their_order_was(named: bool, ordered: bool) -> None:
    draw = np.random.default_rng(0).integers
    rows = [
        {
            "uid": uid,
            "user": f"u{uid}" if named else None,
            "us": int(draw(4)),
            "ord": Decimal(int(draw(3))) if ordered else None,
            "pid": int(draw(20)),
            "bits": int(draw(4)),
        }
        for uid in (3, 4, 9)
        for _ in range(40)
    ]

    def place(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["uid"], row["us"], row["ord"] or 0

    given = pa.Table.from_pylist(sorted(rows, key=place), FIELDS)
    expected = sorted(rows, key=lambda row: (*place(row), by_hash(row, 7), row["bits"]))
    assert ties_ordered(given, 7).to_pylist() == expected
    assert ties_ordered(given, 8).to_pylist() != expected


@pytest.mark.parametrize("size", [0, 1, 3])
def test_events_without_ties_stay_as_they_are(size: int) -> None:
    rows = [
        {"uid": 1, "user": None, "us": us, "ord": None, "pid": 5, "bits": 0} for us in range(size)
    ]
    given = pa.Table.from_pylist(rows, FIELDS)
    assert ties_ordered(given, 0).equals(given)
