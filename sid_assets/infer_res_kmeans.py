"""Codes for a file of vectors: takes the flags of OneRec's `infer_res_kmeans.py`.

    python -m sid_assets.infer_res_kmeans --model_path tokenizer.pt --emb_path embeddings.parquet \
        --output_path codes.parquet

Reads `pid` and `embedding`, writes `pid` and `codes`, in the order of the input. Memory does not
grow with the rows, and the codes depend neither on the batch size nor on the device.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from sid_assets import cli
from sid_assets.core.errors import IDS_SHOWN, InputError, offending_rows
from sid_assets.core.quantise.checkpoint import load_checkpoint
from sid_assets.core.quantise.residual_kmeans import BATCH, Encoder, NotFiniteError
from sid_assets.core.quantise.stream import prefetched
from sid_assets.core.schema import CODES

COLUMNS = ["pid", "embedding"]
READ_BUFFER = 1 << 20
"""Bytes of a column that are read at a time: a row group may be larger than the memory."""


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
    """Write the codes of all vectors of a file, or of a folder of files; returns their number.

    Args:
        model_path: The tokenizer's `.pt` file.
        emb_path: Parquet: `pid` and `embedding`, a list of floats as wide as the tokenizer.
        output_path: Parquet to write, `pid` and `codes`. It appears when it is whole.
        batch_size: Rows read and written at a time.
        device: As torch names it; by default `cuda` where there is one, else `cpu`.
        n_layers: Use only so many of the tokenizer's layers.
        progress: Show a progress bar.

    Raises:
        InputError: The tokenizer or the vectors are not what they must be.
    """
    checkpoint = load_checkpoint(model_path)
    for note in checkpoint.notes:
        print(f"{model_path}: {note}", file=sys.stderr)
    encoder = Encoder(_first_layers(checkpoint.centroids, n_layers, model_path), device)
    files = _parquet_files(Path(emb_path))
    rows, pid_type = _inspect(files, emb_path)
    target, temporary = Path(output_path), Path(f"{output_path}.tmp")
    target.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([("pid", pid_type), ("codes", CODES)])
    try:
        with (
            pq.ParquetWriter(temporary, schema) as writer,
            tqdm(total=rows, unit=" items", disable=not progress) as bar,
        ):
            for batch in prefetched(_batches(files, batch_size)):
                writer.write_batch(_encode(batch, encoder, emb_path).cast(schema))
                bar.update(batch.num_rows)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def main(arguments: Sequence[str] = ()) -> int:
    """`python -m sid_assets.infer_res_kmeans`, which is `sid-assets quantise`; the exit code."""
    return cli.run("quantise", arguments, "python -m sid_assets.infer_res_kmeans")


def _first_layers(centroids: np.ndarray, n_layers: int | None, source: str | Path) -> np.ndarray:
    if n_layers is None:
        return centroids
    if not 1 <= n_layers <= len(centroids):
        raise InputError(
            f"{source}: has {len(centroids)} layers, --n_layers asks for {n_layers}. Ask for 1 to "
            f"{len(centroids)}."
        )
    return centroids[:n_layers]


def _parquet_files(path: Path) -> list[Path]:
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise InputError(
            f"{path}: no such file, or a folder without parquet files. Check --emb_path."
        )
    return files


def _inspect(files: list[Path], source: str | Path) -> tuple[int, pa.DataType]:
    """The number of rows and the type of the pids, after checks that need no vectors."""
    rows, pid_type = 0, pa.null()
    for file in files:
        try:
            metadata = pq.read_metadata(file)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{file}: not a parquet file, or cut off ({error}).") from error
        schema = metadata.schema.to_arrow_schema()
        missing = [name for name in COLUMNS if name not in schema.names]
        if missing:
            raise InputError(
                f"{file}: no column {', '.join(missing)}. Its columns: {', '.join(schema.names)}."
            )
        if not _is_list_of_floats(schema.field("embedding").type):
            raise InputError(
                f"{file}: column 'embedding' is {schema.field('embedding').type}; a list of floats "
                "is wanted."
            )
        rows, pid_type = rows + metadata.num_rows, schema.field("pid").type
    if not rows:
        raise InputError(f"{source}: no rows. Embed the catalog first.")
    _require_unique_pids(files, source)
    return rows, pid_type


def _is_list_of_floats(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(kind) for is_kind in lists) and pa.types.is_floating(kind.value_type)


def _require_unique_pids(files: list[Path], source: str | Path) -> None:
    names = [str(file) for file in files]
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT pid, sum(times - (pid IS NOT NULL)::INT) OVER () FROM "
            "(SELECT pid, count(*) AS times FROM read_parquet($1) GROUP BY pid) "
            "WHERE times > 1 OR pid IS NULL ORDER BY pid LIMIT $2",
            [names, IDS_SHOWN],
        ).fetchall()
    if found:
        raise offending_rows(
            "ids that are null, or were there before",
            source=source,
            column="pid",
            rows=int(found[0][1]),
            ids=(pid for pid, _ in found),
            remedy="Give each item one row.",
        )


def _batches(files: list[Path], batch_size: int) -> Iterator[pa.RecordBatch]:
    for file in files:
        try:
            with pq.ParquetFile(file, buffer_size=READ_BUFFER, pre_buffer=False) as parquet:
                yield from parquet.iter_batches(batch_size, columns=COLUMNS)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{file}: damaged ({error}). Copy or write it again.") from error


def _encode(batch: pa.RecordBatch, encoder: Encoder, source: str | Path) -> pa.RecordBatch:
    pids = batch["pid"]
    try:
        codes = encoder.encode(_vectors(batch, encoder.dim, source)).codes
    except NotFiniteError as error:
        raise _offending("NaN, infinite or overflowing values", error.rows, pids, source) from error
    ends = np.arange(0, codes.size + 1, codes.shape[1], dtype=np.int32)
    lists = pa.ListArray.from_arrays(ends, codes.reshape(-1))
    return pa.RecordBatch.from_arrays([pids, lists], names=["pid", "codes"])


def _vectors(batch: pa.RecordBatch, width: int, source: str | Path) -> np.ndarray:
    """The vectors of a batch: float32, shape (n, width); a view where the column holds float32."""
    column = batch["embedding"]
    lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy()
    if (lengths != width).any():
        raise _offending(
            f"vectors that are null or not {width} wide, as the tokenizer's centroids are",
            np.flatnonzero(lengths != width),
            batch["pid"],
            source,
        )
    values = column.flatten().cast(pa.float32(), safe=False)
    if values.null_count:
        nulls = np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False)) // width
        raise _offending("vectors with nulls", np.unique(nulls), batch["pid"], source)
    return values.to_numpy().reshape(-1, width)


def _offending(problem: str, rows: np.ndarray, pids: pa.Array, source: str | Path) -> InputError:
    return offending_rows(
        problem,
        source=source,
        column="embedding",
        rows=len(rows),
        ids=(pids[int(row)].as_py() for row in rows),
        remedy="Embed these items anew. (Counted up to the first batch with such rows.)",
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
