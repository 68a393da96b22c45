"""Input files in parquet: finding and checking them, in order."""

import resource
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.files import find_table_files
from sid_assets.core.inputs.parquet import ParquetInput, find_parquet_files, read_parquet_schemas


@pytest.mark.parametrize("kept", [0, 3, 200, -4, -30])
def test_a_truncated_parquet_file_is_named(tmp_path: Path, kept: int) -> None:
    table = pa.table({"pid": list(range(1000))})
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table, tmp_path / "b.parquet")
    whole = (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[:kept])
    with pytest.raises(InputError, match=r"b\.parquet: not a readable parquet file"):
        read_parquet_schemas(find_table_files(str(tmp_path)))


def test_parquet_schemas_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    for name in "cab":
        pq.write_table(pa.table({name: [1]}), tmp_path / f"{name}.parquet")
    schemas = read_parquet_schemas(find_table_files(str(tmp_path)))
    assert [schema.names for schema in schemas] == [["a"], ["b"], ["c"]]


def test_a_file_named_directly_may_have_any_ending_if_it_must_be_parquet(
    tmp_path,
):
    path = tmp_path / "vectors.bin"
    pq.write_table(pa.table({"pid": [1]}), path)
    assert find_parquet_files(str(path), "Vectors").names == (str(path),)
    with pytest.raises(InputError, match=r"no parquet, CSV or JSON lines here"):
        find_parquet_files(str(tmp_path), "Vectors")
    path.rename(tmp_path / "vectors.csv")
    with pytest.raises(InputError, match=r"vectors\.csv: is csv\. Vectors must be parquet"):
        find_parquet_files(str(tmp_path), "Vectors")


def test_other_files_in_the_folder_are_not_read(tmp_path: Path) -> None:
    for name in ("a", "_b", ".c", "_temporary/d", "deeper/e"):
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"uid": [name]}), path)
    read = [uid for batch in ParquetInput(str(tmp_path)).batches(["uid"]) for uid in batch["uid"]]
    assert [uid.as_py() for uid in read] == ["a", "deeper/e"]


def test_more_files_than_can_be_open_at_once(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(int(path.name) for path in Path("/dev/fd").iterdir()) + 40
    for number in range(limit):
        pq.write_table(pa.table({"uid": [number]}), tmp_path / f"{number:05d}.parquet")
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limits[1]))
    try:
        source = ParquetInput(str(tmp_path))
        assert len(list(source.pid_columns("uid"))) == limit
        assert [b["uid"][0].as_py() for b in source.batches(["uid"])] == list(range(limit))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def write(folder: Path, **files: dict) -> ParquetInput:
    """A folder of files, each with these columns."""
    for name, columns in files.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return ParquetInput(str(folder))


def rows(source: ParquetInput, *columns: str) -> list[tuple]:
    return [
        tuple(row[name] for name in columns)
        for batch in source.batches(columns)
        for row in batch.to_pylist()
    ]


def test_a_column_that_one_file_lacks_is_null_there_and_told(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        a={"uid": [1, 2], "mask": [[0], [1]]},
        b={"uid": [3]},
        c={"uid": [4], "mask": pa.array([[1]], pa.large_list(pa.int8())), "other": ["x"]},
        d={"mask": [[1]]},
    )
    read = [(1, [0]), (2, [1]), (3, None), (4, [1]), (None, [1])]
    assert rows(source, "uid", "mask") == read
    assert source.missing(["uid", "mask", "other", "none"]) == ["none"]
    assert source.warnings(["mask", "uid", "none"]) == [
        f"{tmp_path}/b.parquet: no column 'mask', which other files of {tmp_path} have. It is null "
        "there (1 rows).",
        f"{tmp_path}/d.parquet: no column 'uid', which other files of {tmp_path} have. It is null "
        "there (1 rows).",
    ]
    assert [name[-9:] for name, _ in source.types("mask")] == [
        "a.parquet",
        "c.parquet",
        "d.parquet",
    ]


