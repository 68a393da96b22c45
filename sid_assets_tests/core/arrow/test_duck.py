"""A database that spills to disk above its memory limit, and leaves nothing there."""

import subprocess
import sys
from pathlib import Path

from sid_assets.core.arrow.duck import MB_PER_THREAD, spilling_database


def spill_folder(database) -> Path:
    [(folder,)] = database.execute("SELECT current_setting('temp_directory')").fetchall()
    return Path(folder)


def test_what_does_not_fit_in_memory_is_on_disk_and_removed_afterwards():
    with spilling_database(memory_mb=24) as database:
        # 32 MB of numbers
        database.execute("CREATE TABLE n AS SELECT range AS a, -range AS b FROM range(2000000)")
        spill = spill_folder(database)
        assert any(path.is_file() for path in spill.rglob("*"))
        found = database.sql("SELECT count(*), min(b) FROM n").fetchall()
        assert found == [(2_000_000, -1_999_999)]
    assert not spill.parent.exists()


def test_each_thread_has_enough_memory():
    with spilling_database(memory_mb=MB_PER_THREAD) as database:
        assert database.sql("SELECT current_setting('threads')").fetchall() == [(1,)]


def test_nothing_is_reported_as_leaked_when_a_process_with_torch_ends():
    program = (
        "import sid_assets.definitions, torch, duckdb, pyarrow\n"
        "from sid_assets.core.arrow.duck import computed\n"
        "assert duckdb.sql('SELECT 1').fetchall() == [(1,)]\n"
        "assert computed(pyarrow.table({'a': [1]}), 'a + 1 AS b')['b'].to_pylist() == [2]\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "leaked" not in done.stderr
