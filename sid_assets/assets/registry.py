"""The registry: who has which SID, which collisions were resolved, and a row for each refresh."""

from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.assets.declare import asset
from sid_assets.assets.domains import Domain, tables_of
from sid_assets.core import schema
from sid_assets.core.catalog.rules_change import texts_of_vectors
from sid_assets.core.contracts.registry import live_rows
from sid_assets.core.errors import InputError
from sid_assets.core.quantise.tokenizer import (
    current_tokenizer,
    load_tokenizer,
    require_tokenizer,
)
from sid_assets.core.registry.kept_codes import compared_generations
from sid_assets.core.registry.making import RefreshCounts
from sid_assets.core.registry.new_sids import Room
from sid_assets.core.registry.publish import Inputs, Publication, publish
from sid_assets.core.registry.refreshes import with_last_refreshes
from sid_assets.core.registry.tables import Tables
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.provenance import derive
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows
from sid_assets.resources import policy_of
from sid_assets.settings import Refresh, Settings

PLOTTED = (
    *("items", "new", "changed", "removed", "returned", "resolved"),
    *("passed_on", "distinct_sids", "shared_sids"),
)
"""The counts of a refresh that the UI plots."""


def sid_registry_asset(domain: Domain) -> dg.AssetsDefinition:
    """`sid_registry` of a domain."""
    table = domain.table("sid_registry")

    @asset(
        domain,
        "sid_registry",
        group="semantic_ids",
        ins=domain.keys("codes", "item_embeddings"),
        deps=[domain.key("item_counts")],
        kinds={"numpy", "parquet"},
        description=f"Every semantic ID that was ever published, and to which of the "
        f"{domain.items} it belongs: one parquet file. It alone decides who has which SID: "
        "published SIDs stay, those of removed items stay reserved, and collisions are resolved if "
        "`SID_MAX_ITEMS_PER_SID` is set.",
    )
    def sid_registry(
        context: dg.AssetExecutionContext,
        settings: Settings,
        refresh: Refresh,
        codes: Version,
        item_embeddings: Version,
    ) -> Draft:
        store = settings.store()
        share = settings.choice("no_room", ("error", "share")) == "share"
        keep = settings.choice("on_text_change", ("requantise", "keep")) == "keep"
        inputs = _inputs(store, domain, codes, item_embeddings)
        policy = policy_of(context, settings, refresh, domain.placement)
        before = store.current(table)
        draft, made = publish(
            store,
            Tables.of(domain.table),
            inputs,
            policy,
            Room(settings.max_items_per_sid, share),
            keep=keep,
            others=[tables for tables in tables_of(settings) if tables.registry != table],
        )
        with draft:
            if policy.new_generation and before and not made.before:
                context.log.info(
                    f"{table}: stays in generation {made.generation.id}, that of the current "
                    "tokenizer_checkpoint. Another one begins with the step tokenizer_checkpoint, "
                    "once every catalog has published this one."
                )
            _tell(context, table, made, settings.max_items_per_sid)
            context.add_output_metadata(_metadata(made))
            if made.before:
                users = inputs.counts.stream(["pid", "users"]) if inputs.counts else ()
                kept = compared_generations(draft.as_version(), made.before, users)
                context.log.info(f"{table}: {kept.sentence()}")
                context.add_output_metadata({"kept_codes": dg.MetadataValue.json(kept.figures())})
        return draft

    return sid_registry


def _inputs(store: Store, domain: Domain, codes: Version, embeddings: Version) -> Inputs:
    """What the registry is made from.

    Raises:
        InputError: The codes were made from other vectors.
    """
    made_from = codes.provenance.inputs.get(embeddings.provenance.asset)
    if made_from != embeddings.provenance.version:
        raise InputError(
            f"{store.path(codes.provenance.asset)}: was made from an earlier version of "
            f"{embeddings.provenance.asset}. Materialise {codes.provenance.asset} again."
        )
    tokenizer = current_tokenizer(store)
    is_theirs = tokenizer and tokenizer.provenance.tokenizer == codes.provenance.tokenizer
    texts = texts_of_vectors(store, domain.table("item_texts"), embeddings.provenance.asset)
    return Inputs(
        codes,
        embeddings,
        texts or store.require(domain.table("item_texts")),
        store.current(domain.table("item_counts")),
        lambda: load_tokenizer(require_tokenizer(store)),
        tokenizer.folder.name if tokenizer and is_theirs else "",
    )


