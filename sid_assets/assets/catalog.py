"""The first stage: the text of every item."""

from contextlib import closing
from dataclasses import replace
from typing import Any, Literal, get_args

import dagster as dg
from pydantic import Field

from sid_assets.assets.declare import asset
from sid_assets.assets.domains import Domain
from sid_assets.assets.external import files_that_stayed, observe
from sid_assets.core.catalog.item_texts import (
    CatalogSource,
    ItemTexts,
    look_at_catalog,
    read_item_texts,
)
from sid_assets.core.catalog.making import TextsMaking
from sid_assets.core.catalog.rules_change import count_rules_change, texts_of_vectors
from sid_assets.core.catalog.value_texts import TextRules
from sid_assets.core.embeddings.plan import Plan, make_plan
from sid_assets.core.errors import InputError, SidAssetsError
from sid_assets.core.inputs.csv_quoting import QuotingSetting
from sid_assets.core.inputs.ids import PidTypeSetting
from sid_assets.core.refresh import require_same_generation
from sid_assets.core.registry.generation_guard import (
    published_pid_type,
    require_pid_type,
    why_other_texts,
)
from sid_assets.core.registry.tables import Tables
from sid_assets.core.schema import ITEM_TEXTS_REJECTED
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.scratch import scratch_folder
from sid_assets.core.store.store import Store
from sid_assets.core.store.write import draft_rows
from sid_assets.resources import planning_embedder, policy_of, vector_files
from sid_assets.settings import Refresh, Settings

PLANNED_ROWS = 16_384

SPEED = ("tokens", "seconds_embedding")
"""The metadata of `item_embeddings` that give a run's speed."""

RUNS_LOOKED_AT = 20
SECONDS_THAT_TELL = 1.0
"""A run must have embedded for this long for its speed to give an estimate."""

ASK_FOR_THE_TIME = "no earlier run gives the speed; `sid-assets plan` measures it"


class ItemTextsConfig(dg.Config):
    """Run config of `item_texts`."""

    on_bad_rows: str = Field(
        default="fail",
        description="`fail`: rows without an id or a text, and ids with two texts, stop the run. "
        "`drop`: they go to item_texts_rejected.parquet with the reason, and the run continues.",
    )

    def checked(self) -> Literal["fail", "drop"]:
        """The value of `on_bad_rows`, which must be one of the two words.

        Raises:
            InputError: It is not.
        """
        if self.on_bad_rows == "fail" or self.on_bad_rows == "drop":
            return self.on_bad_rows
        raise InputError(f"on_bad_rows: {self.on_bad_rows!r} is neither fail nor drop.")


def item_texts_asset(domain: Domain) -> dg.AssetsDefinition:
    """`item_texts` of a domain."""
    table = domain.table("item_texts")

    @asset(
        domain,
        "item_texts",
        group="items",
        deps=domain.placement.keys_of(domain.catalog_setting),
        kinds={"duckdb", "parquet"},
        description=f"The texts of all {domain.items}, made from the catalog with the text "
        "template. One parquet file (`pid`, `text`, `text_hash`), sorted by pid; input of "
        "`item_embeddings`.",
    )
    def item_texts(
        context: dg.AssetExecutionContext,
        config: ItemTextsConfig,
        settings: Settings,
        refresh: Refresh,
    ) -> Draft:
        store = settings.store()
        # Before the texts so far are replaced, which say how they were made.
        tables = Tables.of(domain.table)
        source = catalog_source(settings, domain, config.checked())
        reason = why_other_texts(store, tables, texts_making(settings))
        if reason:
            look_at_catalog(source)  # a misspelt column is no reason for a new generation
        require_same_generation(reason, policy_of(context, settings, refresh, domain.placement))
        with scratch_folder(store.root) as scratch, scratch_folder(store.root) as second:
            texts = read_item_texts(source, scratch_dir=scratch)
            _tell_what_was_read(context, store, domain, texts.fingerprint)
            require_pid_type(published_pid_type(store, tables), texts.pid_type)
            for warning in texts.warnings:
                context.log.warning(f"{table}: {warning}")
            _store_rejected(store, table, texts)
            before = texts_of_vectors(store, table, domain.table("item_embeddings"))
            reader, change = count_rules_change(source, texts, before, scratch_dir=second)
            draft = draft_rows(store, table, reader, texts_provenance(settings, domain, texts))
        with draft:
            context.log.info(f"{table}: {texts.counts.items:,} items.")
            metadata = texts.counts.metadata()
            if change:
                metadata |= change.metadata()
                if said := change.describe():
                    context.log.warning(f"{table}: {said}")
            context.add_output_metadata(metadata | _plan(context, settings, domain, draft))
        return draft

    return item_texts


