"""The semantic IDs: SIDs of items, items of SIDs, valid prefixes, and the vocabulary."""

from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import dagster as dg
import pyarrow as pa

from sid_assets.assets.declare import DRAFT, asset
from sid_assets.assets.domains import Domain
from sid_assets.assets.inputs import EVENTS_TABLE, interactions_of
from sid_assets.assets.placement import Placement
from sid_assets.core import schema
from sid_assets.core.catalog.making import TextsMaking
from sid_assets.core.contracts.registry import live_rows
from sid_assets.core.contracts.training import sids_replaced
from sid_assets.core.embedders.hashed_words import HASHING
from sid_assets.core.inputs.ids import PidTypeSetting, agree
from sid_assets.core.sids.pid_map import number_pids
from sid_assets.core.sids.prefixes import SidPrefixes
from sid_assets.core.sids.sid2pid import json_chunks, occurrences, reverse
from sid_assets.core.sids.spelling import vocabulary_table
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.places import write_pieces
from sid_assets.core.store.provenance import Provenance, derive, require_space
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_file, draft_rows
from sid_assets.core.training.file_lists import withdraw_lists
from sid_assets.core.training.run import made_from_others
from sid_assets.settings import Settings

BATCH_ROWS = 65_536


def pid2sid_asset(domain: Domain) -> dg.AssetsDefinition:
    """`pid2sid` of a domain."""

    @asset(
        domain,
        "pid2sid",
        group="semantic_ids",
        ins=domain.keys("sid_registry"),
        kinds={"parquet"},
        description=f"The semantic IDs of all {domain.items}: one parquet file (`pid`, `sid`: a "
        "list of three codes) that OneRec's programs read directly.",
    )
    def pid2sid(
        context: dg.AssetExecutionContext, settings: Settings, sid_registry: Version
    ) -> Draft:
        usable = require_space(sid_registry.provenance).embedder != HASHING
        context.add_output_metadata({"usable_with_onerec_models": usable})
        if not usable:
            context.log.warning(
                f"{domain.table('pid2sid')}: these SIDs come from the demo's hashed words, and "
                "OneRec's models do not know them. SID_DEPLOYMENT=onerec makes SIDs that they know."
            )
        provenance = derive(domain.table("pid2sid"), sid_registry.provenance)
        columns = provenance.attach(schema.pid2sid(schema.pid_type_of(sid_registry.schema())))
        rows = (batch.cast(columns) for batch in live_rows(sid_registry, columns.names))
        reader = pa.RecordBatchReader.from_batches(columns, rows)
        store = settings.store()
        with draft_rows(store, provenance.asset, reader, provenance) as draft:
            _replace_sids(context, domain.placement, store, draft.as_version().provenance)
        return draft

    return pid2sid


def _replace_sids(
    context: dg.AssetExecutionContext, placement: Placement, store: Store, by: Provenance
) -> None:
    """Tell readers, before SIDs are replaced, which training data belongs to the earlier ones.

    A run may be stopped before it makes the training data again.
    """
    data_sets = made_from_others(by, store)
    withdraw_lists(store, data_sets, context.log)
    found = sids_replaced(by)
    for data_set in data_sets:
        context.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=placement.key(data_set.table),
                check_name="current_sids",
                passed=found.passed,
                severity=dg.AssetCheckSeverity.WARN,
                description=found.description,
            )
        )


def pid_map_asset(domain: Domain) -> dg.AssetsDefinition:
    """`pid_map` of a domain."""
    table = domain.table("pid_map")

    @asset(
        domain,
        "pid_map",
        group="semantic_ids",
        ins=domain.keys("pid2sid"),
        kinds={"duckdb", "parquet"},
        output_required=False,
        dagster_type=DRAFT,
        description=f"A stable integer for each string id of the {domain.items}: one parquet file "
        "(`pid`, `number`) for OneRec's scripts, which call `int()` on every id. Skipped if ids "
        "are integers.",
    )
    def pid_map(
        context: dg.AssetExecutionContext, settings: Settings, pid2sid: Version
    ) -> Iterator[dg.Output[Draft]]:
        if schema.pid_type_of(pid2sid.schema()) == "int":
            context.log.info(f"{table} is skipped: ids are integers already.")
            return
        store = settings.store()
        earlier = store.current(table)
        rows = number_pids(pid2sid.stream(["pid"], batch_rows=BATCH_ROWS), earlier)
        with draft_rows(store, table, rows, derive(table, pid2sid.provenance)) as draft:
            yield dg.Output(draft)

    return pid_map


