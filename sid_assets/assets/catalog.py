"""The first stage: the text of every item."""

from dataclasses import asdict
from typing import Any, Literal, get_args

import dagster as dg
from pydantic import Field

from sid_assets.assets.domains import Domain
from sid_assets.core.catalog_rows import REJECTED
from sid_assets.core.errors import InputError, SidAssetsError
from sid_assets.core.pids import PidTypeSetting
from sid_assets.core.places import explained
from sid_assets.core.plan import make_plan
from sid_assets.core.provenance import Provenance
from sid_assets.core.scratch import scratch_folder
from sid_assets.core.tables import commit_staged, stage_rows
from sid_assets.core.texts import CatalogSource, ItemTexts, read_item_texts
from sid_assets.core.versions import StagedTable, Store
from sid_assets.failures import clear_failures
from sid_assets.resources import make_embedder, vector_files
from sid_assets.settings import Settings

PLANNED_ROWS = 16_384


class ItemTextsConfig(dg.Config):
    """Run config of `item_texts`."""

    on_bad_rows: str = Field(
        default="fail",
        description="`fail`: rows without an id or a text, and ids with two texts, stop the run. "
        "`drop`: they go to item_texts_rejected.parquet with their reason, and the run goes on.",
    )

    def checked(self) -> Literal["fail", "drop"]:
        """`on_bad_rows`, if it is one of the two words.

        Raises:
            InputError: It is another.
        """
        if self.on_bad_rows == "fail" or self.on_bad_rows == "drop":
            return self.on_bad_rows
        raise InputError(f"on_bad_rows: {self.on_bad_rows!r} is neither fail nor drop.")


def item_texts_asset(domain: Domain) -> dg.AssetsDefinition:
    """`item_texts` of a domain."""
    table = domain.table("item_texts")

    @dg.asset(
        key=domain.key("item_texts"),
        group_name=domain.group("items"),
        kinds={"duckdb", "parquet"},
        description=f"The text of each of the {domain.items}, made from the catalog by the "
        "template: one parquet file (`pid`, `text`, `text_hash`), sorted by pid, read by "
        "`item_embeddings`.",
    )
    @clear_failures
    def item_texts(
        context: dg.AssetExecutionContext, config: ItemTextsConfig, settings: Settings
    ) -> StagedTable:
        store = settings.store()
        with explained(store.root):
            store.root.mkdir(parents=True, exist_ok=True)
        with scratch_folder(store.root) as scratch:
            source = catalog_source(settings, domain, config.checked())
            texts = read_item_texts(source, scratch_dir=scratch)
            for warning in texts.warnings:
                context.log.warning(f"{table}: {warning}")
            _store_rejected(store, table, texts)
            staged = stage_rows(
                store, table, texts.reader, texts_provenance(settings, domain, texts)
            )
        context.log.info(f"{table}: {texts.counts.items:,} items.")
        context.add_output_metadata(
            texts.counts.metadata() | _plan(context, settings, domain, staged)
        )
        return staged

    return item_texts


def catalog_source(
    settings: Settings, domain: Domain, on_bad_rows: Literal["fail", "drop"]
) -> CatalogSource:
    """The catalog of a domain, as the settings name it.

    Raises:
        InputError: No catalog is set, or SID_PID_TYPE is another word than there are.
    """
    return CatalogSource(
        catalog=domain.catalog(settings),
        template=settings.text_template,
        pid_column=settings.pid_column,
        pid_type=settings.choice("pid_type", get_args(PidTypeSetting)),
        on_bad_rows=on_bad_rows,
    )


def _plan(
    context: dg.AssetExecutionContext, settings: Settings, domain: Domain, staged: StagedTable
) -> dict[str, Any]:
    """What embedding these texts would change and cost, estimated without loading a model."""
    texts = staged.as_version().stream(["pid", "text", "text_hash"], PLANNED_ROWS)
    table = domain.table("item_embeddings")
    try:
        embedder = make_embedder(settings)
        files = vector_files(settings, domain.embeddings(settings), embedder.space)
        plan = make_plan(settings.store(), table, texts, embedder, files=files)
    except SidAssetsError as error:
        # The model's files may not be at hand here; `item_embeddings` will say so.
        context.log.warning(f"{table}: no plan: {error}")
        return {}
    return plan.metadata()


def texts_provenance(settings: Settings, domain: Domain, texts: ItemTexts) -> Provenance:
    """Where the `item_texts` of a domain come from: the same for the same texts."""
    return Provenance(
        domain.table("item_texts"),
        details={
            "template": settings.text_template,
            "fingerprint": texts.fingerprint,
            "pids": asdict(texts.pid_column),
        },
    )


def _store_rejected(store: Store, table: str, texts: ItemTexts) -> None:
    """Keep the rejected rows; where there are none, those of an earlier run must not stay."""
    rejected = f"{table}_rejected"
    reader = texts.rejected
    if reader is None and store.current(rejected):
        reader = REJECTED.empty_table().to_reader()
    if reader is not None:
        commit_staged(store, stage_rows(store, rejected, reader, Provenance(rejected)))
