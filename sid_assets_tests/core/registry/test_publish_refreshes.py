"""Ten refreshes on disk, with purges and kills in between, against a model that knows each item."""

import datetime as dt
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core import schema
from sid_assets.core.arrow.external_sort import sort_batches
from sid_assets.core.arrow.vectors import vector_array
from sid_assets.core.catalog.making import TextsMaking
from sid_assets.core.contracts.registry import check_sid_registry, live_rows
from sid_assets.core.errors import InputError
from sid_assets.core.refresh import RefreshPolicy
from sid_assets.core.registry import earlier, publish, resolve
from sid_assets.core.registry.freeing import free_sids
from sid_assets.core.registry.making import RegistryMaking
from sid_assets.core.registry.new_sids import Room
from sid_assets.core.registry.refreshes import with_last_refreshes
from sid_assets.core.registry.tables import Tables
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.provenance import Provenance, derive
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows
from sid_assets_tests.core.registry import registry_model
from sid_assets_tests.core.registry.on_disk import SPACE
from sid_assets_tests.core.registry.registry_model import Model, Row, rows_of
from sid_assets_tests.core.registry.small_registry import Codes, hash_of

TABLES = Tables.of(lambda name: name)
INPUTS = ("codes", "item_embeddings", "item_texts", "item_counts")
SIZE, DIM = 4, 6
COMMITS = 7
"""Of a refresh, besides that of a purge."""

FOLDERS = count()


def small_integers(seed: int, *shape: int) -> np.ndarray:
    """Vectors with which distances are exact; they end in zeros, as wide as those of the tables."""
    vectors = np.zeros((*shape, schema.EMBEDDING_DIM), np.float32)
    drawn = np.random.default_rng(seed).integers(-3, 4, (*shape, DIM))
    vectors[..., :DIM] = drawn
    vectors[..., 0] = np.abs(drawn[..., 0]) + 1  # none is zero
    return vectors


CENTROIDS = small_integers(0, 3, SIZE)


def vector_of(text: str) -> np.ndarray:
    """A vector that depends on nothing but the text."""
    return small_integers(int.from_bytes(hash_of(text)[:4], "little"))


def codes_of(text: str) -> Codes:
    """Few codes, so that SIDs collide and those behind two codes run out."""
    first, _, third = hash_of(text)[:3]
    return first % 2, 1, third % SIZE


def nearest(text: str) -> list[int]:
    """All third codes, the nearest first, in exact arithmetic."""
    first, second, _ = codes_of(text)
    residual = (vector_of(text) - CENTROIDS[0][first] - CENTROIDS[1][second])[:DIM]
    apart = [int(((residual - centroid[:DIM]) ** 2).sum()) for centroid in CENTROIDS[2]]
    return sorted(range(SIZE), key=lambda third: (apart[third], third))


def extra_error(text: str, sid: Codes) -> float:
    """How much larger the relative error of an item is with a SID than with its codes."""
    vector = vector_of(text).astype(np.float64)
    errors = [
        np.linalg.norm(vector - sum(CENTROIDS[layer][code] for layer, code in enumerate(codes)))
        for codes in (sid, codes_of(text))
    ]
    return float((errors[0] - errors[1]) / np.linalg.norm(vector))


@dataclass(frozen=True)
class Step:
    """A refresh, perhaps after a purge.

    Attributes:
        edits: New texts of items; None where an item is removed.
        users: The popularity of items.
        most: SID_MAX_ITEMS_PER_SID.
        share: SID_NO_ROOM=share.
        keep: SID_ON_TEXT_CHANGE=keep.
        purge: Frees SIDs that were left before this refresh, counted from the first.
        commits: How many tables are committed before the run is killed.
        order: Seed of the order of the catalog's rows.
    """

    edits: dict[int, str | None]
    users: dict[int, int] = field(default_factory=dict)
    most: int = 0
    share: bool = True
    keep: bool = False
    purge: int | None = None
    commits: int = COMMITS + 1
    order: int = 0


PIDS, TEXTS = st.integers(1, 12), st.sampled_from([f"text {number}" for number in range(9)])
STEPS = st.builds(
    Step,
    edits=st.dictionaries(PIDS, st.none() | TEXTS, max_size=8),
    users=st.dictionaries(PIDS, st.integers(1, 3), max_size=6),
    most=st.sampled_from([0, 1, 1, 2]),
    share=st.sampled_from([True, True, False]),
    keep=st.booleans(),
    purge=st.none() | st.integers(1, 9),
    commits=st.just(COMMITS + 1) | st.integers(0, COMMITS),
    order=st.integers(0, 9),
)


class KilledError(Exception):
    """The run ends."""


class StoreOfRuns(Store):
    """A store whose runs are killed before one of their commits."""

    commits_left = 0

    def commit(self, draft: Draft) -> Version:
        """Commit, or end the run."""
        if not self.commits_left:
            draft.close()
            raise KilledError
        self.commits_left -= 1
        return super().commit(draft)


