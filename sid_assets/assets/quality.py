"""How good the semantic IDs are, after the codes: figures, pictures and a report."""

import logging
from contextlib import ExitStack
from typing import Any, get_args

import dagster as dg

from sid_assets.assets.catalog import catalog_source
from sid_assets.assets.check_results import check_results, check_specs
from sid_assets.assets.declare import asset
from sid_assets.assets.domains import Domain
from sid_assets.assets.inputs import EVENTS_TABLE, interactions_of
from sid_assets.core.arrow.columns import codes_array
from sid_assets.core.catalog.column_values import column_values
from sid_assets.core.catalog.making import TextsMaking
from sid_assets.core.inputs.files import find_table_files
from sid_assets.core.inputs.ids import PidTypeSetting
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.quality.charts import markdown_image, pictures
from sid_assets.core.quality.figures import SidQuality
from sid_assets.core.quality.history import History
from sid_assets.core.quality.interactions import InteractionQuality, measure_interactions
from sid_assets.core.quality.items import read_items
from sid_assets.core.quality.limits import Limits, check_limits
from sid_assets.core.quality.measure import measure_sids
from sid_assets.core.quality.next_items import next_items
from sid_assets.core.quality.of_vectors import VectorMeasures
from sid_assets.core.quality.probed import RESULT as PROBE_RESULT
from sid_assets.core.quality.probed import Probed
from sid_assets.core.quality.published import QUANTISED, PublishedSids
from sid_assets.core.quality.report import render_report, report_items
from sid_assets.core.quality.resolving import Cost, Resolving, measure_cost
from sid_assets.core.quality.sample import TABLE as SAMPLE
from sid_assets.core.quality.sample import choose, read_sample
from sid_assets.core.quality.section import Subject
from sid_assets.core.quality.subjects import measure_subjects
from sid_assets.core.quality.use import counted_use, id_lists
from sid_assets.core.quantise.tokenizer import (
    TokenizerMaking,
    load_tokenizer,
    require_tokenizer,
)
from sid_assets.core.store.places import write_text
from sid_assets.core.store.provenance import require_space
from sid_assets.core.store.scratch import scratch_folder
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.settings import Settings

REPORT = "sid_report.html"
MEASURED_ROWS = 65_536
OF_REGISTRY = ("pid2sid", "sid_moves", "sid_refreshes")
"""Tables that are read if they are there: a data folder of version 0.1 has only the first."""


def sid_quality_asset(domain: Domain) -> dg.AssetsDefinition:
    """`sid_quality` of a domain."""
    key = domain.key("sid_quality")

    def measured(
        given: ParquetInput | None,
        context: dg.AssetExecutionContext,
        settings: Settings,
        sids: PublishedSids,
        item_texts: Version,
    ) -> dg.MaterializeResult:
        store = settings.store()
        making = TokenizerMaking.of(require_tokenizer(store).provenance)
        interactions = _with_items_of(given, domain, context.log)
        subjects = _subjects(
            settings, domain, sids, item_texts, making.codebook_size, interactions, context.log
        )
        quality = measure_sids(
            sids.stream(batch_rows=MEASURED_ROWS),
            making.codebook_size,
            item_texts.stream(["pid", "text_hash"], MEASURED_ROWS),
        )
        subjects += _of_vectors(settings, domain, sids, item_texts, interactions, context.log)
        subjects += _of_registry(settings, domain, sids, item_texts, quality)
        subjects += _of_probe(store, domain, sids)
        weighted = None
        if interactions:
            weighted = measure_interactions(
                sids.stream(["pid", "codes", "residual_norms"], MEASURED_ROWS),
                quality.codebook_size,
                interactions,
                domain.interacted,
                _pid_type_setting(settings),
                catalog=TextsMaking.of(item_texts.provenance).pids,
            )
        report = store.root / f"{domain.table(REPORT)}"
        page = _report(settings, sids, item_texts, quality, weighted, subjects)
        write_text(report, page)
        context.log.info(f"{domain.table('sid_quality')}: the page is {report}")
        findings = check_limits(quality, making.training_error, _limits(settings))
        results = check_results(key, check_limits.checks, findings, context.log)
        return dg.MaterializeResult(
            metadata=_metadata(quality, weighted, subjects, str(report)),
            check_results=list(results),
        )

    @asset(
        domain,
        "sid_quality",
        group="semantic_ids",
        ins=domain.keys("codes", "item_texts"),
        deps=[
            domain.placement.key(EVENTS_TABLE),
            *domain.placement.keys_of("interactions"),
            *map(domain.key, OF_REGISTRY),
        ],
        kinds={"matplotlib", "plotly"},
        description="How good the semantic IDs are: how many items collide, which codes are used, "
        f"how well vectors are reconstructed. Figures and pictures are here; `{REPORT}` is a page "
        "to open and share.",
        check_specs=check_specs(key, check_limits.checks),
    )
    def sid_quality(
        context: dg.AssetExecutionContext, settings: Settings, codes: Version, item_texts: Version
    ) -> dg.MaterializeResult:
        sids = _published(settings.store(), domain, codes, context.log)
        with interactions_of(settings) as interactions:
            return measured(interactions, context, settings, sids, item_texts)

    return sid_quality


