"""The drop-in command: OneRec's flags and columns, and the input that it accepts."""

import errno
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core.errors import InputError, StoreError
from sid_assets.core.quantise.checkpoint import save_checkpoint
from sid_assets.core.quantise.residual_kmeans import Encoder
from sid_assets.infer_res_kmeans import infer, main

DIM, SIZE, ROWS = 16, 20, 500


@pytest.fixture
def centroids():
    return np.random.default_rng(0).standard_normal((3, SIZE, DIM)).astype(np.float32)


@pytest.fixture
def vectors():
    return np.random.default_rng(1).standard_normal((ROWS, DIM)).astype(np.float32)


@pytest.fixture
def model(tmp_path, centroids):
    save_checkpoint(tmp_path / "tokenizer.pt", centroids, {})
    return tmp_path / "tokenizer.pt"


def write(path, vectors, pids=None, kind=None):
    """As OneRec writes embeddings: with pandas, one list per row."""
    pids = list(range(1000, 1000 + len(vectors))) if pids is None else pids
    kind = kind or pa.list_(pa.float32())
    table = pa.table({"pid": pids, "embedding": pa.array(list(vectors), kind)})
    pq.write_table(table, path, row_group_size=130)
    return path


def test_the_command_as_onerec_calls_it(tmp_path, model, vectors, centroids):
    write(tmp_path / "emb.parquet", vectors)
    result = subprocess.run(
        [
            *(sys.executable, "-m", "sid_assets.infer_res_kmeans"),
            *("--model_path", model, "--emb_path", tmp_path / "emb.parquet"),
            *("--output_path", tmp_path / "codes.parquet", "--batch_size", "64"),
            *("--device", "cpu", "--n_layers", "3"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "codes of 500 items" in result.stdout
    assert "500/500" in result.stderr  # the progress bar
    codes = pd.read_parquet(tmp_path / "codes.parquet")
    assert list(codes.columns) == ["pid", "codes"]
    assert codes["pid"].dtype == np.int64
    assert codes["pid"].tolist() == list(range(1000, 1500))
    np.testing.assert_array_equal(
        np.stack(codes["codes"].tolist()), Encoder(centroids).encode(vectors).codes
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "codes.parquet",
        "emb.parquet",
        "tokenizer.pt",
    ]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.large_list(pa.float32()),
        pa.list_(pa.float32(), DIM),
        pa.list_(pa.float64()),
        pa.list_(pa.float16()),
    ],
    ids=str,
)
def test_types_of_the_embedding_column(tmp_path, model, vectors, centroids, kind):
    vectors = vectors.astype(np.float16) if kind.value_type == pa.float16() else vectors
    write(tmp_path / "emb.parquet", vectors, kind=kind)
    assert infer(model, tmp_path / "emb.parquet", tmp_path / "codes.parquet") == ROWS
    codes = np.stack(pd.read_parquet(tmp_path / "codes.parquet")["codes"].tolist())
    expected = Encoder(centroids).encode(vectors.astype(np.float32)).codes
    np.testing.assert_array_equal(codes, expected)


def test_a_folder_of_files_string_ids_any_order_any_batch_size(tmp_path, model, vectors):
    folder = tmp_path / "emb"
    folder.mkdir()
    pids = [f"item-{number}" for number in np.random.default_rng(0).permutation(ROWS)]
    write(folder / "part-1.parquet", vectors[:200], pids[:200])
    write(folder / "part-2.parquet", vectors[200:], pids[200:])
    infer(model, folder, tmp_path / "a.parquet", batch_size=7)
    infer(model, folder, tmp_path / "b.parquet", batch_size=10_000)
    codes = pq.read_table(tmp_path / "a.parquet")
    assert codes["pid"].to_pylist() == pids
    assert codes.equals(pq.read_table(tmp_path / "b.parquet"))


def test_fewer_layers(tmp_path, model, vectors, centroids):
    write(tmp_path / "emb.parquet", vectors)
    infer(model, tmp_path / "emb.parquet", tmp_path / "codes.parquet", n_layers=2)
    codes = np.stack(pd.read_parquet(tmp_path / "codes.parquet")["codes"].tolist())
    np.testing.assert_array_equal(codes, Encoder(centroids).encode(vectors).codes[:, :2])
    with pytest.raises(InputError, match="has 3 layers, --n_layers asks for 4"):
        infer(model, tmp_path / "emb.parquet", tmp_path / "codes.parquet", n_layers=4)


def refuse(tmp_path, model, message):
    """The input is refused with this message, and existing output stays."""
    output = tmp_path / "codes.parquet"
    output.write_bytes(b"before")
    with pytest.raises(InputError, match=message):
        infer(model, tmp_path / "emb.parquet", output, batch_size=100)
    assert output.read_bytes() == b"before"
    assert not list(tmp_path.glob("*.tmp"))


def test_values_that_are_not_finite(tmp_path, model, vectors):
    vectors[[130, 131], 3] = np.nan
    write(tmp_path / "emb.parquet", vectors)
    refuse(tmp_path, model, r"emb\.parquet: column 'embedding': NaN.*2 rows.*ids: 1130, 1131")


def test_vectors_of_another_width(tmp_path, model, vectors):
    write(tmp_path / "emb.parquet", vectors[:, :-1])
    refuse(tmp_path, model, r"null or not 16 wide.*100 rows.*ids: 1000, 1001")


def test_one_vector_of_another_width_and_one_that_is_null(tmp_path, model, vectors):
    rows = list(vectors)
    rows[3], rows[8] = rows[3][:-1], None
    write(tmp_path / "emb.parquet", rows)
    refuse(tmp_path, model, r"null or not 16 wide.*2 rows.*ids: 1003, 1008")


def test_a_null_within_a_vector(tmp_path, model, vectors):
    rows: list[list[float | None]] = vectors.tolist()
    rows[5][2] = None
    write(tmp_path / "emb.parquet", rows)
    refuse(tmp_path, model, r"vectors with nulls.*1 row\).*ids: 1005")


def test_ids_that_repeat_or_are_null(tmp_path, model, vectors):
    pids: list[int | None] = list(range(ROWS))
    pids[10:13] = [7, 7, None]
    write(tmp_path / "emb.parquet", vectors, pids)
    refuse(tmp_path, model, r"column 'pid'.*earlier row \(3 rows\).*ids: 7, None")


def test_no_rows(tmp_path, model, vectors):
    write(tmp_path / "emb.parquet", vectors[:0], pa.array([], pa.int64()))
    refuse(tmp_path, model, r"emb\.parquet: no rows")


def test_missing_columns(tmp_path, model):
    pq.write_table(pa.table({"pid": [1], "vector": [[1.0]]}), tmp_path / "emb.parquet")
    refuse(tmp_path, model, "no column 'embedding'. Its columns: pid, vector")


def test_a_column_of_another_type(tmp_path, model):
    pq.write_table(pa.table({"pid": [1], "embedding": ["0.1 0.2"]}), tmp_path / "emb.parquet")
    refuse(tmp_path, model, "'embedding' has type string. Write the vectors as lists of floats")


def test_a_truncated_file(tmp_path, model, vectors):
    path = write(tmp_path / "emb.parquet", vectors)
    path.write_bytes(path.read_bytes()[:5000])
    refuse(tmp_path, model, r"emb\.parquet: not a readable parquet file; it is truncated")


def test_damage_within_a_file(tmp_path, model, vectors):
    path = write(tmp_path / "emb.parquet", vectors)
    content = bytearray(path.read_bytes())
    content[20_000:21_000] = b"\xff" * 1000
    path.write_bytes(content)
    refuse(tmp_path, model, r"emb\.parquet: (the file is damaged|column)")


def test_a_missing_file(tmp_path, model, capsys):
    arguments = ["--model_path", str(model), "--emb_path", str(tmp_path / "none.parquet")]
    assert main([*arguments, "--output_path", str(tmp_path / "codes.parquet")]) == 1
    assert "Error: " in capsys.readouterr().err
    assert not (tmp_path / "codes.parquet").exists()


def test_a_full_disk_is_told_and_leaves_no_file(tmp_path, model, vectors, monkeypatch):
    write(tmp_path / "vectors.parquet", vectors)

    def full(self, batch):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq.ParquetWriter, "write_batch", full)
    output = tmp_path / "codes.parquet"
    with pytest.raises(StoreError, match=r"codes\.parquet: cannot be written: No space left"):
        infer(model, tmp_path / "vectors.parquet", output)
    assert not list(tmp_path.glob("codes*"))
