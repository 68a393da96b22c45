"""Reading the parts of a table in a few threads: for tables whose rows hold vectors.

pyarrow, numpy and hashlib let other threads run while they read, add up and hash. Each thread holds
a row group of one part, so memory depends on the threads and not on the table.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import pyarrow as pa

from sid_assets.core.errors import StoreError
from sid_assets.core.store.parts import Part
from sid_assets.core.store.versions import Version

MOST_THREADS = 4
"""A disk seldom gives more than four threads can check. Each takes about 200 MB for vectors."""

Result = TypeVar("Result")


def scan_parts(
    version: Version, scan: Callable[[pa.RecordBatchReader], Result]
) -> Iterator[Result]:
    """What a function finds in each part, in the order of the parts.

    Args:
        version: The table.
        scan: Called for each part with its rows, in some thread. What it returns is kept until the
            parts before it were read, so it must be small.

    Raises:
        StoreError: A part is missing, damaged, or has other columns. Of several, the first one.
    """
    columns = version.schema()

    def scan_part(part: Part) -> Result:
        rows = replace(version, parts=(part,)).stream()
        if rows.schema.names != columns.names or rows.schema.types != columns.types:
            raise StoreError(
                f"{part.path(version.folder)}: the columns differ from the table's. Materialise "
                "its asset again."
            )
        return scan(rows)

    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as threads:
        try:
            yield from threads.map(scan_part, version.parts)
        finally:
            threads.shutdown(cancel_futures=True)
