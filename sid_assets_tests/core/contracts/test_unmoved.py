"""SIDs of two versions, compared; also where the earlier version is damaged."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core import schema
from sid_assets.core.arrow.hashes import text_hash
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.arrow.vectors import vector_array
from sid_assets.core.contracts.findings import Finding
from sid_assets.core.contracts.unmoved import SidChange, SidChanges, check_unmoved, sid_changes
from sid_assets.core.schema import EMBEDDING_DIM, HASH
from sid_assets.core.store.parts import PartWriter
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets_tests.core.quality.small_tables import batches, codes_table, texts_table

versions = st.dictionaries(
    st.integers(0, 30),
    st.tuples(st.tuples(*[st.integers(0, 1)] * 3), st.sampled_from(["a", "b", None])),
    max_size=20,
)
"""pid -> (SID, vector). No vector: its hash could not be read."""


def version(items):
    ordered = sorted(items)
    vectors = [items[pid][1] for pid in ordered]
    table = codes_table(
        [items[pid][0] for pid in ordered],
        pids=ordered,
        vectors=[vector or "" for vector in vectors],
    )
    hashes = [vector and text_hash(vector) for vector in vectors]
    return table.set_column(2, "vector_hash", pa.array(hashes, HASH))


@given(versions, versions, st.integers(1, 9), st.integers(1, 9))
def test_counts_match_brute_force(before, after, rows_before, rows_after):
    found = sid_changes(batches(version(before), rows_before), batches(version(after), rows_after))
    both = before.keys() & after.keys()
    known = {pid for pid in both if before[pid][1] and after[pid][1]}
    same = {pid for pid in known if before[pid][1] == after[pid][1]}
    other_sid = {pid for pid in both if before[pid][0] != after[pid][0]}

    def first(pids):
        return tuple(SidChange(pid, before[pid][0], after[pid][0]) for pid in sorted(pids)[:5])

    assert found == SidChanges(
        added=len(after.keys() - both),
        removed=len(before.keys() - both),
        unchanged=len(same),
        edited=len(known - same),
        unknown=len(both - known),
        moved=len(same & other_sid),
        edited_and_moved=len(other_sid & (known - same)),
        unknown_and_moved=len(other_sid - known),
        first_moved=first(same & other_sid),
        first_unknown=first(other_sid - known),
    )


def test_an_item_with_the_same_text_and_another_sid():
    columns = pa.schema([("text_hash", HASH)])
    before = joined(
        batches(codes_table([(0, 0, 0), (1, 1, 1)])), batches(texts_table(["a", "b"])), columns
    )
    after = joined(
        batches(codes_table([(0, 0, 7), (1, 1, 2)])), batches(texts_table(["a", "B"])), columns
    )
    found = sid_changes(before, after, compared=["text_hash"])
    assert (found.moved, found.edited_and_moved) == (1, 1)
    assert found.first_moved == (SidChange(0, (0, 0, 0), (0, 0, 7)),)


@pytest.mark.parametrize("pids", [["a", "b"], [1, 2]])
def test_the_first_version_adds_everything(pids):
    found = sid_changes([], batches(codes_table([(0, 0, 0)] * 2, pids=pids)))
    assert (found.added, found.removed, found.unchanged) == (2, 0, 0)


ITEMS = range(40)
PART = 10
"""Items in a part, so that damage to a part is damage to ten items."""


class Catalog:
    """The tables that SIDs are made from, without an embedder and a tokenizer.

    An item's text, vector and codes are numbers: equal numbers are equal texts, vectors and codes.
    """

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)

    def make(
        self,
        codes: Mapping[int, int],
        texts: Mapping[int, int] | None = None,
        vectors: Mapping[int, int] | None = None,
    ) -> tuple[Version, Version]:
        """Commit vectors and codes of 40 items, given what is not 0."""
        hashes = [text_hash(f"text {(texts or {}).get(pid, 0)}") for pid in ITEMS]
        of_vectors = [f"vector {(vectors or {}).get(pid, 0)}" for pid in ITEMS]
        rows = pa.table(
            [
                pa.array(ITEMS),
                vector_array(np.zeros((len(ITEMS), EMBEDDING_DIM), np.float32)),
                pa.array(hashes, HASH),
                pa.array(map(text_hash, of_vectors), HASH),
            ],
            schema=schema.item_embeddings("int"),
        )
        embedded = self._commit("item_embeddings", rows, {})
        made = codes_table([(codes.get(pid, 0), 0, 0) for pid in ITEMS], vectors=of_vectors)
        inputs = {"item_embeddings": embedded.provenance.version}
        return embedded, self._commit("codes", made, inputs)

    def publish(self, codes: Version) -> Version:
        rows = codes.stream(["pid", "codes"]).read_all().rename_columns(["pid", "sid"])
        rows = rows.cast(schema.pid2sid("int"))
        return self._commit("pid2sid", rows, {"codes": codes.provenance.version})

    def _commit(self, table: str, rows: pa.Table, inputs: dict[str, str]) -> Version:
        with self.store.draft(table) as draft:
            draft.begin()
            parts = []
            for start in range(0, rows.num_rows, PART):
                path = draft.folder / f"part-{start}.parquet"
                with PartWriter(path, rows.schema) as writer:
                    writer.write(rows.slice(start, PART))
                parts.append(writer.part)
            draft.finish(parts, Provenance(table, inputs=inputs))
        return self.store.commit(draft)

    def check(self, codes: Version, published: Version) -> Finding:
        return check_unmoved(codes, published, self.store.require("item_embeddings"))["unmoved"]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path)


def _flip(version: Version, part: int, place: float = 0.5) -> None:
    """Invert a byte of a part, at a place between 0 (its start) and 1 (its end)."""
    path = Path(version.paths[part].path)
    content = bytearray(path.read_bytes())
    content[min(int(place * len(content)), len(content) - 1)] ^= 0xFF
    path.write_bytes(content)


def _empty(version: Version, part: int) -> None:
    Path(version.paths[part].path).write_bytes(b"")


def _remove(version: Version, part: int) -> None:
    Path(version.paths[part].path).unlink()


DAMAGE = [_empty, _remove, lambda version, part: _flip(version, part, 1)]


@pytest.mark.parametrize("moved", [{}, {15: 1}])
@pytest.mark.parametrize("damage", DAMAGE)
def test_lost_text_hashes_are_replaced_by_hashes_of_vectors(catalog, damage, moved):
    vectors, codes = catalog.make({})
    published = catalog.publish(codes)
    damage(vectors, 1)
    edited = {0: 1, 12: 1}
    _, after = catalog.make(edited | moved, texts=edited, vectors=edited)
    found = catalog.check(after, published)
    assert found.passed == (not moved)
    assert f"{len(moved)} of 38 items with unchanged text have a new SID" in found.description
    assert found.metadata["edited"] == 2
    assert found.metadata["not_compared"] == 0


@pytest.mark.parametrize("damage", DAMAGE)
def test_lost_hashes_of_vectors_do_not_matter_where_texts_are_known(catalog, damage):
    _, codes = catalog.make({})
    published = catalog.publish(codes)
    damage(codes, 2)
    _, after = catalog.make({1: 1, 22: 1}, texts={1: 1, 22: 1}, vectors={1: 1, 22: 1})
    found = catalog.check(after, published)
    assert found.passed
    assert (found.metadata["unchanged"], found.metadata["not_compared"]) == (38, 0)


@pytest.mark.parametrize("damage", DAMAGE)
def test_items_that_neither_text_nor_vector_tells_about_are_not_compared(catalog, damage):
    vectors, codes = catalog.make({})
    published = catalog.publish(codes)
    damage(vectors, 1)
    damage(codes, 1)
    _, after = catalog.make({0: 1, 12: 1, 17: 1}, texts={0: 1}, vectors={0: 1})
    found = catalog.check(after, published)
    assert found.passed
    assert "not compared: 2 items have a new SID, but whether" in found.description
    assert "(first ids: 12, 17)" in found.description
    assert str(vectors.paths[1]) in found.description
    assert str(codes.paths[1]) in found.description
    assert found.metadata["not_compared"] == 2


def test_an_item_that_can_be_compared_fails_the_check_beside_damage(catalog):
    vectors, codes = catalog.make({})
    published = catalog.publish(codes)
    _empty(vectors, 1)
    _empty(codes, 1)
    _, after = catalog.make({0: 1, 12: 1, 33: 1}, texts={0: 1}, vectors={0: 1})
    found = catalog.check(after, published)
    assert not found.passed
    assert "first ids: 33." in found.description


@pytest.mark.parametrize("damage", DAMAGE)
def test_lost_published_sids_are_taken_from_the_codes_behind_them(catalog, damage):
    _, codes = catalog.make({5: 3, 15: 3})
    published = catalog.publish(codes)
    damage(published, 1)
    _, moved = catalog.make({5: 3, 15: 4})
    found = catalog.check(moved, published)
    assert not found.passed
    assert "first ids: 15." in found.description
    assert found.metadata["unchanged"] == 40


@pytest.mark.parametrize("damage", DAMAGE)
def test_published_sids_that_are_lost_for_good_are_not_compared(catalog, damage):
    _, codes = catalog.make({})
    published = catalog.publish(codes)
    damage(published, 3)
    damage(codes, 3)
    _, after = catalog.make({0: 1, 31: 1}, texts={0: 1}, vectors={0: 1})
    found = catalog.check(after, published)
    assert found.passed
    assert "10 published SIDs are lost (ids from 30 to 39)" in found.description
    assert (found.metadata["unchanged"], found.metadata["not_compared"]) == (29, 10)


def test_without_the_codes_behind_them_every_new_sid_is_reported(catalog):
    _, codes = catalog.make({})
    published = catalog.publish(codes)
    catalog.make({0: 1}, texts={0: 1})
    _, after = catalog.make({0: 1, 4: 1}, texts={0: 1, 4: 1})
    found = catalog.check(after, published)
    assert not found.passed
    assert "2 of 40 items have a new SID; whether their texts changed is unknown" in (
        found.description
    )


def test_a_manifest_of_an_earlier_version_that_cannot_be_read(catalog):
    vectors, codes = catalog.make({})
    published = catalog.publish(codes)
    _, after = catalog.make({3: 1}, texts={3: 1}, vectors={3: 1})
    (vectors.folder / "_manifest.json").write_text("[]")
    found = catalog.check(after, published)
    assert found.passed
    assert found.metadata["edited"] == 1
