"""The way back from a SID: its items, the prefixes that lead to one, the tokens that spell it."""

from collections.abc import Iterator
from typing import get_args

import dagster as dg
import pyarrow as pa

from sid_assets.assets.domains import Domain
from sid_assets.core.inputs.ids import PidColumn, PidTypeSetting, agree
from sid_assets.core.schema import pid_type_of
from sid_assets.core.sids.prefixes import SidPrefixes
from sid_assets.core.sids.sid2pid import json_chunks, occurrences, reverse
from sid_assets.core.sids.spelling import vocabulary_table
from sid_assets.core.store.places import write_chunks
from sid_assets.core.store.provenance import derive
from sid_assets.core.store.single_files import commit_file
from sid_assets.core.store.versions import StagedTable, Version
from sid_assets.core.store.write import stage_rows
from sid_assets.core.training.inputs import ParquetInput
from sid_assets.failures import clear_failures
from sid_assets.settings import Settings

PREFIXES_SUFFIX = ".safetensors"
BATCH_ROWS = 65_536


def sid2pid_asset(domain: Domain) -> dg.AssetsDefinition:
    """`sid2pid` of a domain, and the same as OneRec's JSON file."""
    table = domain.table("sid2pid")

    @dg.asset(
        key=domain.key("sid2pid"),
        ins={"pid2sid": dg.AssetIn(key=domain.key("pid2sid"))},
        group_name=domain.group("semantic_ids"),
        kinds={"duckdb", "parquet"},
        description=f"The {domain.items} of every semantic ID, most interacted-with first: one "
        "parquet file (`sid`, `codes`, `pids`, `counts`), and the same as "
        f"`{domain.reverse_index}`, which OneRec's evaluation reads.",
    )
    @clear_failures
    def sid2pid(
        context: dg.AssetExecutionContext, settings: Settings, pid2sid: Version
    ) -> StagedTable:
        store = settings.store()
        rows = pid2sid.stream(batch_rows=BATCH_ROWS)
        interacted = _interacted(settings, domain, pid2sid)
        staged = stage_rows(
            store, table, reverse(rows, interacted), derive(table, pid2sid.provenance)
        )
        path = store.root / domain.reverse_index
        try:
            made = staged.as_version().stream(batch_rows=BATCH_ROWS)
            write_chunks(path, json_chunks(made, domain.id_name))
        except BaseException:
            staged.staging.close()
            raise
        context.add_output_metadata(
            {"json": dg.MetadataValue.path(str(path)), "items": pid2sid.rows}
        )
        return staged

    return sid2pid


def _interacted(settings: Settings, domain: Domain, pid2sid: Version) -> Iterator[pa.Array]:
    """The ids of a domain that stand in the interactions, if there are any.

    Raises:
        InputError: The interactions store ids otherwise than the catalog does.
    """
    path = settings.of_catalog("interactions")
    if not path:
        return
    interactions = ParquetInput(path)
    setting = settings.choice("pid_type", get_args(PidTypeSetting))
    texts = settings.store().require(domain.table("item_texts"))
    catalog = PidColumn(**texts.provenance.details["pids"])
    for column in domain.interacted:
        if column in interactions.columns:
            for other in interactions.pid_columns(column):
                agree(catalog, other, setting)
    pid_type = pid_type_of(pid2sid.schema())
    yield from occurrences(interactions, domain.interacted, pid_type, setting)


def sid_prefixes_asset(domain: Domain) -> dg.AssetsDefinition:
    """`sid_prefixes` of a domain."""
    table = domain.table("sid_prefixes")

    @dg.asset(
        key=domain.key("sid_prefixes"),
        ins={"pid2sid": dg.AssetIn(key=domain.key("pid2sid"))},
        group_name=domain.group("semantic_ids"),
        kinds={"numpy"},
        description=f"Which codes may follow each prefix of the SIDs of the {domain.items}: one "
        "safetensors file of five arrays (`codes_0`, `codes_1`, `codes_2`, `offsets_0`, "
        "`offsets_1`), read by decoders that may name only SIDs there are.",
    )
    @clear_failures
    def sid_prefixes(settings: Settings, pid2sid: Version) -> dg.MaterializeResult:
        store = settings.store()
        prefixes = SidPrefixes.of_table(pid2sid.stream(["sid"], BATCH_ROWS))
        provenance = derive(table, pid2sid.provenance)
        version = commit_file(store, prefixes.save, provenance, PREFIXES_SUFFIX)
        return dg.MaterializeResult(
            metadata={
                "dagster/uri": str(store.path(table, PREFIXES_SUFFIX)),
                "sids": len(prefixes),
                "prefixes_of_one_code": len(prefixes.codes[0]),
                "prefixes_of_two_codes": len(prefixes.codes[1]),
                "bytes": version.bytes,
            }
        )

    return sid_prefixes


@dg.asset(
    group_name="semantic_ids",
    kinds={"parquet"},
    description="The tokens that spell semantic IDs, in the order in which OneRec adds them to "
    "Qwen3's vocabulary: one parquet file (`token`, `id`), read by whoever extends a vocabulary. "
    "It is the same for every catalog.",
)
def sid_vocabulary() -> pa.Table:
    """`sid_vocabulary`."""
    return vocabulary_table()