def test_the_columns_of_files_without_rows_do_not_count(tmp_path: Path) -> None:
    none, floats = pa.nulls(0), pa.nulls(0, pa.float64())
    source = write(
        tmp_path,
        a={"uid": none, "hist": floats},
        b={"uid": ["x"], "hist": [[1]]},
        c={"index": floats},
    )
    assert source.columns == ["uid", "hist"]
    assert source.warnings(source.columns) == []
    source.require_in_all(["uid", "hist"])
    assert [kind for _, kind in source.types("hist")] == [pa.list_(pa.int64())]
    assert [column.stored for column in source.pid_columns("uid")] == ["text"]
    assert rows(source, "uid", "hist") == [("x", [1])]


def test_files_that_are_all_without_rows_have_columns(tmp_path: Path) -> None:
    source = write(tmp_path, a={"uid": pa.nulls(0)})
    assert source.columns == ["uid"]
    assert rows(source, "uid") == []


def test_a_file_that_does_not_belong_there_is_named_with_its_columns(tmp_path: Path) -> None:
    source = write(tmp_path, inter={"uid": [1], "split": [0]}, items={"pid": [1], "title": ["x"]})
    message = (
        rf"^{tmp_path}/items\.parquet: there is no column 'uid', 'split'\. Its .* pid, title\."
    )
    with pytest.raises(InputError, match=message):
        source.require_in_all(["uid", "split"])


def test_rows_without_a_split_beside_rows_with_one_are_not_guessed(tmp_path: Path) -> None:
    source = write(tmp_path, a={"uid": [1], "split": [1]}, b={"uid": [2]})
    with pytest.raises(InputError, match=r"b\.parquet: there is no column 'split'"):
        list(source.train_batches(["uid"]))


def test_text_beside_numbers_is_refused_with_both_files(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        a={"uid": pa.nulls(1), "n": [1]},
        b={"uid": [1], "n": [1.5]},
        c={"uid": ["x"], "n": pa.array([1], pa.uint8())},
    )
    source.require_one_kind(["n"])
    with pytest.raises(
        InputError, match=r"c\.parquet: column 'uid' holds string, .*b\.parquet .* int"
    ):
        source.require_one_kind(["n", "uid"])


def partitioned(folder: Path, **columns: list) -> ParquetInput:
    """Interactions of four users in folders as Spark names them."""
    places = ["split=0/lang=en", "split=1/lang=de", "split=1/lang=007"]
    places.append("split=__HIVE_DEFAULT_PARTITION__/lang=en")
    for uid, name in enumerate(places):
        (folder / name).mkdir(parents=True)
        table = pa.table({"uid": [uid], **{key: [values[uid]] for key, values in columns.items()}})
        pq.write_table(table, folder / name / "part-0.parquet")
    return ParquetInput(str(folder))


def test_columns_in_the_names_of_folders_are_read(tmp_path: Path) -> None:
    source = partitioned(tmp_path)
    assert source.columns == ["uid", "split", "lang"]
    found = sorted(rows(source, "uid", "split", "lang"))
    assert found == [(0, 0, "en"), (1, 1, "de"), (2, 1, "007"), (3, None, "en")]
    assert {kind for _, kind in source.types("split")} == {pa.int64()}
    trained = [batch["uid"].to_pylist() for batch in source.train_batches(["uid"])]
    assert sorted(trained) == [[], [], [], [0]]
    source.require_in_all(["split", "uid"])


@pytest.mark.parametrize(
    "values",
    [
        [0, 1, 1, None],
        ["0", "1", "1", None],
        [0.0, 1.0, 1.0, None],
        [False, True, True, None],
    ],
)
def test_a_column_in_files_and_folders_must_agree(tmp_path: Path, values: list) -> None:
    source = partitioned(tmp_path / "agree", split=values)
    assert sorted(uid for uid, _ in rows(source, "uid", "split")) == [0, 1, 2, 3]
    for wrong in (0, 3):
        differing = [*values[:wrong], values[1], *values[wrong + 1 :]]
        source = partitioned(tmp_path / f"differ_{wrong}", split=differing)
        with pytest.raises(InputError, match=r"parquet: column 'split' holds .* its folder says"):
            rows(source, "uid", "split")
        assert len(rows(source, "uid")) == 4
