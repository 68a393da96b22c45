"""Publication: a new version of the registry, made from the codes of today's items."""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import numpy as np
import pyarrow as pa

from sid_assets.core import schema
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.contracts.unmoved import check_unmoved
from sid_assets.core.errors import StoreError
from sid_assets.core.refresh import RefreshPolicy
from sid_assets.core.registry.counting import Cost, Counting
from sid_assets.core.registry.earlier import (
    BATCH_ROWS,
    NOTHING,
    Earlier,
    of_registry,
    published_without_registry,
)
from sid_assets.core.registry.generation import Generation
from sid_assets.core.registry.generation_guard import require_generation, require_pid_type
from sid_assets.core.registry.making import (
    KnownGeneration,
    RefreshCounts,
    RefreshRecord,
    RegistryMaking,
    generation_details,
    refresh_details,
)
from sid_assets.core.registry.new_sids import Given, Room, resolved_sids
from sid_assets.core.registry.refreshes import rows_so_far
from sid_assets.core.registry.run import RegistryRefresh
from sid_assets.core.registry.tables import Tables
from sid_assets.core.registry.vectors import vectors_at
from sid_assets.core.schema import HASH
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.provenance import derive
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import write_rows


@dataclass(frozen=True)
class Inputs:
    """What a refresh of the registry reads.

    Attributes:
        codes: The version of `codes`.
        embeddings: The version of `item_embeddings` that they were made from.
        texts: The version of `item_texts` that these were made from.
        counts: The version of `item_counts`; None if there is none.
        centroids: Loads the tokenizer's centroids: float32 (3, K, 4096).
        tokenizer_version: Name of the folder of the tokenizer's version; "" if not known.
    """

    codes: Version
    embeddings: Version
    texts: Version
    counts: Version | None
    centroids: Callable[[], np.ndarray]
    tokenizer_version: str = ""

    def items(self, *, popularity: bool) -> pa.RecordBatchReader:
        """The items: `pid`, `codes`, `text_hash` and, if wanted, `users`; sorted by pid."""
        hashes = pa.schema([("text_hash", HASH)])
        codes = self.codes.stream(["pid", "codes"], BATCH_ROWS)
        texts = self.embeddings.stream(["pid", "text_hash"], BATCH_ROWS)
        rows, columns = joined(codes, texts, hashes), [*codes.schema, *hashes]
        if popularity:
            users = pa.schema([("users", pa.int64())])
            counts = self.counts.stream(["pid", "users"], BATCH_ROWS) if self.counts else ()
            rows, columns = joined(rows, counts, users), [*columns, *users]
        whole = pa.schema([pa.field(field.name, field.type) for field in columns])
        return pa.RecordBatchReader.from_batches(whole, (batch.cast(whole) for batch in rows))


@dataclass(frozen=True)
class Publication:
    """What a refresh of the registry did.

    Attributes:
        generation: The generation of its SIDs.
        counts: What it did.
        before: Id of the generation before, if this refresh began or took up another one; else "".
        made_from: The version of `pid2sid` that the registry was made from, if there was none.
        cost: What resolving does; None if no SID is resolved, or SID_MAX_ITEMS_PER_SID is 0.
    """

    generation: Generation
    counts: RefreshCounts
    before: str = ""
    made_from: Version | None = None
    cost: Cost | None = None


def publish(
    store: Store,
    tables: Tables,
    inputs: Inputs,
    policy: RefreshPolicy,
    room: Room,
    *,
    keep: bool = False,
    others: Sequence[Tables] = (),
) -> tuple[Draft, Publication]:
    """Make the next version of the registry. The caller commits it.

    Args:
        store: The store of the tables.
        tables: The names of the domain's tables.
        inputs: What is read.
        policy: Whether a new generation may begin.
        room: How many items may have a SID.
        keep: Whether an item keeps its SID when its text changes.
        others: The tables of the other domains.

    Raises:
        InputError: A new generation would begin, ids are of another type than before, or there is
            no room for some items.
        StoreError: The registry cannot be read, a published SID would move, or another run is
            writing the registry.
    """
    made = Generation.of(inputs.texts.provenance, inputs.codes.provenance)
    # The lock before the first look: a purge must not change what this refresh reads.
    with store.draft(tables.registry) as draft:
        earlier, made_from = _earlier(store, tables, made)
        generation = _generation(earlier, made, policy, inputs.tokenizer_version)
        require_generation(earlier, generation, policy, _published_by(store, others, generation))
        pid_type = inputs.codes.pid_type
        require_pid_type(earlier.pid_type, pid_type)
        at = _time_after(earlier)
        known = _generations(earlier, generation, at)
        columns = schema.sid_registry(pid_type)
        refresh = RegistryRefresh(
            lambda: inputs.items(popularity=room.most > 0),
            lambda: pa.RecordBatchReader.from_batches(columns, earlier.rows([generation.id])),
            generation.id,
            at,
            keep,
        )
        vectors = partial(vectors_at, inputs.embeddings)
        given = Given(inputs.centroids, vectors)
        if room.most:
            given = resolved_sids(
                refresh.decisions,
                room,
                inputs.centroids,
                vectors,
                (store.path(tables.codes), store.path(tables.registry)),
            )
        counting = Counting(resolving=room.most > 0)
        ids = [one.id for one in known]
        place = ids.index(generation.id)
        rows = chain(
            earlier.rows(ids[:place]),
            refresh.refreshed(given, counting),
            earlier.rows(ids[place + 1 :]),
        )
        provenance = derive(
            tables.registry,
            inputs.codes.provenance,
            generation=generation.id,
            details=generation_details(known),
        )
        write_rows(store, draft, pa.RecordBatchReader.from_batches(columns, rows), provenance)
        counts = counting.counts(room.most, given.without_room)
        record = RefreshRecord(_text(at), generation.id, generation.tokenizer, counts)
        refreshes = [*_without_row(store, tables, earlier), record]
        draft.add_details(refresh_details(refreshes, room.most, inputs.tokenizer_version))
        require_unmoved(draft, earlier)
    before = earlier.current if earlier.current not in ("", generation.id) else ""
    return draft, Publication(generation, counts, before, made_from, counting.cost(counts))