def _tell(context: dg.AssetExecutionContext, table: str, made: Publication, most: int) -> None:
    """The log of a refresh."""
    counts = made.counts
    if made.made_from:
        context.log.info(
            f"{table}: made from the {made.made_from.rows:,} SIDs in pid2sid, which version 0.1 "
            "published. SIDs of unchanged texts stay."
        )
    if made.before:
        context.log.info(f"{table}: generation {made.generation.id} follows {made.before}.")
    context.log.info(
        f"{table}: {counts.items:,} items, {counts.new:,} new, {counts.changed:,} changed, "
        f"{counts.removed:,} removed, {counts.returned:,} returned; {counts.distinct_sids:,} "
        f"distinct SIDs, {counts.shared_sids:,} of more than one item."
    )
    if counts.passed_on:
        context.log.info(
            f"{table}: {counts.passed_on:,} new items have the SID of an item that is gone. "
            "SID_MAX_ITEMS_PER_SID=1 keeps SIDs of removed items free."
        )
    if made.cost:
        context.log.info(f"{table}: {made.cost.sentence()}")
    elif counts.resolved:
        context.log.info(
            f"{table}: {counts.resolved:,} items keep SIDs that earlier refreshes resolved."
        )
    if counts.without_room:
        context.log.warning(
            f"{table}: {counts.without_room:,} new items share the SID of their codes, because all "
            "SIDs with their first two codes are taken (SID_NO_ROOM=share)."
        )
    if counts.over:
        context.log.warning(
            f"{table}: {counts.over:,} items more than SID_MAX_ITEMS_PER_SID={most} allows share "
            "a SID. Published SIDs stay; the run config new_generation gives new ones to all items."
        )


def _metadata(made: Publication) -> dict[str, Any]:
    counts = made.counts
    names = [*PLOTTED, "over", "without_room"]
    return {
        "generation": made.generation.id,
        **{name: getattr(counts, name) for name in names},
        "resolved_share": counts.resolved / max(counts.items, 1),
        "shared_share": _shared(counts),
    }


def _shared(counts: RefreshCounts) -> float:
    """The share of SIDs that more than one item has."""
    return counts.shared_sids / max(counts.distinct_sids, 1)


def sid_moves_asset(domain: Domain) -> dg.AssetsDefinition:
    """`sid_moves` of a domain."""
    table = domain.table("sid_moves")

    @asset(
        domain,
        "sid_moves",
        group="semantic_ids",
        ins=domain.keys("sid_registry"),
        kinds={"parquet"},
        description=f"The {domain.items} whose SID has another third code than their codes, to "
        "resolve a collision: one parquet file (`pid`, `codes`, `sid`, `extra_error`).",
    )
    def sid_moves(
        context: dg.AssetExecutionContext, settings: Settings, sid_registry: Version
    ) -> Draft:
        columns = schema.sid_moves(schema.pid_type_of(sid_registry.schema()))
        errors = _Errors()

        def rows() -> Any:
            live = live_rows(sid_registry, [*columns.names, "made"])
            for batch in live:
                moved = batch.filter(pc.equal(batch["made"], "resolved"))
                errors.add(moved["extra_error"])
                yield moved.select(columns.names).cast(columns)

        reader = pa.RecordBatchReader.from_batches(columns, rows())
        provenance = derive(table, sid_registry.provenance)
        draft = draft_rows(settings.store(), table, reader, provenance)
        with draft:
            context.add_output_metadata(errors.metadata())
        return draft

    return sid_moves


class _Errors:
    """What resolving costs: the extra errors of the items that moved."""

    def __init__(self) -> None:
        self._count, self._sum, self._most = 0, 0.0, 0.0

    def add(self, errors: pa.Array) -> None:
        self._count += len(errors)
        self._sum += pc.sum(errors.cast(pa.float64())).as_py() or 0.0
        self._most = max(self._most, pc.max(errors).as_py() or 0.0)

    def metadata(self) -> dict[str, float]:
        return {
            "items_moved": self._count,
            "mean_extra_error": self._sum / max(self._count, 1),
            "largest_extra_error": self._most,
        }


def sid_refreshes_asset(domain: Domain) -> dg.AssetsDefinition:
    """`sid_refreshes` of a domain."""
    table = domain.table("sid_refreshes")

    @asset(
        domain,
        "sid_refreshes",
        group="semantic_ids",
        ins=domain.keys("sid_registry"),
        kinds={"parquet"},
        description=f"A row for each refresh of the SIDs of the {domain.items}: when it was, and "
        "how many items were new, changed, removed, returned and resolved. One parquet file.",
    )
    def sid_refreshes(
        context: dg.AssetExecutionContext, settings: Settings, sid_registry: Version
    ) -> Draft:
        store = settings.store()
        rows = with_last_refreshes(
            store.current(table), sid_registry, lambda text: context.log.warning(f"{table}: {text}")
        )
        provenance = derive(table, sid_registry.provenance)
        return draft_rows(store, table, rows.to_reader(), provenance)

    return sid_refreshes
