"""Freeing: SIDs that items left before a date are no longer reserved for them."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core import schema
from sid_assets.core.errors import IDS_SHOWN
from sid_assets.core.registry.earlier import BATCH_ROWS, Earlier, of_registry, only_copy
from sid_assets.core.registry.making import RegistryMaking, generation_details, refresh_details
from sid_assets.core.registry.publish import require_unmoved
from sid_assets.core.schema import TIME, Pid
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import write_rows

COLUMNS = ["generation", "pid", "left_at", "freed_at"]


@dataclass(frozen=True)
class Reserved:
    """SIDs that items left before a date, and that are still reserved for them.

    Attributes:
        current: Id of the generation of the SIDs that items have now.
        by_generation: How many there are, by id of the generation, the earliest first.
        pids: The first five of their items.
    """

    current: str
    by_generation: dict[str, int] = field(default_factory=dict)
    pids: list[Pid] = field(default_factory=list)

    @property
    def sids(self) -> int:
        """How many there are."""
        return sum(self.by_generation.values())


def reserved_before(registry: Version, date: dt.datetime) -> Reserved:
    """The SIDs that items left before a date and that no purge has freed.

    Args:
        registry: The table `sid_registry`.
        date: A time with a time zone.

    Raises:
        StoreError: The registry cannot be read.
    """
    found = Reserved(registry.provenance.generation)
    pids: dict[Pid, None] = {}
    with only_copy(registry):
        for batch in registry.stream(COLUMNS, BATCH_ROWS):
            rows = batch.filter(_are_reserved(batch, date))
            for counted in pc.value_counts(rows["generation"]).to_pylist():
                before = found.by_generation.get(counted["values"], 0)
                found.by_generation[counted["values"]] = before + counted["counts"]
            if len(pids) < IDS_SHOWN:
                pids |= dict.fromkeys(rows["pid"].to_pylist())
    found.pids.extend(list(pids)[:IDS_SHOWN])
    return found


def free_sids(store: Store, table: str, date: dt.datetime) -> Reserved:
    """Free the SIDs that items left before a date: their rows get `freed_at`, and nothing else.

    Commits a new version of the registry if there are any. Memory does not grow with the rows.

    Args:
        store: The store of the tables.
        table: Asset key of the registry.
        date: A time with a time zone.

    Returns:
        What was freed.

    Raises:
        StoreError: The registry cannot be read, or another run is writing it.
    """
    with store.draft(table) as draft:
        registry = store.require(table)
        found = reserved_before(registry, date)
        if not found.sids:
            return found
        earlier, making = of_registry(registry), RegistryMaking.of(registry.provenance)
        columns = schema.sid_registry(schema.pid_type_of(registry.schema()))
        rows = (batch.cast(columns) for batch in _freed(earlier, date))
        # As a refresh writes it, so that the next one gives the same version if nothing changes.
        details = generation_details(making.generations)
        made = replace(registry.provenance, version="", details=details)
        write_rows(store, draft, pa.RecordBatchReader.from_batches(columns, rows), made)
        refreshes = refresh_details(
            earlier.refreshes, making.max_items_per_sid, making.tokenizer_version
        )
        draft.add_details(registry.provenance.details | refreshes)
        require_unmoved(draft, earlier)
        store.commit(draft)
    return found


def _freed(earlier: Earlier, date: dt.datetime) -> Iterator[pa.RecordBatch]:
    """All rows, in order; those that are reserved since before a date are freed now."""
    now = pa.scalar(dt.datetime.now(dt.UTC), TIME)
    for batch in earlier.read():
        freed_at = pc.if_else(_are_reserved(batch, date), now, batch["freed_at"])
        place = batch.schema.get_field_index("freed_at")
        yield batch.set_column(place, batch.schema.field(place), freed_at)


def _are_reserved(rows: pa.RecordBatch, date: dt.datetime) -> pa.Array:
    """Which rows were left before a date and are not freed."""
    left = pc.less(rows["left_at"], pa.scalar(date, TIME)).fill_null(False)
    return pc.and_(left, rows["freed_at"].is_null())