def _earlier(
    store: Store, tables: Tables, generation: Generation
) -> tuple[Earlier, Version | None]:
    """What was published before, and the `pid2sid` of version 0.1 if that says it."""
    registry = store.current(tables.registry)
    if registry:
        return of_registry(registry), None
    pid2sid = store.current(tables.pid2sid)
    if pid2sid is None:
        return NOTHING, None
    earlier = published_without_registry(store, pid2sid, tables, generation)
    return earlier, pid2sid if earlier.current == generation.id else None


def _generation(
    earlier: Earlier, made: Generation, policy: RefreshPolicy, tokenizer_version: str
) -> Generation:
    """The generation of this refresh.

    It is the one that was made in the same way, if there is one. If that is the current one and a
    new generation is asked for, it is a repetition of it, unless SIDs were already published with
    this very version of the tokenizer: then it is the one that was asked for.
    """
    same = [one for one in earlier.generations if replace(one.generation, repeat=0) == made]
    current = next((one for one in same if one.id == earlier.current), None)
    if current and policy.new_generation and not _is_of(earlier, tokenizer_version):
        return replace(made, repeat=len(same))
    return (current or same[-1]).generation if same else made


def _is_of(earlier: Earlier, tokenizer_version: str) -> bool:
    """Whether the last refresh was made with this version of the tokenizer."""
    if not (earlier.version and tokenizer_version):
        return False
    return RegistryMaking.of(earlier.version.provenance).tokenizer_version == tokenizer_version


def _published_by(store: Store, others: Sequence[Tables], generation: Generation) -> list[str]:
    """The registries of other domains whose SIDs are of the tokenizer of a generation."""
    registries = [store.current(tables.registry) for tables in others]
    return [
        registry.provenance.asset
        for registry in registries
        if registry and registry.provenance.tokenizer == generation.tokenizer
    ]


def _time_after(earlier: Earlier) -> dt.datetime:
    """Now, or just after the last refresh if the clock was set back."""
    now = dt.datetime.now(dt.UTC)
    return max(now, earlier.at + dt.timedelta(microseconds=1)) if earlier.at else now


def _text(at: dt.datetime) -> str:
    return at.isoformat(timespec="microseconds")


def _generations(
    earlier: Earlier, generation: Generation, at: dt.datetime
) -> tuple[KnownGeneration, ...]:
    """The generations that the registry will have rows of, the earliest first."""
    if any(known.id == generation.id for known in earlier.generations):
        return earlier.generations
    return (*earlier.generations, KnownGeneration(generation, _text(at)))


def _without_row(store: Store, tables: Tables, earlier: Earlier) -> Iterator[RefreshRecord]:
    """The earlier refreshes that `sid_refreshes` has no row of, because a run was killed.

    A damaged history stops no publication: the step that makes it tells of the damage.
    """
    listed = None
    with suppress(StoreError):
        listed = store.current(tables.refreshes)
    times = set(rows_so_far(listed)["at"].to_pylist())
    for record in earlier.refreshes:
        if dt.datetime.fromisoformat(record.at) not in times:
            yield record


def require_unmoved(draft: Draft, earlier: Earlier) -> None:
    """Refuse a version that would move a published SID.

    Raises:
        StoreError: The message says which; it is a fault of this package.
    """
    found = check_unmoved(draft.as_version(), earlier.version)["unmoved"]
    if not found.passed:
        raise StoreError(
            f"{draft.table}: nothing was published, because published SIDs would move: "
            f"{found.description}. This is a fault of sid_assets; please report it."
        )
