"""Which tables belong together, after commits of only some of them."""

import pyarrow as pa
import pytest

from sid_assets.core.store.lineage import replaced_inputs
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


def _commit(store: Store, table: str, value: int, *inputs: Version) -> Version:
    made_from = {version.provenance.asset: version.provenance.version for version in inputs}
    reader = pa.table({"n": [value]}).to_reader()
    return store.commit(draft_rows(store, table, reader, Provenance(table, inputs=made_from)))


def test_a_chain_of_tables(store):
    first = _commit(store, "first", 1)
    second = _commit(store, "second", 1, first)
    third = _commit(store, "third", 1, second)
    assert replaced_inputs(store, third) == []
    _commit(store, "first", 2)
    assert replaced_inputs(store, second) == ["first"]
    assert replaced_inputs(store, third) == ["first"]
    _commit(store, "second", 2, store.require("first"))
    assert replaced_inputs(store, third) == ["second"]


def test_the_same_content_committed_again_replaces_nothing(store):
    first = _commit(store, "first", 1)
    second = _commit(store, "second", 1, first)
    _commit(store, "first", 1)
    assert replaced_inputs(store, second) == []


def test_inputs_that_are_not_in_the_store_do_not_count(store):
    gone = Version(store.root, Provenance("gone", version="v1"), "", ())
    assert replaced_inputs(store, _commit(store, "first", 1, gone)) == []


def test_a_tokenizer_outlasts_its_vectors(store):
    vectors = _commit(store, "item_embeddings", 1)
    tokenizer = _commit(store, "tokenizer_checkpoint", 1, vectors)
    codes = _commit(store, "codes", 1, vectors, tokenizer)
    codes = _commit(store, "codes", 2, _commit(store, "item_embeddings", 2), tokenizer)
    assert replaced_inputs(store, codes) == []
