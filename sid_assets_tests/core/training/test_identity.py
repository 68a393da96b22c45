import hashlib
import uuid
from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core.training.identity import NAMESPACE, Identifier, Occurrences


def test_ids_equal_those_of_the_standard_library() -> None:
    identifier = Identifier("video_rec", 7)
    rows = identifier.identify(
        pa.array(["1", "2", None, "1"]), pa.array([b"a\xff", b"", b"", b"a\xff"])
    )
    said = [b"video_rec/7/" + row for row in (b"1:12:a\xff", b"1:20:", b"0:0:", b"1:12:a\xff")]
    digests = [hashlib.sha1(row).hexdigest() for row in said]  # noqa: S324 - no secret
    assert rows.digests.to_pylist() == digests
    assert rows.keys.tolist() == [int(digest[:16], 16) for digest in digests]

    def expected(digest: str, occurrence: int) -> str:
        return str(uuid.uuid5(NAMESPACE, f"video_rec/7/{digest}/{occurrence}"))

    assert identifier.distinct_uuids(rows).to_pylist() == [
        expected(digest, occurrence)
        for digest, occurrence in zip(digests, (0, 0, 0, 1), strict=True)
    ]
    first = rows.filter(np.array([True, False, False, False]))
    assert identifier.distinct_uuids(first).to_pylist() == [expected(digests[0], 2)]
    other = identifier.identify(pa.array(["new"]))
    assert identifier.distinct_uuids(other) == other.uuids


def test_texts_with_the_same_concatenation_have_different_ids() -> None:
    columns = [
        pa.array(column) for column in zip(("1", "p|k", "w"), ("1", "p", "k|w"), strict=True)
    ]
    first, second = Identifier("sft_interactive_rec", 0).identify(*columns).digests.to_pylist()
    assert first != second


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 9) | st.integers(2**64 - 9, 2**64 - 1))))
def test_equal_keys_are_numbered(batches: list[list[int]]) -> None:
    occurrences, seen = Occurrences(), Counter()
    for batch in batches:
        expected = []
        for key in batch:
            expected.append(seen[key])
            seen[key] += 1
        assert occurrences.number(np.array(batch, np.uint64)).tolist() == expected


def test_many_keys_are_numbered() -> None:
    keys = np.random.default_rng(0).integers(0, 3000, 100_000).astype(np.uint64)
    occurrences = Occurrences()
    found = np.concatenate([occurrences.number(batch) for batch in np.array_split(keys, 57)])
    order = np.argsort(keys, kind="stable")
    starts = np.searchsorted(keys[order], keys[order])
    assert (found[order] == np.arange(len(keys)) - starts).all()
