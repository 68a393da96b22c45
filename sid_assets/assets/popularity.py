"""The popularity of items, which decides who keeps a SID that several items would get."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import dagster as dg
import pyarrow as pa

from sid_assets.assets.declare import asset
from sid_assets.assets.domains import Domain
from sid_assets.assets.external import observe_files
from sid_assets.assets.inputs import LOGS, event_log, event_rules, interactions_of, removed_items
from sid_assets.core.catalog.making import TextsMaking
from sid_assets.core.events.make import counted_users
from sid_assets.core.inputs.ids import PidTypeSetting
from sid_assets.core.quality.use import id_lists
from sid_assets.core.registry.popularity import no_users, users_of_items
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.scratch import scratch_folder
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows
from sid_assets.settings import Settings


def item_counts_asset(domain: Domain) -> dg.AssetsDefinition:
    """`item_counts` of a domain."""
    table = domain.table("item_counts")

    @asset(
        domain,
        "item_counts",
        group="semantic_ids",
        ins=domain.keys("item_texts"),
        deps=domain.placement.keys_of(*LOGS),
        kinds={"duckdb", "parquet"},
        description=f"How many users have interacted with each of the {domain.items} in split 0: "
        "one parquet file (`pid`, `users`), empty without interactions. Where a collision is "
        "resolved, the more popular item keeps the SID.",
    )
    def item_counts(
        context: dg.AssetExecutionContext, settings: Settings, item_texts: Version
    ) -> Draft:
        observe_files(context, domain.placement, settings, *LOGS)
        with _counted(settings, domain, item_texts) as rows:
            draft = draft_rows(settings.store(), table, rows, Provenance(table))
        with draft:
            context.add_output_metadata({"items_with_users": draft.as_version().rows})
        return draft

    return item_counts


@contextmanager
def _counted(
    settings: Settings, domain: Domain, item_texts: Version
) -> Iterator[pa.RecordBatchReader]:
    """The rows: from the log of events before `interactions` are made of it, else from these."""
    setting = settings.choice("pid_type", get_args(PidTypeSetting))
    log = event_log(settings)
    if log and domain.is_main:
        with scratch_folder(settings.store().root) as folder:
            yield counted_users(
                log,
                event_rules(settings),
                pid_type=item_texts.pid_type,
                scratch_dir=Path(folder),
                known=item_texts.stream(["pid"]),
                removed=removed_items(settings),
                forced=setting != "auto",
            )
        return
    if log:  # which has no events of goods
        yield no_users(item_texts.pid_type)
        return
    with interactions_of(settings) as interactions:
        if interactions is None or not set(domain.interacted) & set(interactions.columns):
            yield no_users(item_texts.pid_type)
            return
        catalog = TextsMaking.of(item_texts.provenance).pids
        lists = id_lists(interactions, domain.interacted, catalog, setting)
        with users_of_items(interactions, lists, item_texts.pid_type, setting) as rows:
            yield rows
