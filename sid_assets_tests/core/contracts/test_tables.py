"""Contracts: for each, a file that breaks it, and the finding that says so."""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core import schema
from sid_assets.core.arrow.hashes import text_hash
from sid_assets.core.arrow.vectors import vector_array, vectors_of
from sid_assets.core.contracts import tables as contracts
from sid_assets.core.contracts.findings import Finding
from sid_assets.core.errors import StoreError
from sid_assets.core.store.parts import Part
from sid_assets.core.store.provenance import EmbeddingSpace, Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows
from sid_assets_tests.core.drawn_vectors import FakeEmbedder, embed, item_texts

PIDS = range(1, 9)
NUMBERS = itertools.count()
CODEBOOK_SIZE = 16


@pytest.fixture
def store(tmp_path) -> Store:
    """Texts, vectors, codes and SIDs of a few items, as they should be."""
    store = Store(tmp_path)
    vectors = embed(store, item_texts(PIDS), FakeEmbedder()).version
    rows = vectors.stream(["pid", "vector_hash"]).read_all()
    codes = [[pid, 0, CODEBOOK_SIZE - 1] for pid in PIDS]
    norms = vector_array(np.ones((len(PIDS), 4), np.float32))
    columns = [rows["pid"], codes, rows["vector_hash"], norms]
    commit(store, "codes", pa.table(columns, schema=schema.codes("int")))
    commit(store, "pid2sid", pa.table([rows["pid"], codes], schema=schema.pid2sid("int")))
    return store


def commit(store: Store, table: str, rows: pa.Table) -> Version:
    return store.commit(draft_rows(store, table, rows.to_reader(), Provenance(table)))


def rewritten(version: Version, rows: pa.Table) -> Version:
    """A version with a file of other rows, written by a program that checks nothing."""
    path = Path(version.folder.path) / f"rewritten-{next(NUMBERS)}.parquet"
    pq.write_table(rows, path)
    content = path.read_bytes()
    footer = content[-8 - int.from_bytes(content[-8:-4], "little") :]
    part = Part(
        name=path.name,
        rows=rows.num_rows,
        bytes=len(content),
        digest=hashlib.sha256(content).hexdigest(),
        footer_bytes=len(footer),
        footer_digest=hashlib.sha256(footer).hexdigest(),
    )
    return replace(version, parts=(part,))


def changed(version: Version, row: int, **values) -> Version:
    """A version with other values in a row; nulls are allowed even in columns without nulls."""
    table = version.stream().read_all()
    for name, value in values.items():
        column = table[name].to_pylist()
        column[row] = value
        field = pa.field(name, table.schema.field(name).type)
        index = table.schema.get_field_index(name)
        table = table.set_column(index, field, pa.array(column, field.type))
    return rewritten(version, table)


def with_vector(version: Version, row: int, vector: np.ndarray) -> Version:
    """A version with another vector in a row."""
    table = version.stream().read_all()
    vectors = vectors_of(table["embedding"]).copy()
    vectors[row] = vector
    index = table.schema.get_field_index("embedding")
    return rewritten(version, table.set_column(index, "embedding", vector_array(vectors)))


def broken(findings: dict[str, Finding]) -> set[str]:
    """The checks that failed."""
    return {name for name, finding in findings.items() if not finding.passed}


def check_codes(version: Version, store: Store) -> dict[str, Finding]:
    return contracts.check_codes(version, store.require("item_embeddings"), CODEBOOK_SIZE)


def test_all_hold_if_nothing_is_wrong(store):
    texts, vectors, codes = map(store.require, ("item_texts", "item_embeddings", "codes"))
    assert broken(contracts.check_item_texts(texts, None)) == set()
    assert broken(contracts.check_item_embeddings(vectors, texts)) == set()
    assert broken(check_codes(codes, store)) == set()
    for name in ("item_texts", "item_embeddings", "codes", "pid2sid"):
        wanted = schema.TABLES[name].schema("int")
        assert contracts.check_files(store.require(name), wanted).passed


# --- files


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "other"])
@pytest.mark.parametrize("table", ["item_texts", "item_embeddings", "codes", "pid2sid"])
def test_a_file_that_was_tampered_with_is_noticed(store, table, damage):
    version = store.require(table)
    path = Path(version.paths[0].path)
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[50] ^= 1  # in the first page of the first column
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "gone":
        path.unlink()
    else:  # a sound parquet file of the same columns
        pq.write_table(version.stream().read_all(), path)
    finding = contracts.check_files(version, schema.TABLES[table].schema("int"))
    if damage == "flip":
        # A file of the right size: what is wrong shows when its rows are read.
        assert finding.passed
        with pytest.raises(StoreError, match=path.name):
            version.stream().read_all()
    else:
        assert not finding.passed
        assert str(path) in finding.description


