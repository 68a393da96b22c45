"""The cut into chunks: a change touches the part that it is in, and parts do not become small."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.embeddings import cuts
from sid_assets.core.embeddings.cuts import (
    Stretch,
    UnchangedParts,
    cut_chunks,
    rows_to_write,
    stretches,
)
from sid_assets.core.store.parts import Part
from sid_assets_tests.core.drawn_vectors import commit_texts, item_texts

FULL = 40
"""The most rows of a chunk here."""


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch) -> None:
    monkeypatch.setattr(cuts, "CHUNK_ROWS", FULL)


def part(*pids) -> Part:
    return Part("part", len(pids), 0, "", first_pid=min(pids), last_pid=max(pids))


def parts_of(pids: list, rows: int) -> list[Part]:
    """The pids in parts of some rows."""
    return [part(*pids[start : start + rows]) for start in range(0, len(pids), rows)]


def unchanged_of(parts: list[Part], before: dict, now: dict, batch: int = 7) -> tuple[Stretch, ...]:
    """The unchanged parts, given the texts of the previous version and those of today."""
    found = UnchangedParts(parts)
    pids = sorted(now)
    for start in range(0, len(pids), batch):
        some = pids[start : start + batch]
        reused = np.array([before.get(pid) == now[pid] for pid in some], bool)
        found.add(pa.array(some), reused)
    return found.found()


def cut(now: dict, unchanged: tuple[Stretch, ...], local, characters: float = 1e9) -> list[list]:
    """The pids of each chunk."""
    texts = commit_texts(local, now)
    chunks = cut_chunks(texts, np.ones(len(now), bool), characters, unchanged)
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    pids = sorted(now)
    ends = np.cumsum([chunk.rows for chunk in chunks]).tolist()
    groups = [pids[start:stop] for start, stop in itertools.pairwise([0, *ends])]
    assert [(group[0], group[-1]) for group in groups] == [
        (chunk.first_pid, chunk.last_pid) for chunk in chunks
    ]
    assert [pid for group in groups for pid in group] == pids
    return groups


TEXTS = st.dictionaries(st.integers(0, 60), st.sampled_from("ab"), min_size=1)


@given(
    before=TEXTS,
    now=TEXTS,
    rows=st.integers(1, 12),
    batch=st.integers(1, 20),
    string_pids=st.booleans(),
)
def test_a_part_is_unchanged_if_its_pids_and_texts_are_the_same(
    before, now, rows, batch, string_pids
):
    if string_pids:
        before, now = ({f"é{pid:03d}": value for pid, value in d.items()} for d in (before, now))
    parts = parts_of(sorted(before), rows)
    pids = sorted(now)
    expected = []
    for one in parts:
        old = [(pid, before[pid]) for pid in sorted(before) if one.first_pid <= pid <= one.last_pid]
        new = [(pid, now[pid]) for pid in pids if one.first_pid <= pid <= one.last_pid]
        if old == new:
            expected.append(Stretch(pids.index(one.first_pid), one.rows, one))
    assert list(unchanged_of(parts, before, now, batch)) == expected


def test_without_a_change_all_parts_stay(local):
    texts = item_texts(range(100))
    parts = parts_of(list(texts), 20)
    unchanged = unchanged_of(parts, texts, texts)
    assert rows_to_write(100, unchanged) == 0
    assert [len(chunk) for chunk in cut(texts, unchanged, local)] == [20] * 5


@pytest.mark.parametrize("place", [0, 1, 3])
def test_an_insertion_writes_only_its_part(local, place):
    before = item_texts(range(0, 200, 2))
    parts = parts_of(list(before), 25)
    now = before | {50 * place + 11: "new"}
    unchanged = unchanged_of(parts, before, now)
    assert [one.part for one in unchanged] == [one for n, one in enumerate(parts) if n != place]
    rows = [len(chunk) for chunk in cut(now, unchanged, local)]
    assert rows == [26 if n == place else 25 for n in range(4)]
    assert rows_to_write(len(now), unchanged) == 26


def test_a_part_that_outgrows_the_limit_is_split_in_halves(local):
    before = item_texts(range(0, 3 * 2 * FULL, 2))
    now = before | {2 * FULL + 5: "new"}
    unchanged = unchanged_of(parts_of(list(before), FULL), before, now)
    assert [len(chunk) for chunk in cut(now, unchanged, local)] == [FULL, 21, 20, FULL]


def test_what_becomes_small_is_joined_with_a_part_beside_it_that_has_room(local):
    before = item_texts(range(70))
    parts = parts_of(list(before), 14)
    now = {pid: text for pid, text in before.items() if not 15 <= pid < 27}  # two of the part stay
    unchanged = unchanged_of(parts, before, now)
    assert [len(chunk) for chunk in cut(now, unchanged, local)] == [16, 14, 14, 14]


def test_a_few_new_items_between_two_full_parts_are_a_part(local):
    before = item_texts([*range(40), *range(100, 140)])
    now = before | {50: "new"}
    unchanged = unchanged_of(parts_of(list(before), FULL), before, now)
    assert [len(chunk) for chunk in cut(now, unchanged, local)] == [40, 1, 40]
    assert rows_to_write(len(now), unchanged) == 1


def test_a_removed_part_leaves_nothing_to_write(local):
    before = item_texts(range(60))
    now = {pid: text for pid, text in before.items() if not 20 <= pid < 40}
    unchanged = unchanged_of(parts_of(list(before), 20), before, now)
    assert rows_to_write(40, unchanged) == 0
    assert [len(chunk) for chunk in cut(now, unchanged, local)] == [20, 20]


def test_work_bounds_the_chunks_of_what_is_written(local):
    before = dict.fromkeys(range(30), "x" * 10)
    now = before | dict.fromkeys(range(30, 60), "y" * 10)
    unchanged = unchanged_of(parts_of(list(before), 15), before, now)
    rows = [len(chunk) for chunk in cut(now, unchanged, local, characters=100)]
    assert rows == [15, 15, 10, 10, 10]


@given(
    rows=st.lists(st.tuples(st.integers(0, 50), st.integers(0, FULL)), max_size=30),
    last=st.integers(0, 30),
)
def test_stretches_cover_all_items_and_keep_parts_that_need_not_be_written(rows, last):
    """Given the items to write before each unchanged part, the rows of the part, and the end."""
    unchanged, end = [], 0
    for to_write, in_part in rows:
        if in_part:
            unchanged.append(Stretch(end + to_write, in_part, part(*range(in_part))))
        end += to_write + in_part
    end += last
    found = stretches(end, unchanged)
    covered = [row for one in found for row in range(one.start, one.start + one.rows)]
    assert covered == list(range(end))
    assert {one for one in found if one.part} <= set(unchanged)
    for left, right in itertools.pairwise(found):
        assert left.part or right.part
    written = sum(one.rows for one in found if one.part is None)
    assert written == rows_to_write(end, unchanged)
    # A stretch to write takes at most the parts beside it, up to a chunk, and only if it is small.
    loose = end - sum(one.rows for one in unchanged)
    gaps = sum(1 for to_write, _ in [*rows, (last, 0)] if to_write)
    assert written <= loose + gaps * FULL
    assert loose or not written


def test_appending_day_after_day_leaves_no_small_parts(local):
    """Ten new items a day, sorted behind all others, for fifty days."""
    now, parts = item_texts(range(80)), parts_of(list(range(80)), FULL)
    for day in range(50):
        before, now = now, now | item_texts(range(80 + 10 * day, 90 + 10 * day))
        unchanged = unchanged_of(parts, before, now)
        assert rows_to_write(len(now), unchanged) <= FULL
        parts = [part(*pids) for pids in cut(now, unchanged, local)]
    assert len(parts) <= len(now) / FULL * 1.5


@pytest.mark.parametrize("seed", range(2))
def test_parts_do_not_fragment_however_long_the_catalog_changes(local, seed):
    draw = np.random.default_rng(seed)
    now = item_texts(range(0, 8000, 10))
    parts = parts_of(sorted(now), FULL)
    for round_ in range(40):
        before, now = now, dict(now)
        pids = sorted(now)
        start = int(draw.integers(len(pids) - 20))
        for pid in pids[start : start + 20]:
            what = draw.integers(3)
            if what == 0:
                del now[pid]
            elif what == 1:
                now[pid] = f"changed in round {round_}"
            else:
                now[pid + int(draw.integers(1, 10))] = f"new in round {round_}"
        unchanged = unchanged_of(parts, before, now, batch=100)
        groups = cut(now, unchanged, local)
        assert max(map(len, groups)) <= FULL
        assert rows_to_write(len(now), unchanged) <= 4 * FULL
        parts = [part(*pids) for pids in groups]
    assert len(parts) <= 2.5 * len(now) / FULL