class Folder:
    """A data folder, and what must be in its registry."""

    def __init__(self, path: Path, place: Path | str) -> None:
        """Nothing is published.

        Args:
            path: A folder for what is not in the store.
            place: The folder of the store, or its URL.
        """
        self.store = StoreOfRuns(place)
        self.model = Model()
        self.catalog: dict[int, str] = {}
        self.published = 0
        self._numbers: dict[dt.datetime, int] = {}
        self._refreshes: list[dt.datetime] = []
        self._events, self._sorted = count(1), count()
        self._path = path

    def rows(self) -> dict[int, list[Row]]:
        """What is in the registry."""
        registry = self.store.current("sid_registry")
        return rows_of(registry.stream().read_all(), self._numbers.__getitem__) if registry else {}

    def run(self, step: Step) -> None:
        """Refresh, as the assets do, up to where the run is killed.

        Raises:
            KilledError: It was.
        """
        self.store.commits_left = step.commits
        texts = {**self.catalog, **step.edits}
        self.catalog = {pid: text for pid, text in texts.items() if text} or {0: "text 0"}
        if step.purge and self._refreshes:
            self._purge(self._refreshes[min(step.purge, len(self._refreshes)) - 1])
        self._commit_inputs(step)
        self._publish(step)

    def _publish(self, step: Step) -> None:
        number = next(self._events)
        catalog = {pid: (text, codes_of(text)) for pid, text in self.catalog.items()}
        room = registry_model.Room(step.most, step.users, nearest, extra_error)
        expected = self.model.refreshed(catalog, number, keep=step.keep, room=room)
        names = {table: table.removeprefix("item_") for table in INPUTS}
        versions = {name: self.store.require(table) for table, name in names.items()}
        inputs = publish.Inputs(
            versions["codes"],
            versions["embeddings"],
            versions["texts"],
            versions["counts"],
            lambda: CENTROIDS,
        )
        arguments = (self.store, TABLES, inputs, RefreshPolicy(), Room(step.most, step.share))
        if expected.without_room and not step.share:
            with pytest.raises(InputError, match=f": {len(expected.without_room)} items"):
                publish.publish(*arguments, keep=step.keep)
            return
        draft, made = publish.publish(*arguments, keep=step.keep)
        registry = self.store.commit(draft)
        self.model, self.published = expected, self.published + 1
        at = RegistryMaking.of(registry.provenance).refreshes[-1].at
        self._refreshes.append(dt.datetime.fromisoformat(at))
        self._numbers[self._refreshes[-1]] = number
        counts = expected.counts(step.most)
        assert {name: getattr(made.counts, name) for name in counts} == counts
        self._commit_rest(registry)

    def _commit_rest(self, registry: Version) -> None:
        """Commit the tables that follow from the registry."""
        columns = schema.pid2sid("int")
        sids = pa.Table.from_batches(live_rows(registry, columns.names)).cast(columns)
        self._commit(derive("pid2sid", registry.provenance), sids)
        listed = with_last_refreshes(self.store.current("sid_refreshes"), registry)
        self._commit(derive("sid_refreshes", registry.provenance), listed)

    def _purge(self, date: dt.datetime) -> None:
        number = next(self._events)
        expected = self.model.freed(self._numbers[date], number)
        free_sids(self.store, "sid_registry", date)
        self.model = expected
        times = self.store.require("sid_registry").stream(["freed_at"]).read_all()["freed_at"]
        self._numbers |= dict.fromkeys(
            set(times.drop_null().to_pylist()) - self._numbers.keys(), number
        )

    def _commit_inputs(self, step: Step) -> None:
        """Commit the tables that a refresh reads; the rows of the catalog are in some order."""
        columns = schema.item_texts("int")
        rows = [(pid, text, hash_of(text)) for pid, text in self.catalog.items()]
        order = np.random.default_rng(step.order).permutation(len(rows))
        shuffled = pa.table([*map(list, zip(*(rows[one] for one in order), strict=True))], columns)
        folder = self._path / f"sorted{next(self._sorted)}"
        items = pa.Table.from_batches(
            sort_batches(shuffled.to_batches(4), "pid", folder, run_bytes=100), columns
        )
        pids, texts, hashes = items.columns
        made = self._commit(Provenance("item_texts", details=TextsMaking("{t}").details()), items)
        vectors = vector_array(np.stack([vector_of(text) for text in texts.to_pylist()]))
        made = self._commit(
            derive("item_embeddings", made.provenance, space=SPACE),
            pa.table([pids, vectors, hashes, hashes], schema.item_embeddings("int")),
        )
        norms = vector_array(np.ones((len(pids), 4), np.float32))
        codes = [list(codes_of(text)) for text in texts.to_pylist()]
        self._commit(
            derive("codes", made.provenance, tokenizer="centroids"),
            pa.table([pids, codes, hashes, norms], schema.codes("int")),
        )
        counted = sorted(step.users.items())
        columns = schema.item_counts("int")
        counts = [[pid for pid, _ in counted], [users for _, users in counted]]
        self._commit(Provenance("item_counts"), pa.table(counts, columns))

    def _commit(self, made: Provenance, rows: pa.Table) -> Version:
        return self.store.commit(draft_rows(self.store, made.asset, rows.to_reader(), made))


