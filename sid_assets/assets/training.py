"""The last stage: the training data sets of RecIF.

One step makes the data sets of a phase (pretraining or fine-tuning) in turn, so that the SIDs of
the catalog are loaded once, and then lists their files. Each data set is an asset.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, get_args

import dagster as dg

from sid_assets.assets.declare import DRAFT, step
from sid_assets.assets.domains import GOODS, ITEMS, Domain
from sid_assets.assets.external import observe_files
from sid_assets.assets.inputs import EVENTS_TABLE, interactions_of
from sid_assets.assets.placement import Placement
from sid_assets.core.catalog.making import TextsMaking
from sid_assets.core.inputs.ids import PidTypeSetting
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.registry.removed import removed_sids
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.training.counts import RowCounts
from sid_assets.core.training.file_lists import list_files, shuffle, withdraw_shuffled
from sid_assets.core.training.inputs import IdSpace, TrainingInputs
from sid_assets.core.training.prompts import load_prompts
from sid_assets.core.training.rows import column_warnings, lacking
from sid_assets.core.training.run import Sids, make_data_set, up_to_date
from sid_assets.core.training_sets import DATA_SETS, DataSet, Phase
from sid_assets.settings import Settings


def training_assets(domains: Sequence[Domain], phase: Phase) -> dg.AssetsDefinition:
    """The data sets of a phase, each as an asset.

    Args:
        domains: The main domain, and that of goods if there is one.
        phase: Pretraining or fine-tuning.
    """
    main, goods = domains[0], len(domains) > 1
    placement = main.placement
    data_sets = [data_set for data_set in DATA_SETS.values() if data_set.phase == phase]

    def made_from(
        interactions: ParquetInput | None,
        context: dg.AssetExecutionContext,
        settings: Settings,
        pid2sid: Version,
    ) -> Iterator[dg.Output[Draft]]:
        store = settings.store()
        sids = replace(_sids(store, goods=goods), items=pid2sid)
        inputs = training_inputs(settings, store, sids, interactions)
        selected = context.op_execution_context.selected_output_names
        stale = {data_set.name for data_set in data_sets if lacking(data_set, inputs)}
        versions = []
        chosen = [data_set for data_set in data_sets if data_set.table in selected]
        for warning in column_warnings(chosen, inputs):
            context.log.warning(warning)
        try:
            for data_set in chosen:
                try:
                    made = make_data_set(data_set, inputs, sids, store, context.log)
                except Exception:
                    stale.add(data_set.name)
                    withdraw_shuffled(store, phase, context.log)
                    raise
                if made:
                    draft, counts = made
                    with draft:
                        context.log.info(f"{data_set.table}: {counts.written:,} rows.")
                        metadata = _metadata(data_set, counts)
                        yield dg.Output(draft, data_set.table, metadata=metadata)
        finally:
            # Dagster has committed what was yielded. Every listed file must exist, even if the
            # rest failed.
            _tell_what_is_stale(
                context, placement, store, [d for d in data_sets if d.name in stale]
            )
            versions = up_to_date(
                [d for d in data_sets if d.name not in stale], _sids(store, goods=goods), store
            )
            list_files(store, phase, versions)
        if settings.shuffle and versions:
            list_files(store, phase, [shuffle(store, phase, versions, settings.seed)])
        else:
            withdraw_shuffled(store, phase, context.log)

    def datasets(
        context: dg.AssetExecutionContext, settings: Settings, pid2sid: Version
    ) -> Iterator[dg.Output[Draft]]:
        observe_files(context, placement, settings, "interactions", "captions")
        with interactions_of(settings) as interactions:
            yield from made_from(interactions, context, settings, pid2sid)

    return dg.multi_asset(
        name=placement.named(f"{phase}_datasets"),
        ins=main.keys("pid2sid"),
        deps=[
            placement.key(EVENTS_TABLE),
            *placement.keys_of("interactions", "captions"),
            *(domain.key("pid2sid") for domain in domains[1:]),
        ],
        outs={
            data_set.table: dg.AssetOut(
                key=placement.key(data_set.table),
                group_name=placement.group("training_data"),
                io_manager_key=placement.io_manager,
                kinds={"parquet"},
                is_required=False,
                dagster_type=DRAFT,
                description=f"{data_set.description} A folder of parquet files of 1000 rows.",
            )
            for data_set in data_sets
        },
        can_subset=True,
        required_resource_keys=placement.resource_keys,
    )(step(placement, datasets))


def _sids(store: Store, *, goods: bool) -> Sids:
    """The SIDs that readers see now."""
    return Sids(
        store.require(ITEMS.table("pid2sid")),
        store.require(GOODS.table("pid2sid")) if goods else None,
    )


def training_inputs(
    settings: Settings, store: Store, sids: Sids, interactions: ParquetInput | None
) -> TrainingInputs:
    """The inputs of the training data that the user has."""

    def ids(domain: Domain, pid2sid: Version) -> IdSpace:
        texts = store.require(domain.table("item_texts"))
        index = SidIndex.from_table(pid2sid.stream(batch_rows=65_536))
        removed = None
        registry = store.current(domain.table("sid_registry"))
        if registry and settings.removed_in_histories:
            removed = removed_sids(registry, pid2sid.provenance.generation, index)
        return IdSpace(
            index,
            catalog=TextsMaking.of(texts.provenance).pids,
            setting=settings.choice("pid_type", get_args(PidTypeSetting)),
            removed=removed,
        )

    captions = settings.of_catalog("captions")
    return TrainingInputs(
        items=ids(ITEMS, sids.items),
        goods=ids(GOODS, sids.goods) if sids.goods else None,
        interactions=interactions,
        captions=ParquetInput(captions) if captions else None,
        seed=settings.seed,
        prompts=load_prompts(settings.prompts),
    )


def _tell_what_is_stale(
    context: dg.AssetExecutionContext,
    placement: Placement,
    store: Store,
    data_sets: Iterable[DataSet],
) -> None:
    """Report in the log and in the assets' metadata which files of earlier runs are stale."""
    for table in (data_set.table for data_set in data_sets):
        earlier = store.current(table)
        if earlier is None:
            continue
        message = f"{store.path(table)} is stale: it was made at {earlier.created} from other input"
        context.log.warning(f"{message}. Do not train on it.")
        metadata = {"stale_since": earlier.created}
        key = placement.key(table)
        context.log_event(dg.AssetObservation(key, description=message, metadata=metadata))


def _metadata(data_set: DataSet, counts: RowCounts) -> dict[str, Any]:
    pids = [
        (
            column,
            count.pids,
            count.with_sid,
            f"{count.share:.2%}" if count.pids else "",
            count.removed,
        )
        for column, count in counts.pids.items()
    ]
    of_interactions = data_set.made_of == "interactions"  # Captions have no split.
    return {
        "rows_of_split_0" if of_interactions else "rows_read": counts.rows,
        "candidates": counts.candidates,
        "rows_written": counts.written,
        "rows_dropped": _markdown(("reason", "rows"), sorted(counts.lost().items())),
        "lines_left_out_for_their_mask": counts.mask_lines.total(),
        "pids_with_a_sid": _markdown(
            ("column", "pids", "with a SID", "share", "of removed items"), pids
        ),
    }


def _markdown(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> dg.MarkdownMetadataValue:
    lines = [header, ["---"] * len(header), *rows]
    text = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
    return dg.MetadataValue.md(text)