def _published(store: Store, domain: Domain, codes: Version, log: logging.Logger) -> PublishedSids:
    """The SIDs that were published from these codes; the codes if there are none."""
    pid2sid, moves = (store.current(domain.table(name)) for name in ("pid2sid", "sid_moves"))
    registry = store.current(domain.table("sid_registry"))
    if registry is None:  # nothing was resolved or kept
        return PublishedSids(codes)
    if pid2sid is None or not (_made_from(registry, codes) and _made_from(pid2sid, registry)):
        log.warning(
            f"{domain.table('sid_quality')}: {domain.table('pid2sid')} was not made from the "
            f"current {domain.table('codes')}, so the figures are of codes. Materialise "
            f"{domain.table('sid_registry')} and {domain.table('pid2sid')} first."
        )
        return PublishedSids(codes)
    current = moves if moves and _made_from(moves, registry) else None
    return PublishedSids.of(codes, pid2sid, current)


def _made_from(version: Version, source: Version) -> bool:
    made_from = version.provenance.inputs.get(source.provenance.asset)
    return made_from == source.provenance.version


def _of_registry(
    settings: Settings,
    domain: Domain,
    sids: PublishedSids,
    item_texts: Version,
    quality: SidQuality,
) -> list[Subject]:
    """What resolving did, if SIDs differ from codes; and the refreshes, if there are two."""
    subjects: list[Subject] = []
    if sids.differing:
        before = measure_sids(
            sids.codes.stream(batch_rows=MEASURED_ROWS),
            quality.codebook_size,
            item_texts.stream(["pid", "text_hash"], MEASURED_ROWS),
        )
        cost = Cost(0, 0.0, 0.0)
        if sids.moves:
            cost = measure_cost(sids.moves.stream(["pid", "extra_error"], MEASURED_ROWS))
        subjects.append(Resolving(before, quality, sids.differing, cost))
    refreshes = settings.store().current(domain.table("sid_refreshes"))
    history = History.of(refreshes.stream().read_all()) if refreshes else None
    return [*subjects, history] if history else subjects


def _of_probe(store: Store, domain: Domain, sids: PublishedSids) -> list[Subject]:
    """What the last probe found, if it is about these SIDs."""
    if not domain.is_main:  # videos are what the probe learns to recommend
        return []
    provenance = sids.codes.provenance
    pid2sid = store.current(domain.table("pid2sid"))
    generation = pid2sid.provenance.generation if pid2sid else ""
    found = Probed.read(store.root / PROBE_RESULT, generation, provenance.tokenizer)
    return [found] if found else []


def _limits(settings: Settings) -> Limits:
    return Limits(
        collision_share=settings.max_collision_share,
        utilisation=settings.min_utilisation,
        error_ratio=settings.max_error_ratio,
    )


def _pid_type_setting(settings: Settings) -> PidTypeSetting:
    return settings.choice("pid_type", get_args(PidTypeSetting))


def _with_items_of(
    interactions: ParquetInput | None, domain: Domain, log: logging.Logger
) -> ParquetInput | None:
    """The interactions, if there are any with the items of this domain."""
    if interactions is None or not set(domain.interacted) & set(interactions.columns):
        return None
    for warning in interactions.warnings(domain.interacted):
        log.warning(warning)
    return interactions