@settings(max_examples=8, deadline=None)
@given(
    steps=st.lists(STEPS, min_size=10, max_size=10),
    first=st.dictionaries(PIDS, TEXTS, min_size=6, max_size=12),
    batch_rows=st.sampled_from([3, 65_536]),
    local=st.booleans(),
)
def test_ten_refreshes_give_the_sids_of_the_model(
    tmp_path_factory, steps, first, batch_rows, local
):
    path = tmp_path_factory.mktemp("folder")
    place = path if local else f"memory://{path.name}{next(FOLDERS)}"
    folder = Folder(path, place)
    last = Step({}, most=steps[-1].most)
    with pytest.MonkeyPatch.context() as small:
        small.setattr(earlier, "BATCH_ROWS", batch_rows)
        small.setattr(publish, "BATCH_ROWS", batch_rows)
        small.setattr(resolve, "NEAREST", 1)
        small.setattr(resolve, "MORE", 2)
        rows: dict[int, list[Row]] = {}
        for step in [replace(steps[0], edits=first), *steps[1:], last]:
            before = rows
            try:
                folder.run(step)
            except KilledError:
                assert step.commits <= COMMITS
            rows = folder.rows()
            assert rows == {pid: rows for pid, rows in folder.model.rows.items() if rows}
            _assert_none_moved(before, rows)
            _assert_none_given_twice(before, rows, step.most)
    _assert_all_follows_the_registry(folder, rows)


def _assert_none_moved(before: dict[int, list[Row]], after: dict[int, list[Row]]) -> None:
    """An item with the text of a SID that is published and not freed has that SID."""
    for pid, rows in after.items():
        was = before.get(pid, [])
        ids = [[(row.sid, row.published) for row in some] for some in (was, rows[: len(was)])]
        assert ids[0] == ids[1]
        for now in rows:
            if now.left is None:
                same = [
                    one
                    for one, row in zip(was, rows[: len(was)], strict=True)
                    if one.text == now.text and one.freed is None and row.freed is None
                ]
                live = [one for one in same if one.left is None]
                assert not same or now.sid in [one.sid for one in live or same]


def _assert_none_given_twice(
    before: dict[int, list[Row]], after: dict[int, list[Row]], most: int
) -> None:
    """No SID is given to more items than may have it, unless those behind its prefix are full."""
    if not most:
        return
    holders, were = Model(after).holders(), Model(before).holders()
    for sid, pids in holders.items():
        if len(pids) > most and pids - were[sid]:
            behind = [(sid[0], sid[1], third) for third in range(SIZE)]
            assert all(len(holders.get(one, ())) >= most for one in behind)


def _assert_all_follows_the_registry(folder: Folder, registry: dict[int, list[Row]]) -> None:
    """After an undisturbed run, `pid2sid` and `sid_refreshes` say what the registry says."""
    live = folder.model.live()
    sids = folder.store.require("pid2sid").stream().read_all().to_pylist()
    assert {row["pid"]: tuple(row["sid"]) for row in sids} == {
        pid: row.sid for pid, row in live.items()
    }
    assert live.keys() == folder.catalog.keys()
    history = folder.store.require("sid_refreshes")
    assert history.rows == folder.published
    for pid, rows in registry.items():
        expected = [row.extra_error for row in folder.model.rows[pid]]
        assert [row.extra_error for row in rows] == pytest.approx(expected, abs=1e-6)
    found = check_sid_registry(folder.store.require("sid_registry"), folder.store.require("codes"))
    assert {name for name, finding in found.items() if not finding.passed} <= {"room"}


def text_with(*codes: int, other_than: str = "") -> str:
    """A text that has these codes."""
    texts = (f"text {number}" for number in count())
    return next(text for text in texts if codes_of(text) == codes and text != other_than)


def test_an_item_that_goes_back_to_a_sid_is_counted_once_there(tmp_path):
    folder = Folder(tmp_path, tmp_path)
    last, full = text_with(0, 1, 3), [text_with(0, 1, third) for third in range(3)]
    catalog = {1: last, **{2 + number: full[number // 2] for number in range(6)}}
    folder.run(Step({**catalog}, most=2))
    folder.run(Step({1: text_with(1, 1, 0)}, most=2))
    # All SIDs behind 0-1 are full but 0-1-3, which is reserved for the first item and has room.
    other = text_with(0, 1, 0, other_than=full[0])
    folder.run(Step({1: other, 8: full[0]}, users={1: 5}, most=2))
    assert {pid: folder.model.live()[pid].sid for pid in (1, 8)} == {1: (0, 1, 3), 8: (0, 1, 3)}
