"""The vectors of some rows of `item_embeddings`: only row groups that have one of them are read."""

from collections.abc import Iterator

import numpy as np

from sid_assets.core.arrow.vectors import vectors_of
from sid_assets.core.store.parts import open_part, read_footer, readable
from sid_assets.core.store.versions import Version


def vectors_at(embeddings: Version, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The vectors of rows, in their order: float32 (k, 4096) a block, a row group at most.

    Args:
        embeddings: The version of `item_embeddings`.
        rows: Row numbers, ascending: int64 (n,).

    Raises:
        StoreError: A part is missing or damaged.
    """
    start = 0
    for part in embeddings.parts:
        first, last = np.searchsorted(rows, [start, start + part.rows])
        wanted = rows[first:last] - start
        start += part.rows
        if not len(wanted):
            continue
        path = part.path(embeddings.folder)
        with readable(path), open_part(path, read_footer(path, part)) as file:
            above = 0
            for group in range(file.metadata.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                low, high = np.searchsorted(wanted, [above, above + size])
                if low < high:
                    found = file.read_row_group(group, ["embedding"], use_threads=False)
                    column = found["embedding"].combine_chunks()
                    yield vectors_of(column)[wanted[low:high] - above]
                above += size
