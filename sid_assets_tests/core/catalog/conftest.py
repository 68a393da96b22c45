"""Fixtures of the tests of catalogs."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets_tests.core.catalog.read_catalogs import Write


@pytest.fixture
def parquet(tmp_path: Path) -> Write:
    """Writes columns to a parquet file and returns its path."""

    def write(file: str = "catalog.parquet", **columns: Any) -> str:
        pq.write_table(pa.table(columns), tmp_path / file)
        return str(tmp_path / file)

    return write


@pytest.fixture
def text_file(tmp_path: Path) -> Write:
    """Writes a text to a file and returns its path."""

    def write(name: str, text: str | bytes) -> str:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(tmp_path / name)

    return write
