"""Adopting existing vectors from parquet files instead of embedding items again.

First, only their ids are read, sorted and compared with the items, to find the wanted rows. Then
these rows are read, checked and written beside the draft, sorted by pid, as rows of
`item_embeddings`. The embedding run reuses them like vectors of the previous version.
"""

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from upath import UPath

from sid_assets.core import schema
from sid_assets.core.arrow.external_sort import sort_batches
from sid_assets.core.arrow.hashes import vector_hashes
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.vector_files import VectorFiles, WantedRows
from sid_assets.core.schema import EMBEDDING_DIM
from sid_assets.core.store.draft import STATE, Draft
from sid_assets.core.store.parts import VECTOR_ROW_GROUP, Part, write_parts
from sid_assets.core.store.pid_ranges import SortedParts
from sid_assets.core.store.places import (
    explained,
    is_local,
    remove_folder,
    require_reachable,
    temporary_folder,
)
from sid_assets.core.store.provenance import EmbeddingSpace, Provenance
from sid_assets.core.store.sealed import read_sealed, write_sealed
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version

ADOPTED = "_adopted.json"
"""Written last into the folder of adopted vectors: its parts, and the number normalised."""

PID_ROWS = 65_536
ROWS_PER_PART = 8192
VECTOR_RUN_BYTES = 256 << 20


def declared_space(text: str, space: EmbeddingSpace) -> None:
    """Refuse vectors whose declared space differs from the embedder's.

    A vector does not show which model made it, so the user declares its space. The declaration is
    compared with the embedder's space, field by field.

    Args:
        text: JSON object of fields of the space, including `model`.
        space: The embedder's space.

    Raises:
        InputError: The text is not such JSON, or a field differs.
    """
    example = json.dumps({"model": space.model, "revision": space.revision})
    try:
        declared = json.loads(text)
    except ValueError:
        declared = None
    known = space.to_dict()
    if not isinstance(declared, dict) or "model" not in declared or declared.keys() - known.keys():
        raise InputError(
            f"SID_EMBEDDINGS_SPACE={text!r}: must be a JSON object that names the model of the "
            f"vectors in SID_EMBEDDINGS, e.g. {example}. "
            f"Possible fields: {', '.join(known)}."
        )
    differences = [
        f"{name}: {value!r}, but the embedder's is {known[name]!r}"
        for name, value in declared.items()
        if value != known[name]
    ]
    if differences:
        raise InputError(
            "SID_EMBEDDINGS_SPACE declares another embedding space than the embedder's "
            f"({'; '.join(differences)}). Vectors of two spaces are never mixed. Set the embedder "
            "to the one that made the vectors, or unset SID_EMBEDDINGS."
        )


@dataclass(frozen=True)
class Adopted:
    """Adopted vectors, sorted by pid, with all columns of `item_embeddings`.

    Attributes:
        key: Identifies their content: the same files, texts and wanted rows.
        folder: The folder of their parts.
        parts: Part files.
        normalised: Number of vectors that did not have unit norm and were normalised.
    """

    key: str
    folder: UPath
    parts: tuple[Part, ...]
    normalised: int

    @property
    def rows(self) -> int:
        """Number of vectors."""
        return sum(part.rows for part in self.parts)

    @property
    def sorted_parts(self) -> SortedParts:
        """The parts, for reading ranges of pids."""
        return SortedParts(self.folder, self.parts)