def _tell_what_was_read(
    context: dg.AssetExecutionContext, store: Store, domain: Domain, fingerprint: str
) -> None:
    """Record the data version of the catalog, and warn if an asset of the user's left it as it was.

    Args:
        context: The context of the step.
        store: The store, with the texts so far.
        domain: The domain.
        fingerprint: That of the catalog's files.
    """
    name = domain.catalog_setting
    before = store.current(domain.table("item_texts"))
    same = before is not None and TextsMaking.of(before.provenance).fingerprint == fingerprint
    if warning := files_that_stayed(context, domain.placement, name, same=same):
        context.log.warning(f"{domain.table('item_texts')}: {warning}")
    observe(context, domain.placement, name, fingerprint)


def catalog_source(
    settings: Settings, domain: Domain, on_bad_rows: Literal["fail", "drop"]
) -> CatalogSource:
    """The catalog of a domain, as the settings name it.

    Raises:
        InputError: No catalog is set, or a setting is not one of its values.
    """
    vectors = settings.store().current(domain.table("item_embeddings"))
    return CatalogSource(
        catalog=domain.catalog(settings),
        template=settings.text_template,
        pid_column=settings.pid_column,
        pid_type=settings.choice("pid_type", get_args(PidTypeSetting)),
        published=vectors.pid_type if vectors else None,
        on_bad_rows=on_bad_rows,
        csv_quoting=settings.choice("csv_quoting", get_args(QuotingSetting)),
        text_rules=_text_rules(settings),
        other_columns=(settings.quality_column,) if settings.quality_column else (),
    )


def _text_rules(settings: Settings) -> TextRules:
    words = {str(rules): rules for rules in get_args(TextRules)}
    return words[settings.choice("text_rules", tuple(words))]


def _plan(
    context: dg.AssetExecutionContext, settings: Settings, domain: Domain, draft: Draft
) -> dict[str, Any]:
    """What embedding these texts would change and cost, without loading weights."""
    texts = draft.as_version().stream(["pid", "text", "text_hash"], PLANNED_ROWS)
    table = domain.table("item_embeddings")
    try:
        with closing(planning_embedder(settings)) as embedder:
            plan = make_plan(
                settings.store(),
                table,
                texts,
                embedder,
                files=vector_files(settings, domain.embeddings(settings), embedder.space),
                calibrate=embedder.memory() is None,  # do not load the weights twice
            )
    except SidAssetsError as error:
        # The model's files may be missing here; `item_embeddings` reports that.
        context.log.warning(f"{table}: no plan: {error}")
        return {}
    if plan.texts and plan.seconds is None and not plan.unmeasured:
        plan = _timed_by_the_last_run(context, domain, plan)
    return plan.metadata()


def _timed_by_the_last_run(context: dg.AssetExecutionContext, domain: Domain, plan: Plan) -> Plan:
    """The plan, with the time that it takes at the speed of the last run that embedded enough."""
    key = domain.key("item_embeddings")
    for record in context.instance.fetch_materializations(key, limit=RUNS_LOOKED_AT).records:
        made = record.asset_materialization
        metadata = made.metadata if made else {}
        tokens, seconds = (getattr(metadata.get(name), "value", 0) for name in SPEED)
        if tokens and seconds >= SECONDS_THAT_TELL:
            return replace(plan, seconds=plan.tokens / tokens * seconds)
    return replace(plan, unmeasured=ASK_FOR_THE_TIME)


def texts_provenance(settings: Settings, domain: Domain, texts: ItemTexts) -> Provenance:
    """The provenance of a domain's `item_texts`; the same texts have the same provenance."""
    making = replace(texts_making(settings), fingerprint=texts.fingerprint, pids=texts.pid_column)
    return Provenance(domain.table("item_texts"), details=making.details())


def texts_making(settings: Settings) -> TextsMaking:
    """How texts are made, as far as the settings say it."""
    return TextsMaking(template=settings.text_template, rules=_text_rules(settings))


def _store_rejected(store: Store, table: str, texts: ItemTexts) -> None:
    """Store the rejected rows; if there are none, remove those of an earlier run."""
    rejected = f"{table}_rejected"
    reader = texts.rejected
    if reader is None and store.current(rejected):
        reader = ITEM_TEXTS_REJECTED.empty_table().to_reader()
    if reader is not None:
        store.commit(draft_rows(store, rejected, reader, Provenance(rejected)))
