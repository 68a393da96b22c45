"""Versions: committed states of a table, each in its own folder with a manifest."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.dataset as pads
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.schema import PidType
from sid_assets.core.store.parts import VECTOR_ROW_GROUP, Part, read_footer, read_part
from sid_assets.core.store.places import arrow_filesystem, local_copy, write_json
from sid_assets.core.store.provenance import Provenance

MANIFEST = "_manifest.json"

Content = TypeVar("Content")


@dataclass(frozen=True)
class Version:
    """A committed version of a table.

    Attributes:
        folder: The folder of its files.
        provenance: Where it comes from; `provenance.version` identifies its content.
        created: When it was committed (UTC, ISO 8601).
        parts: Its files, in row order.
        before: Name of the previous version's folder ("" if there is none).
    """

    folder: UPath
    provenance: Provenance
    created: str
    parts: tuple[Part, ...]
    before: str = ""

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        """Size of all parts."""
        return sum(part.bytes for part in self.parts)

    @property
    def pid_type(self) -> PidType:
        """`int` or `string`, according to the manifest; no file is read."""
        return "string" if isinstance(self.parts[0].first_pid, str) else "int"

    @property
    def paths(self) -> list[UPath]:
        """The files, in row order."""
        return [part.path(self.folder) for part in self.parts]

    def previous(self) -> "Version | None":
        """The previous version; None if there is none or it is no longer kept.

        On an object store, its folder may still exist, with parts that this version refers to.
        """
        folder = self.folder.parent / self.before
        return read_version(folder) if self.before and (folder / MANIFEST).exists() else None

    def schema(self) -> pa.Schema:
        """The columns of the first part, with the provenance and version in the metadata.

        Raises:
            StoreError: The part is missing or damaged.
        """
        footer = read_footer(self.paths[0], self.parts[0])
        return self.provenance.attach(footer.schema.to_arrow_schema())

    def stream(
        self, columns: Sequence[str] | None = None, batch_rows: int = VECTOR_ROW_GROUP
    ) -> pa.RecordBatchReader:
        """The rows in order, batch by batch; memory does not grow with their number.

        Raises:
            StoreError: While reading: a part is missing, damaged, or has other columns.
        """
        schema = self.schema()
        if columns:
            narrow = pa.schema([schema.field(name) for name in columns])
            schema = narrow.with_metadata(schema.metadata)
        return pa.RecordBatchReader.from_batches(schema, self._batches(schema, batch_rows))

    def _batches(self, schema: pa.Schema, batch_rows: int) -> Iterator[pa.RecordBatch]:
        for part in self.parts:
            for batch in read_part(self.folder, part, schema.names, batch_rows):
                try:
                    yield batch.cast(schema)
                except (pa.ArrowException, ValueError) as error:
                    raise StoreError(
                        f"{part.path(self.folder)}: the columns differ from the table's "
                        f"({error}). Materialise its asset again."
                    ) from error

    def dataset(self) -> pads.Dataset:
        """The rows as a pyarrow data set, for filters and for engines that read data sets."""
        paths = [path.path for path in self.paths]
        return pads.dataset(
            paths, schema=self.schema(), filesystem=arrow_filesystem(self.folder), format="parquet"
        )

    def load_file(self, load: Callable[[Path], Content]) -> Content:
        """The content of the only file of a table without rows, such as the tokenizer.

        Args:
            load: Reads the file from a local path.
        """
        with local_copy(self.paths[0]) as path:
            return load(path)


def read_version(folder: UPath) -> Version:
    """Read the manifest of a committed version.

    Raises:
        StoreError: There is no manifest, or it is damaged.
        InputError: A newer version of this package wrote it.
    """
    manifest = folder / MANIFEST
    try:
        fields = json.loads(manifest.read_text())
        return Version(
            folder=folder,
            provenance=Provenance.from_json(json.dumps(fields["provenance"]), manifest),
            created=fields["created"],
            parts=tuple(Part(**part) for part in fields["parts"]),
            before=fields["before"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{manifest}: cannot be read ({error}). {how_to_make_afresh(folder.parent)}"
        ) from error


def write_manifest(version: Version) -> None:
    """Write the manifest that `read_version` reads, whole or not at all.

    Raises:
        StoreError: The file cannot be written, e.g. because the disk is full.
    """
    fields = {
        "created": version.created,
        "before": version.before,
        "provenance": json.loads(version.provenance.to_json()),
        "parts": [dataclasses.asdict(part) for part in version.parts],
    }
    write_json(version.folder / MANIFEST, fields)


def content_version(parts: Sequence[Part]) -> str:
    """Identifies the content of parts: a hash of their digests, 16 hex digits."""
    digests = "".join(part.digest for part in parts)
    return hashlib.sha256(digests.encode()).hexdigest()[:16]


def how_to_make_afresh(history: UPath) -> str:
    """What to do about a damaged manifest or pointer, given the folder of all versions."""
    return f"Restore it from a backup, or move {history} away; the next run recreates the table."