def adopt(
    draft: Draft,
    texts: Version,
    files: VectorFiles,
    wanted: WantedRows,
    log: Callable[[str], None],
) -> Adopted:
    """Write the wanted vectors beside a draft, once for these texts.

    If the run is killed, the next run reuses them; a commit of the table removes them. Memory does
    not grow with their number.

    Args:
        draft: Draft of `item_embeddings`; it need not have begun.
        texts: The items; a vector gets the hash of its item's text.
        files: The files of the vectors.
        wanted: The rows to adopt.
        log: Called with messages about progress.

    Raises:
        InputError: A vector or a pid is invalid.
        StoreError: The disk is full.
    """
    key = _key(texts.provenance.version, files, wanted)
    left = draft.left_beside(key)
    adopted = _finished(left, key) if left else None
    if adopted is None:
        log(f"Adopting the vectors of {wanted.count:,} items from {files.setting}.")
        adopted = _write(draft.folder_beside(key), draft.table, key, texts, files, wanted)
    if adopted.normalised:
        log(
            f"{files.setting}: {adopted.normalised:,} of {adopted.rows:,} adopted vectors did not "
            "have unit norm and were normalised."
        )
    return adopted


def adopted_already(
    store: Store, table: str, texts_version: str, files: VectorFiles, wanted: WantedRows
) -> bool:
    """Whether an earlier run wrote the wanted vectors for this version of the texts."""
    key = _key(texts_version, files, wanted)
    runs = store.unfinished(table)
    return any(run.state.get("key") == key and (run.folder / ADOPTED).exists() for run in runs)


def _key(texts_version: str, files: VectorFiles, wanted: WantedRows) -> str:
    content = hashlib.sha256(wanted.mask.tobytes())
    content.update(f"{files.files.fingerprint} {texts_version}".encode())
    return f"adopted-{content.hexdigest()[:16]}"


def _finished(folder: UPath, key: str) -> Adopted | None:
    """The vectors that an earlier run adopted; None if it did not finish."""
    try:
        fields = read_sealed(folder / ADOPTED)
        parts = tuple(Part(**part) for part in fields["parts"])
        return Adopted(key, folder, parts, fields["normalised"])
    except (OSError, ValueError, TypeError, LookupError) as error:
        require_reachable(folder / ADOPTED, error)
        return None


def _write(
    folder: UPath,
    table: str,
    key: str,
    texts: Version,
    files: VectorFiles,
    wanted: WantedRows,
) -> Adopted:
    for left in list(folder.iterdir()):
        if left.is_dir():
            remove_folder(left)
        elif left.name != STATE:
            left.unlink()
    # The disk of a local store has room; a temporary folder may be in memory.
    beside = is_local(folder)
    scratch_of_run = (
        tempfile.TemporaryDirectory(dir=folder.path, prefix="_") if beside else temporary_folder()
    )
    with explained(folder), scratch_of_run as scratch:
        rows: Iterable[pa.RecordBatch] = files.vectors(texts.pid_type, wanted)
        if not wanted.sorted:
            rows = sort_batches(rows, "pid", Path(scratch) / "vectors", VECTOR_RUN_BYTES)
        columns = Provenance(table).attach(schema.item_embeddings(texts.pid_type))
        reader = pa.RecordBatchReader.from_batches(columns, _complete(rows, texts, columns))
        parts = write_parts(folder, reader, ROWS_PER_PART, "none")
    note = {
        "parts": [dataclasses.asdict(part) for part in parts],
        "normalised": wanted.normalised,
    }
    write_sealed(folder / ADOPTED, note)
    return Adopted(key, folder, tuple(parts), wanted.normalised)


def _complete(
    rows: Iterable[pa.RecordBatch], texts: Version, columns: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Rows of `item_embeddings`, from pids and vectors sorted by pid."""
    hashes = pa.schema([columns.field("text_hash").with_nullable(True)])
    for batch in joined(rows, texts.stream(["pid", "text_hash"], PID_ROWS), hashes):
        for start in range(0, batch.num_rows, VECTOR_ROW_GROUP):
            block = batch.slice(start, VECTOR_ROW_GROUP)
            vectors = block["embedding"].flatten().to_numpy().reshape(-1, EMBEDDING_DIM)
            values = [block["pid"], block["embedding"], block["text_hash"], vector_hashes(vectors)]
            yield pa.record_batch(values, schema=columns)
