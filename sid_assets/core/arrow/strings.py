"""Columns of text, joined without a loop over rows."""

import numpy as np
import pyarrow as pa


def join_runs(pieces: pa.StringArray, bounds: np.ndarray) -> pa.StringArray:
    """Texts made of consecutive pieces, with nothing between them; no byte is copied.

    Args:
        pieces: Shape (m,), no nulls.
        bounds: Integers, shape (n + 1,), ascending: text i consists of the pieces bounds[i] to
            bounds[i + 1].

    Returns:
        Shape (n,). A text without pieces is null.
    """
    _, offset_buffer, data = pieces.buffers()
    if not len(pieces) or offset_buffer is None:
        return pa.nulls(len(bounds) - 1, pa.string())
    # The pieces are contiguous: a joined text is a longer stretch of the same bytes.
    offsets = np.frombuffer(offset_buffer, np.int32)[pieces.offset :][bounds]
    filled = pa.array(bounds[1:] > bounds[:-1])
    buffers = [filled.buffers()[1], pa.py_buffer(offsets), data]
    return pa.StringArray.from_buffers(len(filled), buffers[1], buffers[2], buffers[0])
