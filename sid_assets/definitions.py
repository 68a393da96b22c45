"""The asset graph: everything is wired here, and nothing is done.

Read next: `assets/`, in the order in which data flows (catalog, embeddings, tokenizer, codes,
training), then the module of `core/` that interests you.
"""

import dagster as dg

from sid_assets.assets.catalog import item_texts_asset
from sid_assets.assets.codes import codes_asset, pid2sid_asset, pid_map_asset
from sid_assets.assets.domains import ITEMS
from sid_assets.assets.embeddings import item_embeddings_asset
from sid_assets.assets.quality import sid_quality_asset
from sid_assets.assets.tokenizer import tokenizer_checkpoint
from sid_assets.assets.training import training_assets
from sid_assets.automation import refresh_on_new_catalog, refresh_schedule, refresh_semantic_ids
from sid_assets.checks import contract_checks, tokenizer_checks, training_checks
from sid_assets.io_managers import ParquetIOManager
from sid_assets.settings import Refresh, Settings

settings = Settings.from_environment()

# Each step of `onerec` is a process of its own, which gives the GPU's memory back. The demo has
# nothing to give back, and a process costs seconds to start.
executor = dg.in_process_executor if settings.deployment == "demo" else dg.multiprocess_executor

defs = dg.Definitions(
    assets=[
        item_texts_asset(ITEMS),
        item_embeddings_asset(ITEMS),
        tokenizer_checkpoint,
        codes_asset(ITEMS),
        pid2sid_asset(ITEMS),
        pid_map_asset(ITEMS),
        sid_quality_asset(ITEMS),
        training_assets("pretrain"),
        training_assets("sft"),
    ],
    asset_checks=[*contract_checks(ITEMS), tokenizer_checks, *training_checks()],
    jobs=[refresh_semantic_ids],
    schedules=[refresh_schedule(settings)],
    sensors=[refresh_on_new_catalog],
    resources={
        "settings": settings,
        "refresh": Refresh(),
        "io_manager": ParquetIOManager(settings=settings),
    },
    executor=executor,
)
