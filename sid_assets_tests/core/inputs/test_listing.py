"""Folders and globs are listed with what links point to, each file once."""

import os
from pathlib import Path

import fsspec
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.files import find_table_files, fingerprint
from sid_assets.core.inputs.listing import _LocalWalk


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def link(path: Path, target: str | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def names(folder: Path, setting: str | Path) -> list[str]:
    return [os.path.relpath(name, folder) for name in find_table_files(str(setting)).names]


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "t/a.csv", "disk2/blob", "disk2/more/c.csv", "disk3/deep/er/d.csv")
    link(tmp_path / "t/b.csv", "../disk2/blob")
    link(tmp_path / "t/more", "../disk2/more")
    link(tmp_path / "disk2/more/on", tmp_path / "disk3")
    found = ["a.csv", "b.csv", "more/c.csv", "more/on/deep/er/d.csv"]
    assert names(tmp_path / "t", tmp_path / "t") == found
    link(tmp_path / "also", "t")
    assert names(tmp_path / "also", tmp_path / "also") == found


@pytest.mark.parametrize(
    "glob", ["t/*/c.csv", "t/mo*", "t/**/c.csv", "t/**/m[a-p]*", "t/more/*.csv"]
)
def test_globs_follow_links(tmp_path: Path, glob: str) -> None:
    touch(tmp_path, "t/a.csv", "disk2/c.csv")
    link(tmp_path / "t/more", "../disk2")
    assert names(tmp_path / "t", tmp_path / glob) == ["more/c.csv"]


@pytest.mark.parametrize("setting", ["t", "t/*", "t/**", "t/**/*.csv"])
def test_links_in_a_circle_end_and_no_file_is_listed_twice(tmp_path: Path, setting: str) -> None:
    touch(tmp_path, "outside.csv", "t/b/b.csv", "t/c.csv")
    link(tmp_path / "t/0_itself", ".")
    link(tmp_path / "t/0_above", "..")
    link(tmp_path / "t/b/0_up", tmp_path)
    link(tmp_path / "t/a", "b")
    link(tmp_path / "t/z", "b")
    link(tmp_path / "t/0.csv", "c.csv")
    os.link(tmp_path / "t/c.csv", tmp_path / "t/hard.csv")
    found = names(tmp_path / "t", tmp_path / setting)
    assert found == ["b/b.csv", "c.csv"]


def test_a_link_out_of_a_glob_adds_nothing_that_the_glob_leaves_out(tmp_path: Path) -> None:
    touch(tmp_path, "t/2025/a.csv", "t/other/b.csv")
    link(tmp_path / "t/2025/up", "..")
    assert names(tmp_path, f"{tmp_path}/t/20*") == ["t/2025/a.csv"]