def sid2pid_asset(domain: Domain) -> dg.AssetsDefinition:
    """`sid2pid` of a domain, and OneRec's JSON file with the same content."""
    table = domain.table("sid2pid")

    @asset(
        domain,
        "sid2pid",
        group="semantic_ids",
        ins=domain.keys("pid2sid"),
        deps=[
            domain.placement.key(EVENTS_TABLE),
            *domain.placement.keys_of("interactions"),
        ],
        kinds={"duckdb", "parquet"},
        dagster_type=DRAFT,
        description=f"The {domain.items} of every semantic ID, those with most interactions first: "
        "one parquet file (`sid`, `codes`, `pids`, `counts`), and the same content in "
        f"`{domain.sid2pid_json}`, which OneRec's evaluation reads.",
    )
    def sid2pid(
        context: dg.AssetExecutionContext, settings: Settings, pid2sid: Version
    ) -> Iterator[dg.Output[Draft]]:
        store = settings.store()
        rows = pid2sid.stream(batch_rows=BATCH_ROWS)
        interacted = _interacted(settings, domain, pid2sid)
        reversed_rows, provenance = reverse(rows, interacted), derive(table, pid2sid.provenance)
        path = store.root / domain.sid2pid_json
        with draft_rows(store, table, reversed_rows, provenance) as draft:
            made = draft.as_version().stream(batch_rows=BATCH_ROWS)
            write_pieces(draft.folder / f"_{path.name}", json_chunks(made, domain.id_name))
            metadata = {"json": dg.MetadataValue.path(str(path)), "items": pid2sid.rows}
            yield dg.Output(draft, metadata=metadata)
        # Dagster has committed the table.
        store.show_beside(table, path)

    return sid2pid


def _interacted(settings: Settings, domain: Domain, pid2sid: Version) -> Iterator[pa.Array]:
    """The ids of a domain that occur in the interactions, if there are any.

    Raises:
        InputError: The ids in the interactions and in the catalog have different types.
    """
    setting = settings.choice("pid_type", get_args(PidTypeSetting))
    texts = settings.store().require(domain.table("item_texts"))
    catalog = TextsMaking.of(texts.provenance).pids
    with interactions_of(settings) as interactions:
        if interactions is None:
            return
        for column in domain.interacted:
            if column in interactions.columns:
                for other in interactions.pid_columns(column):
                    agree(catalog, other, setting)
        pid_type = schema.pid_type_of(pid2sid.schema())
        yield from occurrences(interactions, domain.interacted, pid_type, setting)


def sid_prefixes_asset(domain: Domain) -> dg.AssetsDefinition:
    """`sid_prefixes` of a domain."""
    table = domain.table("sid_prefixes")

    @asset(
        domain,
        "sid_prefixes",
        group="semantic_ids",
        ins=domain.keys("pid2sid"),
        kinds={"numpy"},
        description=f"The codes that may follow each prefix of the SIDs of the {domain.items}: one "
        "safetensors file with five arrays (`codes_0`, `codes_1`, `codes_2`, `offsets_0`, "
        "`offsets_1`), for decoders that may generate only existing SIDs.",
    )
    def sid_prefixes(settings: Settings, pid2sid: Version) -> dg.MaterializeResult:
        store = settings.store()
        provenance = derive(table, pid2sid.provenance)
        prefixes = replace(
            SidPrefixes.of_table(pid2sid.stream(["sid"], BATCH_ROWS)),
            generation=provenance.generation,
            tokenizer=provenance.tokenizer,
        )
        draft = draft_file(store, table, prefixes.save, provenance, prefixes.nbytes)
        version = store.commit(draft)
        return dg.MaterializeResult(
            metadata={
                "dagster/uri": str(store.path(table)),
                "sids": len(prefixes),
                "prefixes_of_one_code": len(prefixes.codes[0]),
                "prefixes_of_two_codes": len(prefixes.codes[1]),
                "bytes": version.bytes,
            }
        )

    return sid_prefixes


def sid_vocabulary_asset(domain: Domain) -> dg.AssetsDefinition:
    """`sid_vocabulary`, which is the same for every domain."""

    @asset(
        domain,
        "sid_vocabulary",
        group="semantic_ids",
        ins=domain.keys("pid2sid"),
        kinds={"parquet"},
        description="The tokens of semantic IDs, in the order in which OneRec adds them to Qwen3's "
        "vocabulary: one parquet file (`token`, `id`), for extending a vocabulary. It is the same "
        "for every catalog; its metadata names the generation whose SIDs it spells.",
    )
    def sid_vocabulary(pid2sid: Version) -> pa.Table:
        rows = vocabulary_table()
        return rows.cast(derive("sid_vocabulary", pid2sid.provenance).attach(rows.schema))

    return sid_vocabulary
