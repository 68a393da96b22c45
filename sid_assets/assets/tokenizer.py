"""The third stage: the residual k-means tokenizer."""

from typing import Any

import dagster as dg

from sid_assets.assets.declare import asset
from sid_assets.assets.domains import Domain, tables_of
from sid_assets.core.quantise.align import PUBLISHED
from sid_assets.core.quantise.tokenizer import (
    TABLE,
    TokenizerMaking,
    commit_again,
    commit_tokenizer,
    current_tokenizer,
    fetch_tokenizer,
    is_trained_already,
    keeps_tokenizer,
    train_tokenizer,
)
from sid_assets.core.registry.unfinished import still_to_publish
from sid_assets.core.store.provenance import require_space
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.resources import policy_of, wanted_tokenizer
from sid_assets.settings import Refresh, Settings


def tokenizer_asset(domain: Domain) -> dg.AssetsDefinition:
    """`tokenizer_checkpoint`, which is trained on the main domain."""

    @asset(
        domain,
        TABLE,
        group="tokenizer",
        ins=domain.keys("item_embeddings"),
        kinds={"faiss", "pytorch"},
        pool=domain.placement.pool,
        description="The residual k-means tokenizer: three layers of centroids in a `.pt` file "
        "that OneRec's programs load; input of `codes`. It is downloaded from the hub, read from a "
        "file, or trained. A refresh keeps it; a new one moves every SID and must be requested.",
    )
    def tokenizer_checkpoint(
        context: dg.AssetExecutionContext,
        settings: Settings,
        refresh: Refresh,
        item_embeddings: Version,
    ) -> dg.MaterializeResult:
        store = settings.store()
        policy = policy_of(context, settings, refresh, domain.placement)
        space = require_space(item_embeddings.provenance)
        wanted = wanted_tokenizer(settings)
        before = current_tokenizer(store)
        waiting = []
        if before and policy.new_generation:
            waiting = still_to_publish(store, tables_of(settings), before)
        if before and keeps_tokenizer(before, wanted, space, policy, waiting):
            context.log.info(f"{TABLE}: kept, {before.provenance.tokenizer[:16]}")
            if waiting:
                context.log.warning(
                    f"{TABLE}: new_generation goes on with the generation that an earlier run "
                    f"began, because it is not published by {' and '.join(waiting)}. No other "
                    "tokenizer is made, and no SID moves that is of this one."
                )
            return dg.MaterializeResult(metadata=_metadata(store, before, kept=True))
        if before and is_trained_already(before, wanted, item_embeddings):
            context.log.info(
                f"{TABLE}: kept in the new generation, because it was trained on these vectors and "
                "with these settings. Another SID_SEED trains another one."
            )
            again = commit_again(store, before)
            return dg.MaterializeResult(metadata=_metadata(store, again, kept=True))
        if wanted.kind == "train":
            context.log.info(f"{TABLE}: training on {item_embeddings.rows:,} vectors or a sample.")
            published = store.current(PUBLISHED) if settings.align_generations else None
            made = train_tokenizer(wanted, item_embeddings, before, settings.device, published)
        else:
            made = fetch_tokenizer(wanted, settings.tokenizer)
        for note in made.notes:
            context.log.warning(f"{TABLE}: {note}")
        for remark in made.remarks:
            context.log.info(f"{TABLE}: {remark}")
        version = commit_tokenizer(store, made, item_embeddings)
        return dg.MaterializeResult(metadata=_metadata(store, version, kept=False))

    return tokenizer_checkpoint


def _metadata(store: Store, version: Version, *, kept: bool) -> dict[str, Any]:
    provenance = version.provenance
    making = TokenizerMaking.of(provenance)
    layers, codebook_size, dimension = making.shape
    aligned = making.figures.get("aligned")
    return {
        "dagster/uri": str(store.path(TABLE)),
        "source": making.source.kind,
        "location": making.source.location or making.path,
        "revision": making.commit or making.source.revision,
        "centroid_hash": provenance.tokenizer,
        "layers": layers,
        "codebook_size": codebook_size,
        **({"method": making.source.method} if making.source.method else {}),
        "dimension": dimension,
        "embedding_space": dg.MetadataValue.json(
            provenance.space.to_dict() if provenance.space else {}
        ),
        "embedding_space_is": making.space_is,
        "made": version.created,
        "kept": kept,
        **({"kept_codes": dg.MetadataValue.json(aligned)} if aligned else {}),
        "figures": dg.MetadataValue.json(dict(making.figures)),
        "bytes": version.bytes,
    }