def test_a_link_to_a_file_of_the_same_folder_without_an_ending_is_read(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv", "blobs/2", "blobs/3.bin")
    link(tmp_path / "b.csv", "blobs/2")
    link(tmp_path / "snapshots/main/c.csv", "../../blobs/3.bin")
    assert names(tmp_path, tmp_path) == ["a.csv", "b.csv", "snapshots/main/c.csv"]


def test_files_of_one_number_are_one_file_only_if_they_are_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a.csv", "longer.csv")
    link(tmp_path / "again.csv", "a.csv")

    found = _LocalWalk(str(tmp_path))
    real = found._add_file

    def numbered_0(path: str, status: os.stat_result) -> None:
        real(path, os.stat_result((status.st_mode, 0, *status[2:])))

    monkeypatch.setattr(found, "_add_file", numbered_0)
    found.read([str(tmp_path)])
    assert [Path(path).name for path in found.files] == ["a.csv", "longer.csv"]


def test_folders_that_link_to_each_other_end(tmp_path: Path) -> None:
    touch(tmp_path, "t/a.csv", "x/x.csv", "y/y.csv")
    link(tmp_path / "t/x", "../x")
    link(tmp_path / "x/y", "../y")
    link(tmp_path / "y/x", "../x")
    assert names(tmp_path / "t", tmp_path / "t") == ["a.csv", "x/x.csv", "x/y/y.csv"]


@pytest.mark.parametrize("broken", ["t/b.csv", "t/more", "t/a/b"])
def test_a_link_to_nothing_is_named(tmp_path: Path, broken: str) -> None:
    touch(tmp_path, "t/a/a.csv")
    link(tmp_path / broken, "nowhere")
    message = rf"{tmp_path / broken}: a link to nowhere, which does not exist"
    for setting in (tmp_path / "t", f"{tmp_path}/t/**", tmp_path / broken):
        with pytest.raises(InputError, match=message):
            find_table_files(str(setting))


def test_hidden_links_and_hidden_folders_are_left_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv")
    link(tmp_path / ".#a.csv", "someone@host.1234")
    link(tmp_path / "_old", "nowhere")
    (tmp_path / ".snapshot").mkdir(mode=0)
    assert names(tmp_path, tmp_path) == ["a.csv"]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    assert names(tmp_path, tmp_path) == names(tmp_path, tmp_path / "*.csv") == ["a.csv"]


def partitions(setting: str | Path) -> list[dict]:
    return [dict(partition) for partition in find_table_files(str(setting)).partitions]


def test_columns_in_the_names_of_folders(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "t/_lang=en/category=a%2Fb%20%3D/1.csv",
        "t/_lang=_x/category=__HIVE_DEFAULT_PARTITION__/2.csv",
        "t/_lang=/category=a=b/part/3.csv",
        "t/_logs/category=x/4.csv",
    )
    read = [
        {"_lang": "", "category": "a=b"},
        {"_lang": "_x", "category": None},
        {"_lang": "en", "category": "a/b ="},
    ]
    assert partitions(tmp_path / "t") == partitions(f"{tmp_path}/t/**/*.csv") == read
    assert find_table_files(str(tmp_path / "t")).partition_columns == ("_lang", "category")


def test_only_folders_below_the_named_one_give_columns(tmp_path: Path) -> None:
    touch(tmp_path, "a=0/t/split=0/1.csv", "a=0/t/split=0/b=1.csv", "a=0/t/split=1/2.csv")
    t = tmp_path / "a=0/t"
    assert partitions(t) == [{"split": "0"}, {"split": "0"}, {"split": "1"}]
    assert partitions(t / "split=0") == [{}, {}]
    assert partitions(t / "split=0/1.csv") == [{}]
    assert partitions(f"{t}/split=[1-9]") == [{"split": "1"}]


def test_links_in_partition_folders_have_their_columns(tmp_path: Path) -> None:
    touch(tmp_path, "disk2/1.csv", "t/split=0/0.csv")
    link(tmp_path / "t/split=1", "../disk2")
    assert partitions(tmp_path / "t") == [{"split": "0"}, {"split": "1"}]
    os.link(
        tmp_path / "t/split=0/0.csv", tmp_path / "disk2/0.csv"
    )  # as programs that save space do
    assert partitions(tmp_path / "t") == [{"split": "0"}, {"split": "1"}, {"split": "1"}]
    link(tmp_path / "t/latest", "split=0")
    assert len(partitions(tmp_path / "t")) == 3


@pytest.mark.parametrize(
    "other", ["b.csv", "Split=1/b.csv", "x=1/split=1/b.csv", "split=1/x=1/b.csv"]
)
def test_files_with_other_partition_columns_are_refused(tmp_path: Path, other: str) -> None:
    touch(tmp_path, "split=0/a.csv", other)
    with pytest.raises(InputError, match=r"not parts of one table") as raised:
        find_table_files(str(tmp_path))
    assert str(tmp_path / "split=0/a.csv") in str(raised.value)
    assert str(tmp_path / other) in str(raised.value)


def test_a_column_named_by_two_folders_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "split=0/split=1/a.csv")
    with pytest.raises(InputError, match=r"split=1/a\.csv: two of its folders .* 'split'"):
        find_table_files(str(tmp_path))


def test_the_fingerprint_tells_columns_apart(tmp_path: Path) -> None:
    touch(tmp_path, "split=0/a.csv")
    assert fingerprint(str(tmp_path)) != fingerprint(str(tmp_path / "split=0"))


def test_partition_folders_on_a_store() -> None:
    store = fsspec.filesystem("memory")
    store.pipe({"/hive/s=0/a.csv": b"x", "/hive/s=1/b.csv": b"x", "/hive/_tmp/s=2/c.csv": b"x"})
    for setting in ("memory://hive", "memory://hive/s=*", "memory://hive/*/*.csv"):
        assert partitions(setting) == [{"s": "0"}, {"s": "1"}]
