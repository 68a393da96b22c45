"""Parts are scanned side by side; what is found does not depend on which is finished first."""

import os
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core.arrow.vectors import vectors_of
from sid_assets.core.contracts import part_scans
from sid_assets.core.contracts.part_scans import scan_parts
from sid_assets.core.contracts.tables import check_item_embeddings
from sid_assets.core.embeddings import cuts
from sid_assets.core.errors import StoreError
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets_tests.core.contracts.test_tables import rewritten
from sid_assets_tests.core.drawn_vectors import FakeEmbedder, embed, item_texts

PARTS = [[1, 2], [3, 4], [5, 6], [7, 8]]


@pytest.fixture
def vectors(tmp_path, monkeypatch) -> Version:
    """Vectors of eight items in four parts, and a machine of four cores."""
    monkeypatch.setattr(cuts, "CHUNK_ROWS", 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    return embed(Store(tmp_path), item_texts(range(1, 9)), FakeEmbedder()).version


def pids_of(rows: pa.RecordBatchReader) -> list[int]:
    return rows.read_all()["pid"].to_pylist()


def test_parts_are_read_side_by_side_and_results_are_in_their_order(vectors):
    all_begun = threading.Barrier(4)

    def scan(rows: pa.RecordBatchReader) -> list[int]:
        pids = pids_of(rows)
        all_begun.wait(timeout=60)
        return pids

    assert list(scan_parts(vectors, scan)) == PARTS


@pytest.mark.parametrize("cores", [1, None, 64])
def test_there_are_as_many_threads_as_cores_but_not_many(vectors, monkeypatch, cores):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(part_scans, "MOST_THREADS", 2)
    at_once, most, lock = 0, 0, threading.Lock()

    def scan(rows: pa.RecordBatchReader) -> list[int]:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        pids = pids_of(rows)
        with lock:
            at_once -= 1
        return pids

    assert list(scan_parts(vectors, scan)) == PARTS
    assert most <= (2 if cores == 64 else 1)


def test_the_error_is_that_of_the_first_damaged_part(vectors):
    for path in vectors.paths[1:3]:
        Path(path.path).unlink()
    found = []
    with pytest.raises(StoreError, match=vectors.parts[1].name):
        found.extend(scan_parts(vectors, pids_of))
    assert found in ([], PARTS[:1])


def test_a_part_with_other_columns_is_refused(vectors):
    path = Path(vectors.paths[2].path)
    other = rewritten(vectors, pq.read_table(path).drop_columns("text_hash"))
    parts = (*vectors.parts[:2], *other.parts, vectors.parts[3])
    with pytest.raises(StoreError, match="the columns differ"):
        list(scan_parts(Version(vectors.folder, vectors.provenance, "", parts), pids_of))


def test_findings_of_vectors_count_the_rows_of_all_parts_and_name_the_first(vectors, tmp_path):
    texts = Store(tmp_path).require("item_texts")
    tables = [pq.read_table(path.path) for path in vectors.paths]
    for place, table in enumerate(tables):
        numbers = vectors_of(table["embedding"]).copy()
        numbers[1] *= 2
        column = pa.FixedSizeListArray.from_arrays(numbers.reshape(-1), numbers.shape[1])
        tables[place] = table.set_column(1, table.schema.field(1), [column])
    parts = [part for table in tables for part in rewritten(vectors, table).parts]
    findings = check_item_embeddings(
        Version(vectors.folder, vectors.provenance, "", tuple(parts)), texts
    )
    wrong = {"rows_offending": 4, "first_ids": "2, 4, 6, 8"}
    assert findings["unit_norm"].metadata == findings["vector_hashes"].metadata == wrong
    assert {name for name, found in findings.items() if not found.passed} == {
        "unit_norm",
        "vector_hashes",
    }
