"""The second stage: the vector of every item."""

from contextlib import closing
from typing import Any

import dagster as dg

from sid_assets.assets.declare import asset
from sid_assets.assets.domains import Domain, tables_of
from sid_assets.assets.inputs import require_usable_inputs
from sid_assets.core.embedders import Embedder
from sid_assets.core.embeddings.run import EmbeddingProgress, embed_items
from sid_assets.core.quantise.tokenizer import (
    current_tokenizer,
    fetch_tokenizer,
    keeps_tokenizer,
    training_of,
)
from sid_assets.core.ray_backend import embedder_of
from sid_assets.core.refresh import Changes
from sid_assets.core.registry.unfinished import still_to_publish
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.versions import Version
from sid_assets.observation import observer
from sid_assets.resources import (
    backend_of,
    make_embedder,
    policy_of,
    ray_metadata,
    require_device_to_train,
    vector_files,
    wanted_tokenizer,
)
from sid_assets.settings import Refresh, Settings

UNKNOWN = "unknown: the server truncates texts"


def item_embeddings_asset(domain: Domain) -> dg.AssetsDefinition:
    """`item_embeddings` of a domain."""
    table = domain.table("item_embeddings")

    @asset(
        domain,
        "item_embeddings",
        group="items",
        ins=domain.keys("item_texts"),
        kinds={"pytorch", "parquet"},
        pool=domain.placement.pool,
        description=f"The vectors of all {domain.items}: unit norm, 4096 wide. A folder of parquet "
        "files (`pid`, `embedding`, `text_hash`, `vector_hash`); input of `codes` and of the "
        "tokenizer's training. A refresh embeds only new and changed items.",
    )
    def item_embeddings(
        context: dg.AssetExecutionContext,
        settings: Settings,
        refresh: Refresh,
        item_texts: Version,
    ) -> Draft:
        store = settings.store()
        policy = policy_of(context, settings, refresh, domain.placement)
        embedder = make_embedder(settings)
        tokenizer = current_tokenizer(store)
        # Before any item is embedded, so that a run that may not finish does not start.
        require_usable_inputs(settings)
        wanted = wanted_tokenizer(settings)
        waiting = []
        if tokenizer and policy.new_generation:
            waiting = still_to_publish(store, tables_of(settings), tokenizer)
        kept = keeps_tokenizer(tokenizer, wanted, embedder.space, policy, waiting)
        if not kept and wanted.kind != "train":
            fetch_tokenizer(wanted, settings.tokenizer)  # a wrong file fails now, not days later
        elif not kept and domain.trains_tokenizer:
            require_device_to_train(settings)
            training, advice = training_of(wanted, item_texts.rows, tokenizer)
            context.log.info(f"{table}: the tokenizer to be trained: {training.describe()}.")
            if advice:
                context.log.warning(f"{table}: {advice}")
        with closing(embedder), backend_of(settings, context.log.info) as backend:
            draft, changes, progress = embed_items(
                store,
                table,
                item_texts,
                embedder_of(backend, embedder),
                policy,
                context.log.warning,
                observer(context),
                files=vector_files(settings, domain.embeddings(settings), embedder.space),
                backend=backend,
            )
            with draft:
                context.log.info(
                    f"{table}: {changes.describe()}; {progress.embedded:,} were embedded."
                )
                context.add_output_metadata(
                    {**_metadata(changes, progress, embedder), **ray_metadata(backend)}
                )
        return draft

    return item_embeddings


def _metadata(changes: Changes, progress: EmbeddingProgress, embedder: Embedder) -> dict[str, Any]:
    knows_what_is_cut = embedder.count_tokens([]).truncated is not None
    return {
        "items_new": changes.new,
        "items_changed": changes.changed,
        "items_removed": changes.removed,
        "items_reused": progress.reused,
        "items_adopted": progress.adopted,
        "items_resumed": progress.resumed,
        "items_embedded": progress.embedded,
        "texts_cut": progress.truncated if knows_what_is_cut else UNKNOWN,
        "tokens": progress.tokens,
        "seconds_embedding": progress.seconds,
        "embedding_space": dg.MetadataValue.json(embedder.space.to_dict()),
    }
