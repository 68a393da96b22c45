"""The codes of a file of vectors, computed with the flags of OneRec's `infer_res_kmeans.py`.

    python -m sid_assets.infer_res_kmeans --model_path tokenizer.pt --emb_path embeddings.parquet \
        --output_path codes.parquet

Reads `pid` and `embedding`, writes `pid` and `codes`, in the order of the input. Memory does not
grow with the rows, and the codes depend neither on the batch size nor on the device.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm
from upath import UPath

from sid_assets import cli
from sid_assets.core.arrow.columns import codes_column
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.vector_files import VectorFiles
from sid_assets.core.quantise.checkpoint import load_checkpoint
from sid_assets.core.quantise.residual_kmeans import BATCH, Encoder, NotFiniteError
from sid_assets.core.quantise.stream import prefetched
from sid_assets.core.schema import CODES
from sid_assets.core.store.places import explained


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
        InputError: The tokenizer, the vectors or the device cannot be used.
    """
    checkpoint = load_checkpoint(model_path)
    for note in checkpoint.notes:
        print(f"{model_path}: {note}", file=sys.stderr)
    encoder = Encoder(_first_layers(checkpoint.centroids, n_layers, model_path), device)
    files = VectorFiles(str(emb_path), width=encoder.dim)
    if not files.rows:
        raise InputError(f"{emb_path}: no rows. Embed the catalog first.")
    files.require_unique_ids()
    target, temporary = Path(output_path), Path(f"{output_path}.tmp")
    with explained(UPath(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([("pid", files.stored_pid_type), ("codes", CODES)])
    try:
        with (
            explained(UPath(target)),
            pq.ParquetWriter(temporary, schema) as writer,
            tqdm(total=files.rows, unit=" items", disable=not progress) as bar,
        ):
            for pids, vectors in prefetched(files.batches(batch_size)):
                codes = codes_column(_encode(vectors, encoder, pids, emb_path))
                writer.write_batch(pa.record_batch([pids, codes], schema=schema))
                bar.update(len(pids))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return files.rows


def main(arguments: Sequence[str] = ()) -> int:
    """`python -m sid_assets.infer_res_kmeans`, which is `sid-assets quantise`; the exit code."""
    return cli.run("quantise", arguments, "python -m sid_assets.infer_res_kmeans")


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
