"""Part files: parquet files that appear whole or not at all."""

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.spec import AbstractBufferedFile
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.schema import VECTOR, Pid
from sid_assets.core.store.conditional import is_conditional
from sid_assets.core.store.places import (
    arrow_filesystem,
    explained,
    is_local,
    make_folder,
    require_reachable,
)

TEMPORARY_SUFFIX = ".tmp"
VECTOR_ROW_GROUP = 1024
"""Rows per row group if a row holds a vector of 16 kB: 16 MB are read at once."""
ROW_GROUP = 16_384

RENAMES = 16
"""How many parts get their final names at the same time."""

Compression = Literal["none", "snappy", "zstd"]


@dataclass(frozen=True)
class Part:
    """A finished part file.

    Attributes:
        name: File name within its folder.
        rows: Number of rows.
        bytes: Size of the file.
        digest: SHA-256 of the file, 64 hex digits.
        footer_bytes: Size of the parquet footer, the index at the end of the file (0: not parquet).
        footer_digest: SHA-256 of the footer. Parquet itself has checksums for pages only.
        first_pid: Smallest pid in it (None if the table has no pids).
        last_pid: Largest pid in it.
        folder: Name of the version's folder that has the file, if it is another one: object stores
            have no hard links, so a version refers to the parts that it shares.
    """

    name: str
    rows: int
    bytes: int
    digest: str
    footer_bytes: int = 0
    footer_digest: str = ""
    first_pid: Pid = None
    last_pid: Pid = None
    folder: str = ""

    def __post_init__(self) -> None:
        """Refuse names that lead elsewhere: they are read from files that others may have changed.

        Raises:
            ValueError: A name is not that of a file or folder.
        """
        for name in (self.name, self.folder):
            if not isinstance(name, str) or "/" in name or name in (".", ".."):
                raise ValueError(f"{name!r} is not the name of a file or folder")

    def path(self, folder: UPath) -> UPath:
        """The file, given the folder of a version or draft that has this part."""
        return (folder.parent / self.folder if self.folder else folder) / self.name


class WrittenByAnotherError(StoreError):
    """Another process wrote the same part at the same time."""


