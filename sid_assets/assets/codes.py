"""The fourth stage: the codes of every item, and the table that OneRec's programs read."""

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa

from sid_assets.assets.domains import Domain
from sid_assets.assets.tokenizer import TABLE as TOKENIZER
from sid_assets.core import schema
from sid_assets.core.embedders.hashed_words import HASHING
from sid_assets.core.quantise.run import encode_items
from sid_assets.core.quantise.tokenizer import require_tokenizer
from sid_assets.core.sids.pid_map import number_pids
from sid_assets.core.store.provenance import derive, require_space
from sid_assets.core.store.versions import StagedTable, Version
from sid_assets.failures import clear_failures
from sid_assets.observation import observer
from sid_assets.settings import Settings


def codes_asset(domain: Domain) -> dg.AssetsDefinition:
    """`codes` of a domain."""
    table = domain.table("codes")

    @dg.asset(
        key=domain.key("codes"),
        ins={"item_embeddings": dg.AssetIn(key=domain.key("item_embeddings"))},
        deps=[TOKENIZER],
        group_name=domain.group("semantic_ids"),
        kinds={"pytorch", "parquet"},
        pool="gpu",
        description=f"The three codes of each of the {domain.items}: the indexes of the nearest "
        "centroids, exact and the same on every device. A folder of parquet files (`pid`, "
        "`codes`, `vector_hash`, `residual_norms`), read by `pid2sid` and `sid_quality`.",
    )
    @clear_failures
    def codes(
        context: dg.AssetExecutionContext, settings: Settings, item_embeddings: Version
    ) -> StagedTable:
        store = settings.store()
        tokenizer = require_tokenizer(store)
        staged, progress = encode_items(
            store,
            table,
            item_embeddings,
            tokenizer,
            settings.device or None,
            context.log.warning,
            observer(context),
        )
        context.log.info(f"{table}: {progress.describe()}")
        context.add_output_metadata(
            {
                "items_quantised": progress.computed,
                "items_reused": progress.reused,
                "items_resumed": progress.resumed,
                "tokenizer": tokenizer.provenance.tokenizer,
            }
        )
        return staged

    return codes


def pid2sid_asset(domain: Domain) -> dg.AssetsDefinition:
    """`pid2sid` of a domain."""

    @dg.asset(
        key=domain.key("pid2sid"),
        ins={"codes": dg.AssetIn(key=domain.key("codes"))},
        group_name=domain.group("semantic_ids"),
        kinds={"parquet"},
        description=f"The semantic ID of each of the {domain.items}: one parquet file (`pid`, "
        "`sid`: a list of three codes) that OneRec's programs read as it is.",
    )
    @clear_failures
    def pid2sid(context: dg.AssetExecutionContext, codes: Version) -> pa.RecordBatchReader:
        usable = require_space(codes.provenance).embedder != HASHING
        context.add_output_metadata({"usable_with_onerec_models": usable})
        if not usable:
            context.log.warning(
                f"{domain.table('pid2sid')}: these SIDs are of the demo's hashed words. OneRec's "
                "models do not speak them; SID_DEPLOYMENT=onerec makes those they do."
            )
        provenance = derive(domain.table("pid2sid"), codes.provenance)
        columns = provenance.attach(schema.pid2sid(schema.pid_type_of(codes.schema())))
        rows = codes.stream(["pid", "codes"], batch_rows=65_536)
        renamed = (batch.rename_columns(columns.names).cast(columns) for batch in rows)
        return pa.RecordBatchReader.from_batches(columns, renamed)

    return pid2sid


def pid_map_asset(domain: Domain) -> dg.AssetsDefinition:
    """`pid_map` of a domain."""
    table = domain.table("pid_map")

    @dg.asset(
        key=domain.key("pid_map"),
        ins={"pid2sid": dg.AssetIn(key=domain.key("pid2sid"))},
        group_name=domain.group("semantic_ids"),
        kinds={"duckdb", "parquet"},
        output_required=False,
        dagster_type=dg.PythonObjectDagsterType(pa.RecordBatchReader, name=f"{table}_rows"),
        description=f"A stable integer for each of the {domain.items} where ids are strings: one "
        "parquet file (`pid`, `number`), for OneRec's scripts, which force `int()`. Skipped where "
        "ids are integers.",
    )
    @clear_failures
    def pid_map(
        context: dg.AssetExecutionContext, settings: Settings, pid2sid: Version
    ) -> Iterator[dg.Output[pa.RecordBatchReader]]:
        if schema.pid_type_of(pid2sid.schema()) == "int":
            context.log.info(f"{table} is skipped: ids are integers already.")
            return
        earlier = settings.store().current(table)
        rows = number_pids(pid2sid.stream(["pid"], batch_rows=65_536), earlier)
        columns = derive(table, pid2sid.provenance).attach(rows.schema)
        yield dg.Output(pa.RecordBatchReader.from_batches(columns, rows))

    return pid_map
