"""A table with a log of its own is refused, wherever it lies, with the line that exports it."""

from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.files import find_table_files

TABLES = {
    "Delta": (
        "DeltaTable(",
        ["_delta_log/00000000000000000000.json"],
        ["a.parquet", "d=1/b.parquet"],
    ),
    "Iceberg": ("StaticTable", ["metadata/00000-x.metadata.json"], ["data/d=1/0.parquet"]),
    "Iceberg, compressed": ("StaticTable", ["metadata/v1.gz.metadata.json"], ["data/0.parquet"]),
    "Hudi": ("'hudi'", [".hoodie/hoodie.properties"], ["d=1/0.parquet"]),
    "datasets": ("load_from_disk", ["state.json", "dataset_info.json"], ["data-0.arrow"]),
    "datasets, several": (
        "load_from_disk",
        ["dataset_dict.json", "train/state.json", "train/dataset_info.json"],
        ["train/data-0.arrow"],
    ),
}


def write(folder: Path, table: str) -> list[str]:
    """Write such a table; returns the names of its data files."""
    _, notes, data = TABLES[table]
    for name in (*notes, *data):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")
    return data


@pytest.mark.parametrize("table", TABLES)
def test_a_table_with_a_log_is_refused_wherever_it_is_named(tmp_path: Path, table: str) -> None:
    data = write(tmp_path / "lake" / "t", table)
    folder = data[-1].rpartition("/")[0]
    (tmp_path / "linked").symlink_to("lake/t")
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "t").symlink_to(tmp_path / "lake/t" / folder)
    settings = ["lake", "lake/t", "lake/t/*", "lake/**/*", "l*/t", "linked", "beside"]
    settings += [f"lake/t/{data[-1]}", f"lake/t/{folder}"]
    for setting in settings:
        with pytest.raises(InputError, match=r"Export its rows to parquet") as raised:
            find_table_files(str(tmp_path / setting), otherwise="parquet")
        assert TABLES[table][0] in str(raised.value)
        assert str(raised.value).startswith(
            tuple(f"{tmp_path}/{t}" for t in ("lake/t", "linked", "beside/t"))
        )


@pytest.mark.parametrize("table", TABLES)
def test_a_table_with_a_log_on_a_store(tmp_path: Path, table: str) -> None:
    data = write(tmp_path, table)
    name = f"/lakes/{table.replace(', ', '_')}"
    store = fsspec.filesystem("memory")
    store.put(f"{tmp_path}/", f"{name}/", recursive=True)
    for below in ("", "/*", f"/{data[-1]}"):
        with pytest.raises(InputError, match=rf"^memory://{name}.*Export its rows"):
            find_table_files(f"memory:/{name}{below}", otherwise="parquet")


def test_two_versions_of_a_group_of_hudi_are_refused_without_its_log(tmp_path: Path) -> None:
    group = "9a2c2c7e-6c1f-4f7e-8d41-0a0a0a0a0a0a-0"
    for version in ("0-29-1120_20240101010101000", "0-61-1150_20240102010101000"):
        (tmp_path / f"{group}_{version}.parquet").touch()
    (tmp_path / "other-0_0-1-1_20240101010101000.parquet").touch()
    with pytest.raises(InputError, match="a Hudi table"):
        find_table_files(str(tmp_path))
    assert len(find_table_files(f"{tmp_path}/*20240101*").names) == 2


def test_plain_folders_are_not_taken_for_tables(tmp_path: Path) -> None:
    for name in ("metadata/columns.json", "b/state.json", "data/metadata.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    assert len(find_table_files(str(tmp_path)).names) == 3
    table = pa.table({"pid": [1]})
    (tmp_path / "lake").mkdir()
    pq.write_table(table, tmp_path / "lake/items.parquet")
    write(tmp_path / "lake/nested", "Delta")
    assert find_table_files(f"{tmp_path}/lake/*.parquet").names == (
        f"{tmp_path}/lake/items.parquet",
    )


@pytest.mark.parametrize("error", [ValueError, RuntimeError, PermissionError])
def test_what_a_store_says_about_folders_above_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/datasets/user/above/a.csv", b"pid,title\n1,a\n")

    def refuse(path: str, **_: object) -> list[str]:
        raise error(path)

    monkeypatch.setattr(store, "glob", refuse)
    found = find_table_files("memory://datasets/user/above").names
    assert found == ("memory:///datasets/user/above/a.csv",)
