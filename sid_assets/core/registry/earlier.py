"""What was published before this refresh: the registry, or the `pid2sid` of version 0.1.

Only the registry knows all SIDs that were ever published. It is never made again from other tables
once it was there.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core import schema
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.catalog.making import TextsMaking
from sid_assets.core.errors import StoreError
from sid_assets.core.registry.generation import Generation
from sid_assets.core.registry.making import KnownGeneration, RefreshRecord, RegistryMaking
from sid_assets.core.registry.tables import Tables
from sid_assets.core.schema import HASH, PidType
from sid_assets.core.store.pid_ranges import SortedParts
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version, how_to_restore

BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Earlier:
    """What was published before.

    Attributes:
        pid_type: The type of its pids; None if nothing was published.
        current: Id of the generation that pid2sid was made from; "" if nothing was published.
        generations: The generations there are rows of, the earliest first.
        refreshes: The refreshes that `sid_refreshes` may have no row of.
        read: Gives all rows, as a stream in the order of the registry.
        version: The registry; None if there is none yet.
    """

    pid_type: PidType | None
    current: str
    generations: tuple[KnownGeneration, ...]
    refreshes: tuple[RefreshRecord, ...]
    read: Callable[[], Iterable[pa.RecordBatch]]
    version: Version | None = None

    def rows(self, generations: Iterable[str]) -> Iterator[pa.RecordBatch]:
        """The rows of generations, in order."""
        wanted = pa.array(list(generations), pa.string())
        if not len(wanted):
            return
        for batch in self.read():
            found = pc.is_in(batch["generation"], value_set=wanted)
            yield batch if pc.all(found).as_py() else batch.filter(found)

    @property
    def at(self) -> dt.datetime | None:
        """When the last refresh was; None if there was none."""
        return dt.datetime.fromisoformat(self.refreshes[-1].at) if self.refreshes else None


NOTHING = Earlier(None, "", (), (), lambda: ())
"""What is published before the first refresh."""


def of_registry(version: Version) -> Earlier:
    """What a version of the registry says."""
    making = RegistryMaking.of(version.provenance)
    last = version.provenance.version
    refreshes = tuple(
        replace(record, registry=record.registry or last) for record in making.refreshes
    )
    with only_copy(version):
        pid_type = schema.pid_type_of(version.schema())

    def read() -> Iterator[pa.RecordBatch]:
        with only_copy(version):
            yield from version.stream(batch_rows=BATCH_ROWS)

    current = version.provenance.generation
    return Earlier(pid_type, current, making.generations, refreshes, read, version)


@contextmanager
def only_copy(version: Version) -> Iterator[None]:
    """Say of a damaged registry that it cannot be made again, and how to restore it.

    Raises:
        StoreError: The registry cannot be read.
    """
    try:
        yield
    except StoreError as error:
        told = str(error).removesuffix(" Materialise its asset again.")
        raise StoreError(f"{told} {how_to_restore(version.folder.parent)}") from error


def published_without_registry(
    store: Store, pid2sid: Version, tables: Tables, now: Generation
) -> Earlier:
    """What `pid2sid` of version 0.1 says, which had no registry.

    Args:
        store: The store of the tables.
        pid2sid: The version of `pid2sid`.
        tables: The names of the tables that it was made from.
        now: The generation of this refresh.

    Raises:
        StoreError: There was a registry, and it is lost.
    """
    if pid2sid.provenance.generation:
        raise StoreError(
            f"{store.path(tables.registry)}: is missing, although {store.path(tables.pid2sid)} was "
            f"made from it. {how_to_restore(store.history(tables.registry))}"
        )
    before, pid_type = _generation_of_0_1(store, pid2sid, tables, now), pid2sid.pid_type
    if before is None:
        return NOTHING
    columns = schema.sid_registry(pid_type)
    vectors = behind(store, pid2sid, tables.codes, tables.embeddings)

    def read() -> Iterator[pa.RecordBatch]:
        rows = pid2sid.stream(batch_rows=BATCH_ROWS)
        hashes = _readable_hashes(vectors)
        for batch in joined(rows, hashes, pa.schema([("text_hash", HASH)])):
            yield _as_registry(batch, before, columns)

    return Earlier(pid_type, before.id, (before,), (), read)


def _generation_of_0_1(
    store: Store, pid2sid: Version, tables: Tables, now: Generation
) -> KnownGeneration | None:
    """The generation of SIDs that version 0.1 published; None if they do not say what they are.

    Version 0.1 changed its rules of texts by itself, so that rules tell no generations apart.
    """
    provenance = pid2sid.provenance
    if provenance.space is None:
        return None
    texts = behind(store, pid2sid, tables.codes, tables.embeddings, tables.texts)
    template = TextsMaking.of(texts.provenance).template if texts else now.template
    before = Generation(provenance.space, provenance.tokenizer, template, now.rules)
    return KnownGeneration(before, pid2sid.created)


def behind(store: Store, version: Version, *tables: str) -> Version | None:
    """The version of the last table that a version was made from, table by table; None if lost."""
    found: Version | None = version
    for table in tables:
        wanted = found.provenance.inputs.get(table) if found else None
        kept = store.kept(table)
        found = next((one for one in kept if one.provenance.version == wanted), None)
    return found


def _readable_hashes(embeddings: Version | None) -> Iterator[pa.RecordBatch]:
    """The text hashes of all items that can be read; others count as unknown."""
    if embeddings:
        for batch in SortedParts.of(embeddings).all_rows(["pid", "text_hash"], lambda _: None):
            yield batch.select(["pid", "text_hash"])


def _as_registry(
    batch: pa.RecordBatch, before: KnownGeneration, columns: pa.Schema
) -> pa.RecordBatch:
    """Rows of pid2sid with their text hashes, as rows of the registry."""
    count = batch.num_rows
    published = dt.datetime.fromisoformat(before.since)
    constant = {"generation": before.id, "made": "quantised", "published_at": published}
    values = {
        "pid": batch["pid"],
        "sid": batch["sid"],
        "codes": batch["sid"],
        "text_hash": batch["text_hash"],
    }
    for field in columns:
        if field.name in constant:
            values[field.name] = pa.repeat(pa.scalar(constant[field.name], field.type), count)
        elif field.name not in values:
            values[field.name] = pa.nulls(count, field.type)
    return pa.record_batch([values[name] for name in columns.names], columns)
