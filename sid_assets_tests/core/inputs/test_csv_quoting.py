"""Files with and without quoting are told apart, and what is uncertain is said."""

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.csv_quoting import find_quoting
from sid_assets.core.inputs.csv_rows import read_columns
from sid_assets.core.inputs.files import find_table_files


def quoting(path: Path, content: str) -> tuple[str, str]:
    """How a file with this content is quoted, and the warning without the file's name."""
    path.write_bytes(content.encode())
    found, warning = find_quoting(find_table_files(str(path)), 0)
    return found, warning.removeprefix(f"{path}: ")


MIND = 'pid\ttitle\tcategory\n1\tplain\tnews\n2\t"Odd Al sings\tmusic\n3\tlost\tsport\n'


@pytest.mark.parametrize(
    "content",
    [
        'pid\ttitle\n1\t"Odd" Al\n2\tb\n',
        'pid\ttitle\n1\t"Odd" Al\n2\t"whole"\n3\tx\n',
        'pid\ttitle\n1\t"Odd" Al\n2\t"open\n3\tMonitor 24"\n',
    ],
)
def test_tsv_with_quotes_inside_values_is_written_without_quoting(
    tmp_path: Path, content: str
) -> None:
    assert quoting(tmp_path / "a.tsv", content)[0] == "none"


def test_tsv_whose_quotes_would_swallow_lines_is_written_without_quoting(tmp_path: Path) -> None:
    found, warning = quoting(tmp_path / "a.tsv", MIND + '4\tMonitor 24"\ttech\n5\tlast\tnews\n')
    assert found == "none"
    assert warning.startswith("line 3: a value begins with a quote that is not closed")
    assert "every line of the file has 3 values" in warning
    assert "SID_CSV_QUOTING=none" in warning


@pytest.mark.parametrize(
    "content",
    [
        "pid\ttitle\n1\ta\n2\tit's 5\" wide\n",
        'pid\ttitle\n1\t"a\tb"\n2\tc\n',
        'pid\ttitle\n1\t"two\nlines"\n2\tc\n',
        'pid\ttitle\n1\t"say ""hi"""\n2\tc\n',
        'pid\ttitle\n1\t""\n2\tc\n',
        '"pid"\t"title"\n1\t"a"\n2\tb\n',
        'pid\ttitle\n1\t"a"\n2\t"b"\n',
        'title\n"two\nlines"\n',
        "",
    ],
)
def test_quoted_tsv(tmp_path: Path, content: str) -> None:
    assert quoting(tmp_path / "a.tsv", content) == ("quoted", "")


def test_tsv_with_a_few_enclosed_values_keeps_their_quotes_and_says_so(tmp_path: Path) -> None:
    found, warning = quoting(tmp_path / "a.tsv", 'pid\ttitle\n1\ta\n2\t"Hello"\n')
    assert found == "none"
    assert warning.startswith("1 values are enclosed in quotes, the first on line 3.")
    assert "SID_CSV_QUOTING=quoted" in warning


@pytest.mark.parametrize(
    "content",
    ['pid,title\n1,a\n2,"Hello"\n', 'pid,title\n1,"a,b\nc"\n2,d\n', 'pid,title\n1,"a ""b"""\n'],
)
def test_csv_is_quoted(tmp_path: Path, content: str) -> None:
    assert quoting(tmp_path / "a.csv", content) == ("quoted", "")


def test_a_value_of_a_csv_that_may_have_swallowed_lines_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('pid,title,kind\n1,"a, b",x\n2,"Odd Al,y\n3,lost,z\n4,Monitor 24",w\n5,c,v\n')
    files, warnings = find_table_files(str(path)), list[str]()
    [[pids]] = read_columns(files, 0, [0], certain=False, warnings=warnings)
    assert pids.to_pylist() == ["1", "2", "5"]
    [warning] = warnings
    assert f"{path}: line 3: a value in quotes spans lines that read like rows" in warning
    assert "SID_CSV_QUOTING=none" in warning
    list(read_columns(files, 0, [0], certain=True, warnings=warnings))
    assert warnings == [warning]


def test_csv_that_can_be_read_in_two_ways_is_an_error(tmp_path: Path) -> None:
    content = 'pid,title\n1,a\n2,"Odd Al\n3,lost\n4,Monitor 24"\n'
    with pytest.raises(InputError, match=r"a\.csv: line 3: .* every line of the file has 2 values"):
        quoting(tmp_path / "a.csv", content)


fields = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
tables = st.lists(st.tuples(fields.filter(str.strip), fields), min_size=1, max_size=6)


@settings(max_examples=100, deadline=None)
@given(rows=tables, how=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
def test_what_a_program_writes_with_quotes_around_all_text_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], how: int
) -> None:
    assert read_back(tmp_path_factory, rows, how) == rows


def test_what_pandas_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = [("1", 'say "hi"'), ("2", "two\nlines"), ("3", "a\tb"), ("4", '"'), ("5", "plain")]
    assert read_back(tmp_path_factory, rows, csv.QUOTE_MINIMAL) == rows


words = st.text('a"b ', min_size=1, max_size=5)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(st.just("x"), words), min_size=2, max_size=6))
def test_unquoted_tsv_never_loses_a_line(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("tsv") / "a.tsv"
    path.write_text("".join(f"{one}\t{two}\n" for one, two in [("pid", "title"), *rows]))
    assert len(read(path)) == len(rows)


def read_back(
    folders: pytest.TempPathFactory, rows: list[tuple[str, str]], how: Any
) -> list[tuple[str, str]]:
    path = folders.mktemp("tsv") / "a.tsv"
    frame = pd.DataFrame(rows, columns=["pid", "title"])
    path.write_bytes(frame.to_csv(sep="\t", index=False, quoting=how).encode())
    return read(path)


def read(path: Path) -> list[tuple[str, str]]:
    files = find_table_files(str(path))
    found, _ = find_quoting(files, 0)
    batches = read_columns(files, 0, (0, 1), found, certain=False)
    return [
        row for one, two in batches for row in zip(one.to_pylist(), two.to_pylist(), strict=True)
    ]