def _subjects(
    settings: Settings,
    domain: Domain,
    sids: PublishedSids,
    item_texts: Version,
    codebook_size: int,
    interactions: ParquetInput | None,
    log: logging.Logger,
) -> list[Subject]:
    """The measures of codes alone that `measure_sids` does not have."""
    making = TextsMaking.of(item_texts.provenance)
    setting = _pid_type_setting(settings)
    with ExitStack() as stack:
        use = values = None
        if interactions:
            lists = id_lists(interactions, domain.interacted, making.pids, setting)
            use = stack.enter_context(
                counted_use(interactions, lists, sids.codes.pid_type, setting)
            )
            if use.warning:
                log.warning(f"{interactions.path}: {use.warning}")
        if settings.quality_column:
            source = catalog_source(settings, domain, on_bad_rows="drop")
            if find_table_files(source.catalog).fingerprint != making.fingerprint:
                log.warning(
                    f"{source.catalog}: has changed since {domain.table('item_texts')} was made. "
                    f"The purity of {settings.quality_column!r} is that of its current values."
                )
            scratch = stack.enter_context(scratch_folder(settings.store().root))
            values = column_values(
                source, settings.quality_column, sids.codes.pid_type, scratch_dir=scratch
            )
        items = read_items(
            sids.stream(["pid", "codes", "residual_norms"], MEASURED_ROWS),
            codebook_size,
            use and use.batches,
            values,
        )
    return measure_subjects(items, codebook_size, use, settings.quality_column)


def _of_vectors(
    settings: Settings,
    domain: Domain,
    sids: PublishedSids,
    item_texts: Version,
    interactions: ParquetInput | None,
    log: logging.Logger,
) -> list[Subject]:
    """The measures of vectors, on a sample; none of a catalog with one item."""
    store, setting = settings.store(), _pid_type_setting(settings)
    chosen = choose(sids.stream(["pid", "codes", "vector_hash"], MEASURED_ROWS, quantised=True))
    kept = (store.current(domain.table(table)) for table in (SAMPLE, "item_embeddings"))
    sample = read_sample(chosen, [version for version in kept if version])
    if without := len(chosen.pids) - len(sample.pids):
        log.warning(
            f"{domain.table('sid_quality')}: measures of vectors leave out {without:,} of "
            f"{len(chosen.pids):,} items, whose vectors were made again after the codes. "
            f"Materialise {domain.table('codes')} first."
        )
    if len(sample.pids) < 2:
        return []
    pairs = None
    if interactions:
        lists = id_lists(
            interactions, domain.interacted, TextsMaking.of(item_texts.provenance).pids, setting
        )
        pairs = next_items(interactions, lists, sample.pids, sids.codes.pid_type, setting)
    tokenizer = require_tokenizer(store)
    same = tokenizer.provenance.tokenizer == sids.codes.provenance.tokenizer
    return VectorMeasures.of(sample, pairs).subjects(
        codes_array(sample.columns["codes"].combine_chunks()),
        load_tokenizer(tokenizer) if same else None,
        codes_array(sample.columns[QUANTISED].combine_chunks()),
    )


def _report(
    settings: Settings,
    sids: PublishedSids,
    item_texts: Version,
    quality: SidQuality,
    interactions: InteractionQuality | None,
    subjects: list[Subject],
) -> str:
    items = report_items(
        sids.stream(batch_rows=MEASURED_ROWS),
        item_texts.stream(["pid", "text"], MEASURED_ROWS),
        quality,
        settings.seed,
    )
    space = require_space(sids.codes.provenance)
    made_from = {
        "Embedding model": " ".join(filter(None, (space.model, space.revision))),
        "Tokenizer": sids.codes.provenance.tokenizer[:16],
        "Made": sids.codes.created,
    }
    sections = [subject.section() for subject in subjects]
    return render_report(quality, items, interactions, sections, made_from=made_from)


def _metadata(
    quality: SidQuality,
    interactions: InteractionQuality | None,
    subjects: list[Subject],
    report: str,
) -> dict[str, Any]:
    figures = quality.figures() | (interactions.figures() if interactions else {})
    for subject in subjects:
        figures |= subject.figures()
    return {
        "report": dg.MetadataValue.path(report),
        **{
            name: dg.MetadataValue.md(markdown_image(name.replace("_", " "), png))
            for name, png in pictures(quality).items()
        },
        **figures,
    }
