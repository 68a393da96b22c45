"""The codes of a file of vectors, computed with the flags of OneRec's `infer_res_kmeans.py`.

    python -m sid_assets.infer_res_kmeans --model_path tokenizer.pt --emb_path embeddings.parquet \
        --output_path codes.parquet

Reads `pid` and `embedding`, writes `pid` and `codes`, in the order of the input. Memory does not
grow with the rows, and the codes depend neither on the batch size nor on the device.
"""

import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm
from upath import UPath

from sid_assets import cli
from sid_assets.core.arrow.columns import codes_column
from sid_assets.core.errors import InputError, StoreError
from sid_assets.core.inputs.parquet import find_parquet_files
from sid_assets.core.inputs.vector_files import VectorFiles
from sid_assets.core.quantise.checkpoint import load_checkpoint
from sid_assets.core.quantise.residual_kmeans import BATCH, Encoder, NotFiniteError
from sid_assets.core.quantise.stream import prefetched
from sid_assets.core.schema import CODES
from sid_assets.core.store.places import free_bytes, is_local, place

MOST_ROWS = 1 << 20
"""The most rows read at a time; the codes do not depend on it."""


def infer(
    model_path: str | Path,
    emb_path: str | Path,
    output_path: str | Path,
    *,
    batch_size: int = BATCH,
    device: str | None = None,
    n_layers: int | None = None,
    progress: bool = False,
) -> int:
    """Write the codes of all vectors in a file or folder, and return their number.

    Args:
        model_path: The tokenizer's `.pt` file.
        emb_path: Parquet (a file, folder or glob): `pid` and `embedding`, a list of floats as wide
            as the tokenizer.
        output_path: Parquet to write, `pid` and `codes`. It appears only when complete.
        batch_size: Rows read and written at a time.
        device: A torch device; by default `cuda` if available, else `cpu`.
        n_layers: Use only the first layers of the tokenizer, this many.
        progress: Show a progress bar.

    Raises:
        InputError: The tokenizer, the vectors or the device cannot be used, or the output would
            be an input or lie among them.
        StoreError: The output cannot be written, e.g. because the disk is full.
    """
    try:
        target = _checked_output(output_path, model_path, emb_path)
    except OSError as error:
        raise InputError(f"--output_path {output_path}: {error.strerror}.") from error
    checkpoint = load_checkpoint(model_path)
    for note in checkpoint.notes:
        print(f"{model_path}: {note}", file=sys.stderr)
    encoder = Encoder(_first_layers(checkpoint.centroids, n_layers, model_path), device)
    files = VectorFiles(str(emb_path), width=encoder.dim)
    if not files.rows:
        raise InputError(f"{emb_path}: no rows. Embed the catalog first.")
    files.require_unique_ids()
    schema = pa.schema([("pid", files.stored_pid_type), ("codes", CODES)])
    with (
        _written_whole(target, schema) as writer,
        tqdm(total=files.rows, unit=" items", disable=not progress) as bar,
    ):
        for pids, vectors in prefetched(files.batches(min(batch_size, MOST_ROWS))):
            codes = codes_column(_encode(vectors, encoder, pids, emb_path))
            writer.write_batch(pa.record_batch([pids, codes], schema=schema))
            bar.update(len(pids))
    return files.rows


def main(arguments: Sequence[str] = ()) -> int:
    """`python -m sid_assets.infer_res_kmeans`, which is `sid-assets quantise`; the exit code."""
    return cli.run("quantise", arguments, "python -m sid_assets.infer_res_kmeans")


def _checked_output(output_path: str | Path, model_path: str | Path, emb_path: str | Path) -> Path:
    """The local path to write, if nothing there is an input, and a file can be written there.

    Raises:
        InputError: See above.
    """
    place_of = place(output_path)
    if not is_local(place_of):
        raise InputError(
            f"--output_path {output_path}: not a local path. Write the codes to a local file, and "
            "copy it."
        )
    target = Path(place_of.path)
    if target.is_dir():
        raise InputError(
            f"--output_path {output_path}: is a folder. Name the file to write, e.g. "
            f"{target / 'codes.parquet'}."
        )
    vectors = find_parquet_files(str(emb_path), "Vectors")
    for path in (model_path, *(vectors.paths if is_local(vectors.root) else ())):
        if target.exists() and Path(path).exists() and target.samefile(path):
            raise InputError(
                f"--output_path {output_path}: is the input {path}, which is not overwritten. Name "
                "another file."
            )
    if is_local(vectors.root) and _is_among(target, Path(vectors.root.path)):
        raise InputError(
            f"--output_path {output_path}: lies among the vectors of {emb_path}, and would be "
            "read as one of their files by the next run. Name a file in another folder."
        )
    if target.exists() and not target.is_file():
        raise InputError(f"--output_path {output_path}: is no ordinary file. Name another one.")
    folder = next(folder for folder in target.parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(
            f"--output_path {output_path}: {folder} is "
            f"{'a folder without write permission' if folder.is_dir() else 'not a folder'}. Name "
            "a file in another folder."
        )
    return target


def _is_among(target: Path, vectors: Path) -> bool:
    """Whether a file lies in the folder of the vectors, or is matched by their glob."""
    if vectors.is_file():
        return False
    if vectors.is_dir():
        return target.resolve().is_relative_to(vectors.resolve())
    return fnmatchcase(str(target), str(vectors))


@contextmanager
def _written_whole(target: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A writer of a parquet file, which appears under its name when it is complete.

    Raises:
        StoreError: It cannot be written.
    """
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(temporary, schema) as writer:
            yield writer
        temporary.replace(target)
    except OSError as error:
        free = free_bytes(UPath(target)) or 0
        raise StoreError(
            f"{target}: cannot be written: {error.strerror or error} ({free / 1e9:,.2f} GB free "
            "there). A file of this name is as it was. Free disk space, or name another file in "
            "--output_path."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _first_layers(centroids: np.ndarray, n_layers: int | None, source: str | Path) -> np.ndarray:
    if n_layers is None:
        return centroids
    if not 1 <= n_layers <= len(centroids):
        raise InputError(
            f"{source}: has {len(centroids)} layers, --n_layers asks for {n_layers}. Use 1 to "
            f"{len(centroids)}."
        )
    return centroids[:n_layers]


def _encode(
    vectors: np.ndarray, encoder: Encoder, pids: pa.Array, source: str | Path
) -> np.ndarray:
    try:
        return encoder.encode(vectors).codes
    except NotFiniteError as error:
        raise error.of_items(pids, source) from error


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