class PartWriter:
    """Writes one part file under a temporary name, and renames it once it is whole and on disk.

    Use it as a context manager. If the block raises, the temporary file is removed and no part
    appears; `pq.ParquetWriter` alone would leave a short but valid file. An object store has no
    rename and shows an object only once it is whole, so the final name is used from the start.

    `part` describes the file once the block has ended. If the first column is `pid`, it is the key:
    rows must be sorted by it and pids must be unique. Required columns must have no nulls.
    """

    part: Part

    def __init__(
        self,
        path: UPath,
        schema: pa.Schema,
        compression: Compression | None = None,
        *,
        exclusive: bool = False,
    ) -> None:
        """Open the temporary file.

        Args:
            path: The path of the finished part.
            schema: Columns, with the provenance in the metadata.
            compression: A parquet codec; by default zstd, or none for vectors.
            exclusive: Do not replace a part that appeared meanwhile: another process, which was
                only thought to be dead, may have been faster, and others know its part.
        """
        self._path = path
        self._is_exclusive = exclusive
        self._schema = schema
        self._has_vectors = any(field.type == VECTOR for field in schema)
        self._required = [field.name for field in schema if not field.nullable]
        self._rows = 0
        self._first_pid: Pid = None
        self._last_pid: Pid = None
        with explained(path):
            make_folder(path.parent)
            self._temporary = path
            if is_local(path):  # two writers of a part never share a file
                unique = f"{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
                self._temporary = path.with_name(unique)
            mode = "xb" if exclusive and is_conditional(path) else "wb"
            self._sink = _DigestingFile(self._temporary.open(mode))
            self._writer = pq.ParquetWriter(
                pa.PythonFile(self._sink, mode="w"),
                schema,
                compression=compression or ("none" if self._has_vectors else "zstd"),
                use_dictionary=not self._has_vectors,
                write_page_checksum=True,
            )

    def write(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Append rows.

        Raises:
            StoreError: A column or type differs from the table's, a required value is null, pids
                are not in order, or the disk is full.
        """
        rows = rows.cast(self._schema)
        if rows.num_rows == 0:
            return
        for name in self._required:
            if rows.column(name).null_count:
                raise StoreError(f"{self._path}: column {name!r} has nulls; nothing was written.")
        if self._required[:1] == ["pid"] == self._schema.names[:1]:  # the key of the table
            self._check_order(rows.column("pid"))
        self._rows += rows.num_rows
        with explained(self._path, wanted=self._sink.size + rows.nbytes):
            row_group = VECTOR_ROW_GROUP if self._has_vectors else ROW_GROUP
            self._writer.write(rows, row_group_size=row_group)

    def _check_order(self, pids: pa.Array | pa.ChunkedArray) -> None:
        first, last = pids[0].as_py(), pids[-1].as_py()
        steps_up = pc.all(pc.less(pids.slice(0, len(pids) - 1), pids.slice(1))).as_py()
        if steps_up is False or (self._last_pid is not None and not self._last_pid < first):
            raise StoreError(
                f"{self._path}: pids are not sorted or not unique near {first!r}; nothing was "
                "written."
            )
        self._first_pid = first if self._first_pid is None else self._first_pid
        self._last_pid = last

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._abandon()
            return
        try:
            with explained(self._path, wanted=self._sink.size):
                with self._sink.footer() as footer:
                    self._writer.close()
                if is_local(self._path):
                    self._sink.sync()
                self._show()
        except BaseException:
            self._abandon()
            raise
        self.part = Part(
            name=self._path.name,
            rows=self._rows,
            bytes=self._sink.size,
            digest=self._sink.hexdigest(),
            footer_bytes=len(footer),
            footer_digest=hashlib.sha256(footer).hexdigest(),
            first_pid=self._first_pid,
            last_pid=self._last_pid,
        )

    def _show(self) -> None:
        """Let the part appear under its name."""
        try:
            self._sink.close()
            if self._temporary != self._path:
                self._rename()
        except OSError as error:
            if not (isinstance(error, FileExistsError) or is_conditional(self._path)):
                raise
            there = self._digest_there()
            if there is None:
                raise
            # Or the client repeated a write that was done, because the answer was lost.
            if there != self._sink.hexdigest():
                raise WrittenByAnotherError(
                    f"{self._path}: another process has written it at the same time. Run again."
                ) from error

    def _digest_there(self) -> str | None:
        """The digest of what is at the part's name; None if that is nothing, or is not shown."""
        with suppress(OSError):
            return file_digest(self._path)
        return None

    def _rename(self) -> None:
        """Rename the local temporary file.

        Raises:
            FileExistsError: The name is taken, and the writer is exclusive.
        """
        if self._is_exclusive:
            try:
                os.link(self._temporary.path, self._path.path)
            except FileExistsError:
                self._temporary.unlink()
                raise
            except OSError:  # no hard links here
                self._temporary.rename(self._path)
            else:
                self._temporary.unlink()
        else:
            self._temporary.rename(self._path)

    def _abandon(self) -> None:
        # A disk that refused the rows also refuses the footer.
        self._sink.is_abandoned = True
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        with suppress(OSError):
            self._sink.discard()
        if not (self._is_exclusive and is_conditional(self._path)):
            # Else nothing is at the name, or another's part.
            with suppress(OSError):
                self._temporary.unlink(missing_ok=True)


class _DigestingFile:
    """A file open for writing that hashes and counts the bytes written."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._kept: bytearray | None = None
        self.size = 0
        self.is_abandoned = False

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: bytes) -> int:
        if self.is_abandoned:
            return len(data)
        self._hash.update(data)
        if self._kept is not None:
            self._kept += data
        written = self._file.write(data)
        self.size += written
        return written

    @contextmanager
    def footer(self) -> Iterator[bytearray]:
        """Keep what is written in this block."""
        self._kept = bytearray()
        yield self._kept
        self._kept = None

    def flush(self) -> None:
        self._file.flush()

    def sync(self) -> None:
        """Wait until the bytes are on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def discard(self) -> None:
        """Close the file; an object store forgets what it was given."""
        if isinstance(self._file, AbstractBufferedFile):
            self._file.discard()
            self._file.closed = True
        else:
            self._file.close()

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def write_parts(
    folder: UPath,
    reader: pa.RecordBatchReader,
    rows_per_part: int,
    compression: Compression = "snappy",
) -> list[Part]:
    """Cut a stream into part files of `rows_per_part` rows, named as OneRec's loader expects.

    The names contain the number of parts, so files are renamed once all parts are written. A stream
    without rows gives one part without rows, so that readers still see the columns.
    """
    written: list[Part] = []
    rows = rebatched(reader, rows_per_part)
    while (batch := next(rows, None)) is not None or not written:
        path = folder / f"part-{len(written):05d}.parquet"
        with PartWriter(path, reader.schema, compression) as writer:
            if batch is not None:
                writer.write(batch)
        written.append(writer.part)
    with ThreadPoolExecutor(RENAMES) as threads:  # an object store copies, and there are many
        return list(threads.map(lambda part: _renamed(folder, part, len(written)), written))


def part_name(number: int, total: int) -> str:
    """`part-00000-of-00010.parquet`."""
    return f"part-{number:05d}-of-{total:05d}.parquet"


def _renamed(folder: UPath, part: Part, total: int) -> Part:
    name = part_name(int(part.name.removeprefix("part-").removesuffix(".parquet")), total)
    (folder / part.name).rename(folder / name)
    return replace(part, name=name)


def rebatched(reader: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of `rows` rows; the last may be shorter."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in reader:
        held.append(batch)
        count += batch.num_rows
        if count < rows:
            continue
        table = pa.Table.from_batches(held)
        full = count - count % rows
        for start in range(0, full, rows):
            yield table.slice(start, rows).combine_chunks()
        held, count = table.slice(full).to_batches(), count - full
    if count:
        yield pa.Table.from_batches(held).combine_chunks()


def read_part(
    folder: UPath,
    part: Part,
    columns: Sequence[str] | None = None,
    batch_rows: int = VECTOR_ROW_GROUP,
) -> Iterator[pa.RecordBatch]:
    """The rows of a part file in order, batch by batch; checksums are verified.

    Raises:
        StoreError: The part is missing, truncated or damaged.
    """
    path = part.path(folder)
    with readable(path), open_part(path, read_footer(path, part)) as file:
        yield from file.iter_batches(
            batch_size=batch_rows, columns=list(columns) if columns else None, use_threads=False
        )


def read_footer(path: UPath, part: Part) -> pq.FileMetaData:
    """The footer of a part file, verified against its digest.

    Raises:
        StoreError: The part is missing, truncated or damaged.
    """
    with readable(path), path.open("rb") as file:
        file.seek(part.bytes - part.footer_bytes)
        footer = file.read()
    if hashlib.sha256(footer).hexdigest() != part.footer_digest:
        raise StoreError(f"{path}: its footer is damaged. Materialise its asset again.")
    return pq.read_metadata(pa.BufferReader(footer))


def open_part(path: UPath, footer: pq.FileMetaData) -> pq.ParquetFile:
    """Open a part file; no row is read yet."""
    if is_local(path):
        source, filesystem = path.path, arrow_filesystem(path)
    else:  # a column is one request; the client's reading ahead would fetch the next column too
        file = path.fs.open(path.path, "rb", cache_type="none")
        source, filesystem = pa.PythonFile(file, mode="r"), None
    return pq.ParquetFile(
        source, filesystem=filesystem, metadata=footer, page_checksum_verification=True
    )


@contextmanager
def readable(path: UPath) -> Iterator[None]:
    """Turn pyarrow's errors about an unreadable file into a message that names the file.

    Raises:
        StoreError: The file is missing, truncated or damaged.
        UnreachableError: The object store does not show it now.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"{path}: there is no such file. Materialise its asset again.") from error
    except (pa.ArrowException, OSError) as error:
        require_reachable(path, error)
        raise StoreError(
            f"{path}: not a complete parquet file ({error}). Materialise its asset again."
        ) from error


def file_digest(path: UPath) -> str:
    """The SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
