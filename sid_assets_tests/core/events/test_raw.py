"""Errors show the first rows in the order of the files."""

import duckdb

from sid_assets.core.events.raw import first_rows


def test_the_first_five_values_and_the_first_file_are_found() -> None:
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE raw AS SELECT 'b' AS file, 9 - x AS pid, nullif(x, 1) AS time "
        "FROM range(9) numbers(x) UNION ALL SELECT 'a', 70, 7"
    )
    assert first_rows(connection, "pid > 2", "pid") == (
        8,
        "a and 1 more file",
        ["9", "8", "7", "6", "5"],
    )
    assert first_rows(connection, "pid > 7", "time") == (3, "a and 1 more file", ["0", "7"])
    assert first_rows(connection, "pid > 99", "pid") == (0, "", [])