def test_a_file_of_other_columns_is_noticed(store):
    texts = store.require("item_texts")
    wanted = schema.item_texts("int")
    for other in (
        texts.stream().read_all().select(["pid", "text"]),
        texts.stream().read_all().cast(pa.schema([field.with_nullable(True) for field in wanted])),
        texts.stream().read_all().set_column(0, "pid", pa.array(map(str, PIDS))),
    ):
        finding = contracts.check_files(rewritten(texts, other), wanted)
        assert not finding.passed
        assert finding.description.startswith("columns are pid: ")


# --- item_texts


@pytest.mark.parametrize(
    ("values", "contract"),
    [
        ({"pid": 1}, "pids"),
        ({"pid": -5}, "pids"),
        ({"pid": None}, "pids"),
        ({"text": ""}, "texts"),
        ({"text": " \n\t"}, "texts"),
        ({"text": None}, "texts"),
        ({"text_hash": b"x" * 16}, "text_hashes"),
        ({"text_hash": None}, "text_hashes"),
    ],
)
def test_a_broken_item_text(store, values, contract):
    findings = contracts.check_item_texts(changed(store.require("item_texts"), 1, **values), None)
    expected = {contract, "text_hashes"} if contract == "texts" else {contract}
    assert broken(findings) == expected
    # After a null, the order of the next row is unknown too.
    count = 2 if values == {"pid": None} else 1
    assert findings[contract].metadata["rows_offending"] == count
    assert f"{count} rows; first ids: " in findings[contract].description


def test_no_item_texts_at_all(store):
    texts = store.require("item_texts")
    empty = rewritten(texts, schema.item_texts("int").empty_table())
    assert broken(contracts.check_item_texts(empty, None)) == {"rows"}


def test_pid_zero_is_worth_a_warning(store):
    texts = changed(store.require("item_texts"), 0, pid=0)
    assert broken(contracts.check_item_texts(texts, None)) == {"pid_zero"}


def test_rejected_rows_are_worth_a_warning(store):
    rejected = commit(store, "item_texts_rejected", pa.table({"pid": ["x"], "reason": ["y"]}))
    findings = contracts.check_item_texts(store.require("item_texts"), rejected)
    assert broken(findings) == {"rejected"}
    assert "1 rows of the catalog were rejected" in findings["rejected"].description


# --- item_embeddings


def vectors_that_break() -> Iterator[tuple[np.ndarray, set[str]]]:
    unit = FakeEmbedder().vector("any")
    yield unit, {"vector_hashes"}
    yield unit * 1.01, {"vector_hashes", "unit_norm"}
    yield np.zeros_like(unit), {"vector_hashes", "unit_norm"}
    for value in (np.nan, np.inf):
        bad = unit.copy()
        bad[17] = value
        yield bad, {"vector_hashes", "unit_norm", "finite"}


@pytest.mark.parametrize(("vector", "contract"), list(vectors_that_break()))
def test_a_broken_vector(store, vector, contract):
    version = with_vector(store.require("item_embeddings"), 3, vector)
    findings = contracts.check_item_embeddings(version, store.require("item_texts"))
    assert broken(findings) == contract
    assert findings["vector_hashes"].metadata == {"rows_offending": 1, "first_ids": "4"}


def test_vectors_of_another_width(store):
    version = store.require("item_embeddings")
    table = version.stream().read_all()
    narrow = vector_array(np.ones((len(PIDS), 1024), np.float32))
    findings = contracts.check_item_embeddings(
        rewritten(version, table.set_column(1, "embedding", narrow)), store.require("item_texts")
    )
    assert broken(findings) == {"width"}
    assert "[1024]" in findings["width"].description


def test_vectors_of_other_items_or_other_texts(store):
    vectors, texts = store.require("item_embeddings"), store.require("item_texts")
    table = vectors.stream().read_all()
    other = changed(texts, 2, text="another", text_hash=text_hash("another"))
    findings = contracts.check_item_embeddings(vectors, other)
    assert broken(findings) == {"same_text_hash"}
    assert findings["same_text_hash"].metadata == {"rows_offending": 1, "first_ids": "3"}
    for rows in (table.slice(1), table.slice(0, 5)):
        findings = contracts.check_item_embeddings(rewritten(vectors, rows), texts)
        assert broken(findings) == {"same_pids"}
        assert f"{rows.num_rows} pids; item_texts has 8. They differ" in (
            findings["same_pids"].description
        )


