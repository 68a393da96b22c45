"""Versions: committed states of a table, each in its own folder with a manifest."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.dataset as pads
from pydantic import TypeAdapter
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.schema import PidType
from sid_assets.core.store.parts import VECTOR_ROW_GROUP, Part, read_footer, read_part
from sid_assets.core.store.places import arrow_filesystem, is_local, local_copy, require_reachable
from sid_assets.core.store.provenance import (
    Provenance,
    reason_of,
    require_readable_format,
)
from sid_assets.core.store.sealed import unsealed, write_sealed

MANIFEST = "_manifest.json"

FOLDER_NAME = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}")
"""The name of a folder of a version or a draft."""

_FILE_NAME = re.compile(r"[^/\\._][^/\\]*")

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
        """`int` or `string`, according to the manifest; no file is read.

        Only for tables whose key is the pid, and that have rows.
        """
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
        UnreachableError: The object store does not show it now.
        InputError: A newer version of this package wrote it.
    """
    manifest = folder / MANIFEST
    try:
        text = manifest.read_text(encoding="utf-8")
        require_readable_format(_provenance_in(text), manifest)
        read = _MANIFEST.validate_json(json.dumps(unsealed(text)), strict=True)
        _require_names(read)
    except (OSError, ValueError) as error:
        require_reachable(manifest, error)
        raise StoreError(
            f"{manifest}: is damaged or missing ({reason_of(error)}). "
            f"{how_to_restore(folder.parent)}"
        ) from error
    return Version(folder, read.provenance, read.created, read.parts, read.before)


def _provenance_in(text: str) -> Any:
    fields = json.loads(text)
    return fields.get("provenance") if isinstance(fields, dict) else None


@dataclass(frozen=True)
class _Manifest:
    """What a manifest holds, as JSON."""

    provenance: Provenance
    created: str
    parts: tuple[Part, ...]
    before: str


_MANIFEST = TypeAdapter(_Manifest)


def _require_names(manifest: _Manifest) -> None:
    """Refuse names that lead to another folder.

    Raises:
        ValueError: The message quotes the name.
    """
    if manifest.before and not FOLDER_NAME.fullmatch(manifest.before):
        raise ValueError(f"before: {manifest.before!r} is not the name of a version")
    if not manifest.parts:
        raise ValueError("parts: there are none")
    for part in manifest.parts:
        if not _FILE_NAME.fullmatch(part.name):
            raise ValueError(f"parts: {part.name!r} is not the name of a part")


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
    write_sealed(version.folder / MANIFEST, fields)


def content_version(parts: Sequence[Part]) -> str:
    """Identifies the content of parts: a hash of their digests, 16 hex digits."""
    digests = "".join(part.digest for part in parts)
    return hashlib.sha256(digests.encode()).hexdigest()[:16]


_WITHOUT_A_BACKUP = {
    "tokenizer_checkpoint": "Without it, only a new generation is possible, which moves every SID.",
    "sid_registry": "Only it knows the SIDs that are published; it cannot be made again. "
    "Without a backup, the version before it may be in {history}: a folder with a _manifest.json "
    "that can be read. {pointing}; SIDs "
    "that were first published by the last refresh may then change.",
    "pid_map": "Without it, ids cannot keep their numbers.",
    "item_embeddings": "Without a backup, move {history} to a place outside of the data folder and "
    "keep it; the next run embeds all items again.",
}
"""By table. All other tables are made again from these and from the catalog."""


def how_to_restore(history: UPath) -> str:
    """What to do about a damaged manifest, given the folder of all versions of a table."""
    pointing = (
        "Point the symlink `current` there to it (`ln -sfn FOLDER current`)"
        if is_local(history)
        else "Let `current.json` there name it"
    )
    otherwise = _WITHOUT_A_BACKUP.get(
        history.name,
        "Without a backup, move {history} to a place outside of the data folder; the next run "
        "makes the table again.",
    )
    return (
        f"Restore this file from a backup, and leave the others in {history} as they are. "
        f"{otherwise.format(history=history, pointing=pointing)}"
    )
