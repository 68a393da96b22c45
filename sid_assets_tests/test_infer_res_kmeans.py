"""The drop-in command: OneRec's flags and columns, and the input that it accepts."""

import errno
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


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_types_of_text_ids(tmp_path, model, vectors, kind):
    pids = [f"item-{number}" for number in range(ROWS)]
    write(tmp_path / "emb.parquet", vectors, pa.array(pids).cast(kind))
    infer(model, tmp_path / "emb.parquet", tmp_path / "codes.parquet")
    assert pq.read_table(tmp_path / "codes.parquet")["pid"].to_pylist() == pids
    vectors[7, 0] = np.nan
    write(tmp_path / "emb.parquet", vectors, pa.array(pids).cast(kind))
    refuse(tmp_path, model, "ids: 'item-7'")


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


def refuse_output(tmp_path, model, emb, output, message):
    """The output is refused before any work: no tokenizer and no vectors need to be read."""
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=message):
        infer(model, emb, output)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_output_that_is_a_folder_or_not_in_a_folder(tmp_path, model, vectors):
    emb = write(tmp_path / "emb.parquet", vectors)
    (tmp_path / "codes").mkdir()
    refuse_output(tmp_path, model, emb, tmp_path / "codes", r"is a folder.*codes/codes\.parquet")
    refuse_output(tmp_path, model, emb, emb / "codes.parquet", r"emb\.parquet is not a folder")
    refuse_output(tmp_path, model, emb, "/dev/null", "is no ordinary file")
    refuse_output(tmp_path, model, emb, "memory://codes.parquet", "not a local path")
    refuse_output(tmp_path, model, emb, tmp_path / ("n" * 300), "--output_path .*too long")


def test_an_output_folder_without_write_permission(tmp_path, model, vectors, monkeypatch):
    emb = write(tmp_path / "emb.parquet", vectors)
    monkeypatch.setattr("os.access", lambda *_: False)  # tests may run as root, who may write all
    refuse_output(tmp_path, model, emb, tmp_path / "a" / "b.parquet", "without write permission")


def test_an_output_that_is_an_input_is_never_overwritten(tmp_path, model, vectors):
    emb = write(tmp_path / "emb.parquet", vectors)
    (tmp_path / "link.parquet").symlink_to(emb)
    (tmp_path / "hard.parquet").hardlink_to(emb)
    for output in (emb, tmp_path / "link.parquet", tmp_path / "hard.parquet"):
        refuse_output(tmp_path, model, emb, output, "is the input .*emb.parquet.*not overwritten")
    refuse_output(tmp_path, model, emb, model, "is the input .*tokenizer.pt")


def test_an_output_among_the_vectors(tmp_path, model, vectors):
    folder = tmp_path / "emb"
    folder.mkdir()
    write(folder / "1.parquet", vectors)
    (tmp_path / "link").symlink_to(folder)
    for output in (
        folder / "codes.parquet",
        folder / "a/codes.parquet",
        tmp_path / "link/c.parquet",
    ):
        refuse_output(tmp_path, model, folder, output, "lies among the vectors")
    glob = folder / "*.parquet"
    refuse_output(tmp_path, model, glob, folder / "codes.parquet", "lies among the vectors")
    assert infer(model, folder / "1*.parquet", folder / "codes.parquet") == ROWS


def test_a_file_whose_name_is_that_of_the_output_with_an_ending(tmp_path, model, vectors):
    """Such names were used while writing."""
    emb = write(tmp_path / "codes.parquet.tmp", vectors)
    assert infer(model, emb, tmp_path / "new" / "folder" / "codes.parquet") == ROWS
    assert infer(model, emb, tmp_path / "codes.parquet") == ROWS
    assert emb.exists()
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk(tmp_path, model, vectors, monkeypatch):
    emb = write(tmp_path / "emb.parquet", vectors)
    output = tmp_path / "codes.parquet"
    output.write_bytes(b"before")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_batch", full)
    with pytest.raises(StoreError, match=r"codes\.parquet: cannot be written: No space left.*free"):
        infer(model, emb, output)
    assert output.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "codes.parquet",
        "emb.parquet",
        "tokenizer.pt",
    ]


