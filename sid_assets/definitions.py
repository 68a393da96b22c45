"""The asset graph: this module wires everything together and does nothing else.

Read `assets/` next, in the order in which data flows (catalog, embeddings, tokenizer, codes,
registry, sids, training), then the modules of `core/` that interest you.
"""

from typing import Any

import dagster as dg

from sid_assets.assets.catalog import item_texts_asset
from sid_assets.assets.codes import codes_asset
from sid_assets.assets.domains import GOODS, domains_of
from sid_assets.assets.embeddings import item_embeddings_asset
from sid_assets.assets.interactions import interactions
from sid_assets.assets.popularity import item_counts_asset
from sid_assets.assets.quality import sid_quality_asset
from sid_assets.assets.registry import (
    sid_moves_asset,
    sid_refreshes_asset,
    sid_registry_asset,
)
from sid_assets.assets.sids import (
    pid2sid_asset,
    pid_map_asset,
    sid2pid_asset,
    sid_prefixes_asset,
    sid_vocabulary,
)
from sid_assets.assets.tokenizer import tokenizer_checkpoint
from sid_assets.assets.training import training_assets
from sid_assets.automation import refresh_on_new_catalog, refresh_schedule, refresh_semantic_ids
from sid_assets.checks import (
    contract_checks,
    interactions_checks,
    tokenizer_checks,
    training_checks,
    vocabulary_checks,
)
from sid_assets.dead_runs import end_runs_that_were_killed
from sid_assets.executors import executor
from sid_assets.failures import clear_refusals_to_start
from sid_assets.io_managers import ParquetIOManager
from sid_assets.settings import Refresh, Settings
from sid_assets.short_log import NAME as SHORT_LOG
from sid_assets.short_log import short_log

STAGES = (
    item_texts_asset,
    item_embeddings_asset,
    codes_asset,
    item_counts_asset,
    sid_registry_asset,
    sid_moves_asset,
    sid_refreshes_asset,
    pid2sid_asset,
    pid_map_asset,
    sid_quality_asset,
    sid2pid_asset,
    sid_prefixes_asset,
)
"""The stages of every domain; the tokenizer is trained on the main domain."""


def definitions(settings: Settings) -> dg.Definitions:
    """The graph for these settings; it includes goods if they have a catalog."""
    domains = domains_of(settings)
    return dg.Definitions(
        assets=[
            *(stage(domain) for domain in domains for stage in STAGES),
            tokenizer_checkpoint,
            sid_vocabulary,
            interactions,
            training_assets("pretrain"),
            training_assets("sft", goods=GOODS in domains),
        ],
        asset_checks=[
            *(checks for domain in domains for checks in contract_checks(domain)),
            tokenizer_checks(),
            vocabulary_checks(),
            interactions_checks(),
            *training_checks(),
        ],
        jobs=[refresh_semantic_ids],
        schedules=[refresh_schedule(settings)],
        sensors=[refresh_on_new_catalog, end_runs_that_were_killed],
        resources=resources(settings),
        executor=executor(own_processes=settings.deployment != "demo"),
    )


def resources(settings: Settings) -> dict[str, Any]:
    """The resources for these settings, which the launchpad may override for one run."""
    # Only a resource that is configured at launch passes the launchpad's values on to the resources
    # that contain it. Its defaults are these settings.
    at_launch = type(settings).configure_at_launch()
    return {
        "settings": at_launch,
        "refresh": Refresh(),
        "io_manager": ParquetIOManager(settings=at_launch),
    }


with clear_refusals_to_start():
    # A logger that a run may choose; only this program has it, and not a graph that includes ours.
    defs = dg.Definitions.merge(
        definitions(Settings.from_environment()), dg.Definitions(loggers={SHORT_LOG: short_log})
    )
