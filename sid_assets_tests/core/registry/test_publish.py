"""Refreshes on disk: popularity, room, and generations."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sid_assets.core import schema
from sid_assets.core.arrow.vectors import vector_array
from sid_assets.core.catalog.making import TextsMaking
from sid_assets.core.contracts.registry import live_rows
from sid_assets.core.errors import InputError
from sid_assets.core.refresh import RefreshPolicy
from sid_assets.core.registry.making import RegistryMaking
from sid_assets.core.registry.new_sids import Room
from sid_assets.core.registry.publish import Inputs, Publication, publish
from sid_assets.core.registry.refreshes import with_last_refreshes
from sid_assets.core.registry.tables import Tables
from sid_assets.core.store.provenance import Provenance, derive
from sid_assets.core.store.store import Store
from sid_assets.core.store.write import draft_rows
from sid_assets_tests.core.registry.on_disk import SPACE
from sid_assets_tests.core.registry.small_registry import hash_of

TABLES = Tables.of(lambda name: name)
SIZE = 3
CENTROIDS = np.random.default_rng(0).normal(size=(3, SIZE, 4096)).astype(np.float32)


def vector_of(text: str) -> np.ndarray:
    """A vector that depends on nothing but the text."""
    seed = int.from_bytes(hash_of(text)[:4], "little")
    return np.random.default_rng(seed).normal(size=4096).astype(np.float32)


def codes_of(text: str) -> list[int]:
    """The first two codes are equal for many texts, the third for some."""
    first, second, third = hash_of(text)[:3]
    return [first % 2, second % 2, third % SIZE]


def commit(store: Store, made: Provenance, columns: pa.Schema, values: list) -> None:
    rows = pa.table(values, schema=columns)
    store.commit(draft_rows(store, made.asset, rows.to_reader(), made))


def commit_inputs(store: Store, catalog: dict[int, str], template: str = "{title}") -> None:
    """Commit item_texts, item_embeddings and codes of a catalog."""
    pids = sorted(catalog)
    texts = [catalog[pid] for pid in pids]
    hashes = [hash_of(text) for text in texts]
    made = Provenance("item_texts", details=TextsMaking(template).details())
    commit(store, made, schema.item_texts("int"), [pids, texts, hashes])
    made = derive("item_embeddings", store.require("item_texts").provenance, space=SPACE)
    vectors = vector_array(np.stack([vector_of(text) for text in texts]))
    commit(store, made, schema.item_embeddings("int"), [pids, vectors, hashes, hashes])
    made = derive("codes", store.require("item_embeddings").provenance, tokenizer="centroids")
    norms = vector_array(np.ones((len(pids), 4), np.float32))
    columns = [pids, [codes_of(text) for text in texts], hashes, norms]
    commit(store, made, schema.codes("int"), columns)


def commit_counts(store: Store, users: dict[int, int]) -> None:
    columns = schema.item_counts("int")
    commit(
        store,
        Provenance("item_counts"),
        columns,
        [sorted(users), [users[p] for p in sorted(users)]],
    )


def refresh(store: Store, room: Room, *, new_generation: bool = False) -> Publication:
    """Publish, and commit the registry and what follows from it."""
    inputs = Inputs(
        store.require("codes"),
        store.require("item_embeddings"),
        store.require("item_texts"),
        store.current("item_counts"),
        lambda: CENTROIDS,
    )
    policy = RefreshPolicy(new_generation=new_generation)
    draft, made = publish(store, TABLES, inputs, policy, room)
    registry = store.commit(draft)
    columns = schema.pid2sid("int")
    rows = (batch.cast(columns) for batch in live_rows(registry, columns.names))
    reader = pa.RecordBatchReader.from_batches(columns, rows)
    made_from = derive("pid2sid", registry.provenance)
    store.commit(draft_rows(store, "pid2sid", reader, made_from))
    rows = with_last_refreshes(store.current("sid_refreshes"), registry)
    made_from = derive("sid_refreshes", registry.provenance)
    store.commit(draft_rows(store, "sid_refreshes", rows.to_reader(), made_from))
    return made


def rows_of(store: Store) -> list[dict]:
    """All rows of the registry; none before the first refresh."""
    registry = store.current("sid_registry")
    return registry.stream().read_all().to_pylist() if registry else []


def test_the_most_popular_item_gets_the_sid_of_its_codes(tmp_path):
    store = Store(tmp_path)
    commit_inputs(store, {1: "same", 2: "same", 3: "same"})
    commit_counts(store, {2: 5, 3: 1})
    made = refresh(store, Room(1))
    sids = {row["pid"]: row for row in rows_of(store)}
    assert [row["made"] for row in sids.values()] == ["resolved", "quantised", "resolved"]
    assert sids[2]["sid"] == codes_of("same")
    assert (made.counts.resolved, made.counts.distinct_sids, made.counts.over) == (2, 3, 0)
    # Other interactions do not change what is published.
    commit_counts(store, {1: 9})
    before = store.require("sid_registry").provenance.version
    refresh(store, Room(1))
    assert store.require("sid_registry").provenance.version == before


@pytest.mark.parametrize("most", [0, 1])
def test_what_a_resolved_sid_costs_follows_the_text(tmp_path, most):
    first, *others = [n for n in range(99) if codes_of(f"text {n}") == codes_of("text 0")]
    store = Store(tmp_path)
    texts = {1: f"text {others[0]}", 2: f"text {first}", 3: f"text {first}"}
    commit_inputs(store, texts)
    refresh(store, Room(1))

    def cost(pid: int) -> float:
        row = next(row for row in rows_of(store) if row["pid"] == pid)
        assert row["made"] == "resolved"
        vector = vector_of(texts[pid])
        apart = [
            np.linalg.norm(vector - sum(CENTROIDS[layer][code] for layer, code in enumerate(codes)))
            for codes in (row["sid"], row["codes"])
        ]
        expected = (apart[0] - apart[1]) / np.linalg.norm(vector)
        assert row["extra_error"] == pytest.approx(expected, abs=1e-6)
        return row["extra_error"]

    before = cost(2), cost(3)
    for text in (f"text {others[1]}", f"text {others[2]}"):
        texts[3] = text
        commit_inputs(store, texts)
        refresh(store, Room(most))
        assert cost(2) == before[0]
        assert cost(3) != before[1]
    # It comes back with another text, whose codes are the same.
    commit_inputs(store, {1: texts[1], 2: texts[2]})
    refresh(store, Room(most))
    texts[3] = f"text {others[3]}"
    commit_inputs(store, texts)
    refresh(store, Room(most))
    assert cost(3) != before[1]


def test_reserved_sids_are_occupied_where_collisions_are_resolved(tmp_path):
    store = Store(tmp_path)
    commit_inputs(store, {1: "same", 2: "other"})
    refresh(store, Room(1))
    commit_inputs(store, {2: "other", 3: "same"})
    made = refresh(store, Room(1))
    assert made.counts.resolved == 1
    assert made.counts.passed_on == 0


def test_a_sid_may_pass_to_a_new_item_where_nothing_is_resolved(tmp_path):
    store = Store(tmp_path)
    commit_inputs(store, {1: "same", 2: "other"})
    refresh(store, Room())
    commit_inputs(store, {2: "other", 3: "same"})
    assert refresh(store, Room()).counts.passed_on == 1


def test_no_room_names_items_and_prefixes_and_writes_nothing(tmp_path):
    store = Store(tmp_path)
    commit_inputs(store, dict.fromkeys(range(1, SIZE + 4), "same"))
    file = store.path("codes")
    with pytest.raises(InputError, match=rf"3 items of {file} \(first ids: 4, 5, 6\)") as error:
        refresh(store, Room(1))
    first, second, _ = codes_of("same")
    assert f"(1 pair of codes, first: {first}-{second})" in str(error.value)
    assert f"Nothing was published in {store.path('sid_registry')}. Set " in str(error.value)
    assert store.current("sid_registry") is None
    assert refresh(store, Room(1, share=True)).counts.without_room == 3
    assert refresh(store, Room(2)).counts.over == 2


def test_a_generation_that_comes_back_finds_its_sids(tmp_path: Path):
    store = Store(tmp_path)
    commit_inputs(store, {1: "a", 2: "b"})
    first = refresh(store, Room()).generation
    rows = rows_of(store)
    commit_inputs(store, {1: "A", 3: "c"}, template="another")
    with pytest.raises(InputError, match=r"template: '{title}' -> 'another'.*new_generation"):
        refresh(store, Room())
    made = refresh(store, Room(), new_generation=True)
    assert made.before == first.id
    assert rows_of(store)[:2] == rows
    commit_inputs(store, {1: "a", 2: "b"})
    with pytest.raises(InputError, match="another generation"):
        refresh(store, Room())
    assert refresh(store, Room(), new_generation=True).counts.new == 0
    assert rows_of(store)[:2] == rows
    making = RegistryMaking.of(store.require("sid_registry").provenance)
    assert [known.generation for known in making.generations] == [first, made.generation]


def test_a_new_generation_that_is_made_in_the_same_way_gives_new_sids(tmp_path):
    store = Store(tmp_path)
    commit_inputs(store, {1: "a", 2: "a"})
    first = refresh(store, Room())
    kept = refresh(store, Room(1))
    assert (kept.counts.over, kept.generation) == (1, first.generation)
    again = refresh(store, Room(1), new_generation=True)
    assert (again.counts.over, again.counts.resolved) == (0, 1)
    assert again.generation.repeat == 1
    assert again.before == first.generation.id != again.generation.id
    later = refresh(store, Room(1))
    assert (later.generation, later.counts.new) == (again.generation, 0)


def test_the_same_inputs_give_the_same_version(tmp_path):
    store = Store(tmp_path)
    commit_inputs(store, {1: "a", 2: "b"})
    versions = set()
    for _ in range(3):
        refresh(store, Room())
        versions.add(store.require("sid_registry").provenance.version)
    assert len(versions) == 1
    assert store.require("sid_refreshes").rows == 3
