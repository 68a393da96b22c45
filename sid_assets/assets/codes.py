"""The fourth stage: the codes of every item."""

import dagster as dg

from sid_assets.assets.declare import asset
from sid_assets.assets.domains import Domain
from sid_assets.assets.tokenizer import TABLE as TOKENIZER
from sid_assets.core.quality.sample import TABLE as SAMPLE
from sid_assets.core.quality.sample import keep_sample
from sid_assets.core.quantise.run import encode_items
from sid_assets.core.quantise.tokenizer import require_tokenizer
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.versions import Version
from sid_assets.observation import observer
from sid_assets.resources import backend_of, ray_metadata
from sid_assets.settings import Settings


def codes_asset(domain: Domain) -> dg.AssetsDefinition:
    """`codes` of a domain."""
    table = domain.table("codes")

    @asset(
        domain,
        "codes",
        group="semantic_ids",
        ins=domain.keys("item_embeddings"),
        deps=[domain.placement.key(TOKENIZER)],
        kinds={"pytorch", "parquet"},
        pool=domain.placement.pool,
        description=f"The codes of all {domain.items}, three each: the indices of the nearest "
        "centroids, exact and the same on every device. A folder of parquet files (`pid`, "
        "`codes`, `vector_hash`, `residual_norms`); input of `pid2sid` and `sid_quality`.",
    )
    def codes(
        context: dg.AssetExecutionContext, settings: Settings, item_embeddings: Version
    ) -> Draft:
        store = settings.store()
        tokenizer = require_tokenizer(store)
        with backend_of(settings, context.log.info) as backend:
            draft, progress = encode_items(
                store,
                table,
                item_embeddings,
                tokenizer,
                settings.device or None,
                context.log.warning,
                observer(context),
                backend,
            )
            about_ray = ray_metadata(backend)
        with draft:
            context.log.info(f"{table}: {progress.describe()}")
            if written := keep_sample(store, domain.table(SAMPLE), item_embeddings):
                context.log.info(f"{domain.table(SAMPLE)}: the vectors of {written:,} items")
            context.add_output_metadata(
                {
                    "items_quantised": progress.computed,
                    "items_reused": progress.reused,
                    "items_resumed": progress.resumed,
                    "tokenizer": tokenizer.provenance.tokenizer,
                    **about_ray,
                }
            )
        return draft

    return codes