def test_parts_whose_ids_are_integers_of_two_widths(tmp_path, model, vectors):
    folder = tmp_path / "emb"
    folder.mkdir()
    write(folder / "1.parquet", vectors[:3], pa.array([1 << 40, 2, 3], pa.int64()))
    write(folder / "2.parquet", vectors[3:6], pa.array([4, 5, 6], pa.int32()))
    infer(model, folder, tmp_path / "codes.parquet")
    codes = pq.read_table(tmp_path / "codes.parquet")
    assert codes["pid"].to_pylist() == [1 << 40, 2, 3, 4, 5, 6]
    assert codes.schema.field("pid").type == pa.int64()


@pytest.mark.parametrize("order", [("1", "2"), ("2", "1")])
def test_parts_whose_ids_are_numbers_and_text(tmp_path, model, vectors, order):
    folder = tmp_path / "emb"
    folder.mkdir()
    write(folder / f"{order[0]}.parquet", vectors[:3], [1, 2, 3])
    write(folder / f"{order[1]}.parquet", vectors[3:6], ["4", "5", "a"])
    with pytest.raises(InputError, match=r"emb/\d\.parquet: column 'pid' holds"):
        infer(model, folder, tmp_path / "codes.parquet")


def test_a_hive_folder_with_the_notes_of_other_programs(tmp_path, model, vectors):
    folder = tmp_path / "emb"
    for name in ("category=a", "category=b"):
        (folder / name).mkdir(parents=True)
    write(folder / "category=a" / "1.parquet", vectors[:5], [1, 2, 3, 4, 5])
    write(folder / "category=b" / "2.parquet", vectors[5:8], [6, 7, 8])
    for note in ("_SUCCESS", ".DS_Store", "category=a/._1.parquet", "category=b/.2.parquet.crc"):
        (folder / note).write_bytes(b"\0\5\x16\7")
    assert infer(model, folder, tmp_path / "codes.parquet") == 8


@pytest.mark.parametrize("name", ["[1].parquet", "a?.parquet", "all*/1.parquet", "{a,b}.parquet"])
def test_names_that_look_like_patterns(tmp_path, model, vectors, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    write(tmp_path / name, vectors)
    write(tmp_path / "1.parquet", vectors[:1])
    assert infer(model, tmp_path / name, tmp_path / "codes" / name) == ROWS
    folder = (tmp_path / name).parent
    if folder != tmp_path:
        assert infer(model, folder, tmp_path / "codes.parquet") == ROWS


def test_a_column_that_occurs_twice(tmp_path, model, vectors):
    rows = pa.array(list(vectors), pa.list_(pa.float32()))
    names = ["pid", "embedding", "embedding"]
    table = pa.Table.from_arrays([pa.array(range(ROWS)), rows, rows], names)
    pq.write_table(table, tmp_path / "emb.parquet")
    refuse(tmp_path, model, "has more than one column 'embedding'")


def test_more_rows_at_a_time_than_an_integer_holds(tmp_path, model, vectors):
    write(tmp_path / "emb.parquet", vectors)
    assert infer(model, tmp_path / "emb.parquet", tmp_path / "c.parquet", batch_size=10**30) == ROWS


def test_a_tokenizer_with_more_centroids_than_onerec_has_tokens_for(tmp_path, vectors):
    save_checkpoint(tmp_path / "large.pt", np.zeros((1, 8193, DIM), np.float32), {})
    emb = write(tmp_path / "emb.parquet", vectors)
    with pytest.raises(InputError, match=r"large\.pt.*8,193 centroids.*at most 8192"):
        infer(tmp_path / "large.pt", emb, tmp_path / "codes.parquet")
