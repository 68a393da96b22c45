"""A file that holds something else than its name says is named, with what it holds."""

import bz2
import gzip
import io
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.content import require_named_format
from sid_assets.core.inputs.files import find_table_files
from sid_assets.core.inputs.parquet import read_parquet_footers

CSV = b"pid,title\n1,One\n"
TABLE = pa.table({"pid": [1], "title": ["One"]})


def written(write) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def zipped(file: io.BytesIO) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("items.csv", CSV)


PARQUET = written(lambda file: pq.write_table(TABLE, file))
OTHERS = {
    "zstd": pa.compress(CSV, codec="zstd", asbytes=True),
    "bzip2": bz2.compress(CSV),
    "a zip archive or an Excel workbook": written(zipped),
    "an Arrow or Feather file": written(lambda file: feather.write_feather(TABLE, file)),
    "ORC": written(lambda file: orc.write_table(TABLE, file)),
    "an HTML page": b"\n<!DOCTYPE html>\n<html><title>Sign in</title>",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 9\n",
}


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    files = find_table_files(str(path))
    look = read_parquet_footers if files.format == "parquet" else require_named_format
    with pytest.raises(InputError) as raised:
        look(files)
    assert str(raised.value).startswith(f"{path}: ")
    return str(raised.value)


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "csv.gz", "json.gz"])
def test_text_files_that_hold_something_else(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"items.{ending}"
    for name, content in OTHERS.items():
        assert f"holds {name}" in refused(path, content)
    assert "holds parquet. Rename it to items.parquet." in refused(path, PARQUET)


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl", "ndjson"])
def test_gzip_under_another_name_and_another_under_gz(tmp_path: Path, ending: str) -> None:
    message = refused(tmp_path / f"a.{ending}", gzip.compress(CSV))
    assert f"holds gzip. Rename it to a.{ending}.gz." in message
    message = refused(tmp_path / f"b.{ending}.gz", CSV)
    assert f"is not gzip, but begins with 'pid,title'. Rename it to b.{ending}." in message
    message = refused(tmp_path / f"c.{ending}.gz", bytes(600))
    assert "is not gzip" in message
    assert "It is damaged: copy or write it again." in message


def test_parquet_files_that_hold_something_else(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    for name, content in OTHERS.items():
        assert f"not a readable parquet file; it holds {name}" in refused(path, content)
    assert refused(path, gzip.compress(PARQUET)).endswith("it holds gzip. Decompress it.")
    assert refused(path, b"\x28\xb5\x2f\xfd" * 9).endswith("holds zstd. Decompress it.")
    assert "it is text that begins with 'pid,title'. Rename it" in refused(path, CSV)
    for damaged in (b"", PARQUET[:-9], PARQUET[:99]):
        assert "it is truncated or damaged" in refused(path, damaged)


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", CSV, b"PAR1,PAR2\n1,2\n", b"ORC_id,title\n1,x\n", b"BZh,x\n", b"<b>,x\n"],
)
def test_what_could_be_text_is_left_to_its_reader(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(content))
    require_named_format(find_table_files(str(tmp_path)))


def test_parquet_is_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(PARQUET)
    require_named_format(find_table_files(str(tmp_path)))


def test_the_file_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(CSV)
    (tmp_path / "b.csv").write_bytes(gzip.compress(CSV))
    with pytest.raises(InputError, match=rf"^{tmp_path}/b\.csv: holds gzip"):
        require_named_format(find_table_files(str(tmp_path)))