def test_vectors_in_another_order_or_repeated(store):
    vectors, texts = store.require("item_embeddings"), store.require("item_texts")
    table = vectors.stream().read_all()
    for rows in ([1, 0, *range(2, 8)], [0, 0, *range(2, 8)]):
        findings = contracts.check_item_embeddings(rewritten(vectors, table.take(rows)), texts)
        assert broken(findings) == {"pids", "same_pids"}


# --- codes and pid2sid


@pytest.mark.parametrize(
    ("codes", "contract"),
    [
        ([1, 2], {"three_codes"}),
        ([1, 2, 3, 4], {"three_codes"}),
        ([], {"three_codes"}),
        (None, {"three_codes"}),
        ([1, 2, CODEBOOK_SIZE], {"codes_in_range"}),
        ([-1, 2, 3], {"codes_in_range"}),
        ([1, None, 3], {"codes_in_range"}),
        ([1, 2, 3, -4], {"three_codes", "codes_in_range"}),
    ],
)
@pytest.mark.parametrize("row", [0, 4, 7])
def test_broken_codes(store, codes, contract, row):
    findings = check_codes(changed(store.require("codes"), row, codes=codes), store)
    assert broken(findings) == contract
    for name in contract:
        assert findings[name].metadata == {"rows_offending": 1, "first_ids": str(PIDS[row])}


def test_codes_of_other_vectors_or_items(store):
    version = store.require("codes")
    assert broken(check_codes(changed(version, 2, vector_hash=b"x" * 16), store)) == {
        "same_vector_hash"
    }
    table = version.stream().read_all()
    assert broken(check_codes(rewritten(version, table.slice(1)), store)) == {"same_pids"}


# --- the tokenizer

SPACE = FakeEmbedder().space


def check_tokenizer(centroids: np.ndarray, space: EmbeddingSpace | None = SPACE) -> set[str]:
    def version(table: str, space: EmbeddingSpace | None) -> Version:
        return Version(Store("x").root, Provenance(table, space=space), created="", parts=())

    return broken(
        contracts.check_tokenizer(
            centroids,
            version("tokenizer_checkpoint", space),
            version("item_embeddings", SPACE),
            np.eye(8, 4096, dtype=np.float32),
        )
    )


def test_a_tokenizer():
    good = np.random.default_rng(0).normal(0, 0.01, (3, 16, 4096)).astype(np.float32)
    assert check_tokenizer(good) == set()
    assert check_tokenizer(good[:2]) == {"shape"}
    assert check_tokenizer(good[:, :, :1024]) == {"shape"}
    assert check_tokenizer(np.zeros((3, 8193, 4), np.float32)) == {"shape"}
    assert check_tokenizer(np.where(good > 0.03, np.nan, good)) == {"finite"}
    assert check_tokenizer(good * 100) == {"scale"}
    assert check_tokenizer(good / 100) == {"scale"}
    assert check_tokenizer(good, FakeEmbedder(model="other").space) == {"embedding_space"}
    assert check_tokenizer(good, None) == {"embedding_space"}


# --- pid_map


@pytest.mark.parametrize(
    ("rows", "contract"),
    [
        ({"a": 1, "b": 3, "c": 2}, set()),
        ({"a": 1, "b": 3, "c": 2, "gone": 4}, set()),
        ({"a": 1, "b": 2, "c": 2}, {"numbers"}),
        ({"a": 0, "b": 1, "c": 2}, {"numbers"}),
        ({"a": 1, "b": 2, "c": 4}, {"numbers"}),
        ({"a": 1, "b": 2}, {"numbers"}),
    ],
)
def test_numbers_for_string_ids(tmp_path, rows, contract):
    store = Store(tmp_path)
    sids = pa.table([["a", "b", "c"], [[1, 2, 3]] * 3], schema=schema.pid2sid("string"))
    columns = schema.TABLES["pid_map"].schema("string")
    table = pa.table([list(rows), list(rows.values())], schema=columns)
    version = rewritten(commit(store, "pid_map", table), table)
    findings = contracts.check_pid_map(version, commit(store, "pid2sid", sids))
    assert broken(findings) == contract
    assert findings.keys() == {check.name for check in contracts.check_pid_map.checks}
