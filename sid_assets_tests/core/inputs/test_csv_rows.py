"""CSV as RFC 4180 defines it and as programs write it; errors name the malformed line."""

import csv
from pathlib import Path

import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.inputs import csv_rows
from sid_assets.core.inputs.csv_rows import read_columns, read_header
from sid_assets.core.inputs.files import find_table_files


def rows(path: Path, content: str, columns: tuple[int, ...] = (0, 1)) -> list[tuple[str, ...]]:
    path.write_bytes(content.encode())
    batches = read_columns(find_table_files(str(path)), 0, columns)
    return [row for batch in batches for row in zip(*(c.to_pylist() for c in batch), strict=True)]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_quotes_newlines_and_blank_lines(tmp_path: Path, newline: str) -> None:
    lines = ["a,b", '1,"x, ""y"""', "", f'"{newline}2",', "3,it's 5\" wide", ""]
    expected = [("1", 'x, "y"'), (f"{newline}2", ""), ("3", "it's 5\" wide")]
    assert rows(tmp_path / "a.csv", newline.join(lines)) == expected


def test_columns_are_chosen_by_position(tmp_path: Path) -> None:
    assert rows(tmp_path / "a.tsv", 'a\tb\tc\n1\t2,"\t3\n', (2, 0, 2)) == [("3", "1", "3")]


def test_the_header(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('\ufeff"a, b",c\n'.encode())
    assert read_header(find_table_files(str(path)), 0) == ["a, b", "c"]
    path.write_bytes(b"")
    assert read_header(find_table_files(str(path)), 0) == []


def test_batches_end_where_the_file_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "BATCH_ROWS", 3)
    for count in (0, 1, 3, 7):
        content = "a,b\n" + "".join(f"{row},x\n" for row in range(count))
        assert rows(tmp_path / "a.csv", content) == [(str(row), "x") for row in range(count)]


def test_an_unclosed_quote_does_not_swallow_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_rows, "FIELD_LIMIT", 100)
    content = 'a,b\n1,x\n2,"y\n' + "3,z\n" * 1000
    limit = csv.field_size_limit()
    try:
        with pytest.raises(InputError, match=r"a\.csv: line 3 is malformed: field larger than"):
            rows(tmp_path / "a.csv", content)
    finally:
        csv.field_size_limit(limit)


def test_without_quoting_a_quote_is_part_of_the_value(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('a,b\n1,"x\n2,y"\n"3","z"\n')
    batches = read_columns(find_table_files(str(path)), 0, (0, 1), "none")
    [[a, b]] = list(batches)
    assert a.to_pylist() == ["1", "2", '"3"']
    assert b.to_pylist() == ['"x', 'y"', '"z"']


def test_rows_in_quotes_in_a_tsv_file_are_an_error_unless_the_user_is_certain(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('a\tb\n0\tx\n1\t"y\n2\tz"\n3\tc\td\n')
    files = find_table_files(str(path))
    message = (
        r"a\.tsv: line 3 is malformed: .* set SID_CSV_QUOTING=none.* set SID_CSV_QUOTING=quoted"
    )
    with pytest.raises(InputError, match=message):
        list(read_columns(files, 0, (0, 1), certain=False))
    path.write_text(path.read_text().replace("\td\n", "\n"))
    assert next(iter(read_columns(files, 0, (0, 1))))[1].to_pylist() == ["x", "y\n2\tz", "c"]
