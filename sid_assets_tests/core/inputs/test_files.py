"""A setting names a file, a folder or a glob; errors name what is missing or unreadable."""

import os
import re
from pathlib import Path

import fsspec
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.files import find_table_files, fingerprint


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("pid\n1\n")


def names(folder: Path, setting: str) -> list[str]:
    return [Path(name).relative_to(folder).as_posix() for name in find_table_files(setting).names]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.parquet", "parquet"),
        ("a.csv", "csv"),
        ("A.CSV", "csv"),
        ("a.csv.gz", "csv"),
        ("a.tsv", "tsv"),
        ("a.json", "json"),
        ("a.jsonl", "json"),
        ("a.ndjson.gz", "json"),
    ],
)
def test_the_ending_tells_the_format(tmp_path: Path, name: str, kind: str) -> None:
    touch(tmp_path, name)
    assert find_table_files(str(tmp_path / name)).format == kind


def test_a_folder_is_read_without_notes_and_hidden_files(tmp_path: Path) -> None:
    touch(tmp_path, "b.csv", "a/z.csv", "_SUCCESS", ".b.csv.crc", "_temporary/c.csv", ".x/c.csv")
    touch(tmp_path, "README.md")
    assert names(tmp_path, str(tmp_path)) == ["a/z.csv", "b.csv"]


def test_globs_name_files_and_folders(tmp_path: Path) -> None:
    touch(tmp_path, "2024/a.csv", "2025/b.csv", "2025/_tmp/c.csv", "other/d.csv", "2024/e.parquet")
    assert names(tmp_path, f"{tmp_path}/20*/*.csv") == ["2024/a.csv", "2025/b.csv"]
    assert names(tmp_path, f"{tmp_path}/2025*") == ["2025/b.csv"]
    assert names(tmp_path, f"{tmp_path}/**/*.csv") == ["2024/a.csv", "2025/b.csv", "other/d.csv"]


def test_a_file_name_may_contain_wildcards(tmp_path: Path) -> None:
    touch(tmp_path, "a[1].csv", "a1.csv")
    assert names(tmp_path, str(tmp_path / "a[1].csv")) == ["a[1].csv"]


def test_relative_paths_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.csv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert names(tmp_path, "a.csv") == names(tmp_path, "~/a.csv") == ["a.csv"]


@pytest.mark.parametrize("setting", ["nothing", "nothing/*.csv", "empty", "notes", "notes/a.txt"])
def test_nothing_there(tmp_path: Path, setting: str) -> None:
    touch(tmp_path, "notes/a.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no such file|no parquet, CSV or JSON lines") as raised:
        find_table_files(str(tmp_path / setting))
    assert str(tmp_path / setting) in str(raised.value)


@pytest.mark.parametrize(
    "name", ["a.csv.zst", "a.jsonl.bz2", "a.parquet.gz", "A.CSV.ZIP", "a.tsv.xz"]
)
def test_tables_in_other_compressions_are_not_passed_over(tmp_path: Path, name: str) -> None:
    beside = Path(name.lower()).stem.replace("a.", "b.")
    touch(tmp_path, beside, name)
    message = rf"{name}: this compression is not read .* known ending: \.parquet, \.csv, \.csv\.gz"
    for setting in (tmp_path, tmp_path / name):
        with pytest.raises(InputError, match=message):
            find_table_files(str(setting))


def test_a_download_beside_its_unpacked_copy_is_left_alone(tmp_path: Path) -> None:
    touch(tmp_path, "items.csv.zip", "items.parquet")
    assert names(tmp_path, str(tmp_path)) == ["items.parquet"]


@pytest.mark.parametrize("name", ["a.txt", "a.dat", "a.zst", "a.xlsx", "a"])
def test_an_unknown_ending_is_told_with_the_known_ones(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    with pytest.raises(InputError, match=rf"found {tmp_path}/{name}\. Known endings: \.parquet, "):
        find_table_files(str(tmp_path / name))


@pytest.mark.parametrize("pattern", ["a**", "**b/*.csv"])
def test_a_pattern_that_is_none(tmp_path: Path, pattern: str) -> None:
    touch(tmp_path, "a.csv")
    for setting in (f"{tmp_path}/{pattern}", f"memory://patterns/{pattern}"):
        with pytest.raises(InputError, match=re.escape(setting)):
            find_table_files(setting)


def test_a_folder_named_with_brackets_is_no_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "a[1]/x.csv", "a1/y.csv")
    for setting in ("a[1]", "a[1]/*.csv", "a[1]/**"):
        assert names(tmp_path, str(tmp_path / setting)) == ["a[1]/x.csv"]


def test_several_formats_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv", "b.parquet", "c.parquet")
    with pytest.raises(InputError, match=r"several formats: csv \(.*a\.csv\), parquet \(.*b\.parq"):
        find_table_files(str(tmp_path))


@pytest.mark.parametrize("setting", ["nosuch://bucket/a.csv"])
def test_an_unknown_protocol(setting: str) -> None:
    with pytest.raises(InputError, match="nosuch"):
        find_table_files(setting)


def test_urls() -> None:
    store = fsspec.filesystem("memory")
    store.pipe({"/files/a.csv": b"pid\n1\n", "/files/_tmp/b.csv": b"pid\n1\n"})
    for setting in ("memory://files", "memory://files/*.csv", "memory://files/a.csv"):
        assert find_table_files(setting).names == ("memory:///files/a.csv",)
    with pytest.raises(InputError, match=r"memory://files/b\.csv: no such file"):
        find_table_files("memory://files/b.csv")


def test_the_fingerprint_changes_with_name_size_and_time(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv")
    seen = [fingerprint(str(tmp_path))]
    assert fingerprint(str(tmp_path)) == seen[0]
    path = tmp_path / "a.csv"
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    seen.append(fingerprint(str(tmp_path)))
    path.write_text("pid\n12\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    seen.append(fingerprint(str(tmp_path)))
    path.rename(tmp_path / "b.csv")
    seen.append(fingerprint(str(tmp_path)))
    touch(tmp_path, "c.csv")
    seen.append(fingerprint(str(tmp_path)))
    assert len(set(seen)) == len(seen)


def test_the_fingerprint_uses_an_etag_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/etag/a.csv", b"pid\n1\n")
    info = {"name": "/etag/a.csv", "size": 6, "type": "file", "created": 1.0}
    seen = set()
    for etag, created in [("x", 1.0), ("x", 2.0), ("y", 2.0)]:
        found = info | {"ETag": etag, "created": created}
        with monkeypatch.context() as patch:
            patch.setattr(type(store), "isfile", lambda self, path: True)
            patch.setattr(type(store), "exists", lambda self, path, **_: False)
            patch.setattr(type(store), "info", lambda self, path, found=found, **_: found)
            seen.add(fingerprint("memory://etag/a.csv"))
    assert len(seen) == 2
