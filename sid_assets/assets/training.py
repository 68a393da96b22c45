"""The last stage: the training data sets of RecIF.

One step makes the data sets of a stage (pretraining, fine-tuning) one after the other, so that the
SIDs of the catalog are loaded once, and then lists their files. Each data set is an asset.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import dagster as dg
import pyarrow as pa
from upath import UPath

from sid_assets.assets.domains import GOODS, ITEMS, Domain
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.ids import PidColumn, PidTypeSetting
from sid_assets.core.schema import PRETRAIN_ROWS, SFT_ROWS
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.store.places import is_local, write_text
from sid_assets.core.store.provenance import Provenance, derive
from sid_assets.core.store.versions import StagedTable, Store, Version
from sid_assets.core.store.write import commit_staged, stage_rows
from sid_assets.core.training.datasets import DATA_SETS, DataSet, Stage, lacking, training_rows
from sid_assets.core.training.file_lists import file_list, shuffled
from sid_assets.core.training.inputs import IdSpace, ParquetInput, TrainingInputs
from sid_assets.core.training.prompts import load_prompts
from sid_assets.core.training.rows import Counts
from sid_assets.failures import clear_failures
from sid_assets.settings import Settings

STAGED_TABLE = dg.PythonObjectDagsterType(StagedTable, name="StagedTrainingData")

REQUIRED = "video_rec"
"""The data set that must have rows where there are interactions."""

DESCRIPTIONS = {
    "video_rec": "Histories of watched items followed by what was watched next, as SIDs. Read in "
    "pretraining; needs histories and targets.",
    "user_profile": "Profiles of users as they are. Read in pretraining; needs profiles.",
    "item_understand": "SIDs beside captions of their items. Read in pretraining; needs captions.",
    "sft_video_rec": "Which items come next, given a history. Read in fine-tuning; needs "
    "histories and targets.",
    "sft_interactive_rec": "Which items suit a user and a keyword. Read in fine-tuning; needs "
    "profiles and keywords.",
    "sft_label_cond_rec": "Which items a user will like, share, ... next. Read in fine-tuning; "
    "needs histories, targets and their label masks.",
    "sft_label_pred": "Whether a user will watch an item for long: yes or no. Read in "
    "fine-tuning; needs histories, targets and their label masks.",
    "sft_ad_rec": "Which ads come next, given videos and ads. Read in fine-tuning; needs ads.",
    "sft_product_rec": "Which goods come next, given videos and goods. Read in fine-tuning; needs "
    "goods and their catalog.",
    "sft_item_understand": "A caption, given a SID. Read in fine-tuning; needs captions.",
    "sft_rec_reason": "Why an item suits a user, step by step. Read in fine-tuning; needs "
    "profiles, captions of targets, and reasoning; captions of the history help.",
}


def table_of(name: str) -> str:
    """The asset of a data set: `sft_ad_rec` -> `sft_ad_rec_dataset`."""
    return f"{name}_dataset"


def training_assets(stage: Stage, *, goods: bool = False) -> dg.AssetsDefinition:
    """The data sets of a stage, each an asset; with those made of goods, if there are any."""
    names = [name for name, data_set in DATA_SETS.items() if data_set.stage == stage]

    @dg.multi_asset(
        name=f"{stage}_datasets",
        ins={"pid2sid": dg.AssetIn(key=ITEMS.key("pid2sid"))},
        deps=[GOODS.key("pid2sid")] if goods else None,
        outs={
            table_of(name): dg.AssetOut(
                group_name="training_data",
                kinds={"parquet"},
                is_required=False,
                dagster_type=STAGED_TABLE,
                description=f"{DESCRIPTIONS[name]} A folder of parquet files of 1000 rows.",
            )
            for name in names
        },
        can_subset=True,
    )
    @clear_failures
    def datasets(
        context: dg.AssetExecutionContext, settings: Settings, pid2sid: Version
    ) -> Iterator[dg.Output[StagedTable]]:
        store = settings.store()
        sids = Sids(pid2sid, store.require(GOODS.table("pid2sid")) if goods else None)
        inputs = training_inputs(settings, store, sids)
        stale = {name for name in names if lacking(DATA_SETS[name], inputs)}
        versions = []
        try:
            for name in names:
                if table_of(name) not in context.op_execution_context.selected_output_names:
                    continue
                try:
                    staged = _make(context, DATA_SETS[name], inputs, store, sids)
                except Exception:
                    stale.add(name)
                    _withdraw_shuffled(context, store, stage)
                    raise
                if staged:
                    counts = staged.provenance.details["counts"]
                    context.log.info(f"{table_of(name)}: {counts['written']:,} rows.")
                    metadata = _metadata(DATA_SETS[name], counts)
                    yield dg.Output(staged, table_of(name), metadata=metadata)
        finally:
            # Dagster has committed what was yielded: what is listed must be there, even if the
            # rest failed.
            _tell_what_is_stale(context, store, [name for name in names if name in stale])
            versions = _versions(store, [name for name in names if name not in stale], sids)
            _list_files(store, stage, versions)
        if settings.shuffle and versions:
            _list_files(store, stage, [_shuffle(store, stage, versions, settings.seed)])
        else:
            _withdraw_shuffled(context, store, stage)

    return datasets


@dataclass(frozen=True)
class Sids:
    """The SIDs that training data is made of: `pid2sid` of the items, and of goods if any."""

    items: Version
    goods: Version | None = None

    def behind(self, data_set: DataSet) -> list[Provenance]:
        """Where a data set comes from."""
        goods = [self.goods.provenance] if self.goods and data_set.goods else []
        return [self.items.provenance, *goods]


def training_inputs(settings: Settings, store: Store, sids: Sids) -> TrainingInputs:
    """What training data is made of, as far as the user has it."""

    def ids(domain: Domain, pid2sid: Version) -> IdSpace:
        texts = store.require(domain.table("item_texts")).provenance.details
        return IdSpace(
            SidIndex.from_table(pid2sid.stream(batch_rows=65_536)),
            catalog=PidColumn(**texts["pids"]),
            setting=settings.choice("pid_type", get_args(PidTypeSetting)),
        )

    interactions, captions = map(settings.of_catalog, ("interactions", "captions"))
    return TrainingInputs(
        items=ids(ITEMS, sids.items),
        goods=ids(GOODS, sids.goods) if sids.goods else None,
        interactions=ParquetInput(interactions) if interactions else None,
        captions=ParquetInput(captions) if captions else None,
        seed=settings.seed,
        prompts=load_prompts(settings.prompts or None),
    )


def _make(
    context: dg.AssetExecutionContext,
    data_set: DataSet,
    inputs: TrainingInputs,
    store: Store,
    sids: Sids,
) -> StagedTable | None:
    """Stage a data set; None where the user has not what it needs."""
    table = table_of(data_set.name)
    required = data_set.name == REQUIRED
    if required and inputs.interactions:
        _require_columns(inputs.interactions, data_set)
    if lacks := lacking(data_set, inputs):
        context.log.info(f"{table} is skipped: {'; '.join(lacks)}.")
        return None
    rows = training_rows(data_set.name, inputs)
    staged = stage_rows(store, table, rows.reader, derive(table, *sids.behind(data_set)))
    counts = rows.counts
    if not counts.written:
        message = _no_rows(table, data_set, inputs, counts)
        if required:
            staged.staging.close()
            raise InputError(message)
        context.log.warning(message)
    return staged.with_details({"counts": _details(counts)})


def _versions(store: Store, names: Iterable[str], sids: Sids) -> list[Version]:
    """The data sets that were made from these SIDs, as far as they have rows."""
    found = []
    for name in names:
        version = store.current(table_of(name))
        made_from = {source.asset: source.version for source in sids.behind(DATA_SETS[name])}
        if version and version.rows and version.provenance.inputs == made_from:
            found.append(version)
    return found


def _shuffle(store: Store, stage: Stage, versions: Sequence[Version], seed: int) -> Version:
    """All rows of a stage in one order, as the table `<stage>_shuffled`."""
    table = _shuffled_table(stage)
    columns = PRETRAIN_ROWS if stage == "pretrain" else SFT_ROWS
    rows = (
        batch.replace_schema_metadata(None)
        for version in versions
        for batch in version.stream(batch_rows=1024)
    )
    with tempfile.TemporaryDirectory() as scratch:
        mixed = pa.RecordBatchReader.from_batches(
            columns, shuffled(rows, seed, Path(scratch, "runs"))
        )
        provenance = derive(table, *(version.provenance for version in versions))
        return commit_staged(store, stage_rows(store, table, mixed, provenance))


def _withdraw_shuffled(context: dg.AssetExecutionContext, store: Store, stage: Stage) -> None:
    """Take away what an earlier run shuffled: it would look current, and nothing renews it."""
    table = _shuffled_table(stage)
    if store.current(table):
        store.forget(table)
        context.log.warning(
            f"{store.path(table)} is withdrawn: it was made of earlier rows, and is not made again "
            "now. `python -m sid_assets.purge --yes` removes its files."
        )


def _shuffled_table(stage: Stage) -> str:
    return f"{stage}_shuffled"


def _list_files(store: Store, stage: Stage, versions: Iterable[Version]) -> None:
    """Write `<stage>_file_list.json`: the files to train on."""
    paths = [path for version in versions for path in _paths(store, version)]
    write_text(store.root / f"{stage}_file_list.json", file_list(map(str, paths)))


def _paths(store: Store, version: Version) -> list[UPath]:
    """The files of a data set: by the name that readers see where there is one, on a local disk."""
    if not is_local(store.root):
        return version.paths
    return [store.path(version.provenance.asset) / part.name for part in version.parts]


def _require_columns(interactions: ParquetInput, data_set: DataSet) -> None:
    if missing := interactions.missing(data_set.columns):
        raise InputError(
            f"{interactions.path}: there is no column {', '.join(map(repr, missing))}. There are: "
            f"{', '.join(interactions.columns)}. Name the columns so, or unset SID_INTERACTIONS."
        )


def _no_rows(table: str, data_set: DataSet, inputs: TrainingInputs, counts: Counts) -> str:
    source = inputs.of(data_set.made_of)
    lost = counts.dropped_rows + counts.dropped
    reasons = ", ".join(f"{reason}: {rows:,}" for reason, rows in lost.items())
    of_split = " of split 0" if data_set.made_of == "interactions" else ""
    ask = " Are its ids those of this catalog?" if any("SID" in reason for reason in lost) else ""
    return (
        f"{source.path if source else table}: none of the {counts.rows:,} rows{of_split} became a "
        f"row of {table} ({reasons or 'there are none'}).{ask}"
    )


def _tell_what_is_stale(
    context: dg.AssetExecutionContext, store: Store, names: Iterable[str]
) -> None:
    """Say, in the log and in the assets' metadata, which files of earlier runs are not renewed."""
    for table in map(table_of, names):
        earlier = store.current(table)
        if earlier is None:
            continue
        message = f"{store.path(table)} is stale: it was made at {earlier.created} of another input"
        context.log.warning(f"{message}. Do not train on it.")
        metadata = {"stale_since": earlier.created}
        context.log_event(dg.AssetObservation(table, description=message, metadata=metadata))


def _details(counts: Counts) -> dict[str, Any]:
    """Counts as the table's provenance keeps them, for the metadata and the checks."""
    return {
        "rows": counts.rows,
        "candidates": counts.candidates,
        "written": counts.written,
        "dropped_rows": dict(counts.dropped_rows),
        "dropped": dict(counts.dropped),
        "mask_lines": dict(counts.mask_lines),
        "pids": {column: asdict(count) for column, count in counts.pids.items()},
    }


def _metadata(data_set: DataSet, counts: dict[str, Any]) -> dict[str, Any]:
    lost = Counter(counts["dropped_rows"]) + Counter(counts["dropped"])
    pids = [
        (column, pids := count["pids"], found := count["with_sid"], _share(found, pids))
        for column, count in counts["pids"].items()
    ]
    of_interactions = data_set.made_of == "interactions"  # Captions have no split.
    return {
        "rows_of_split_0" if of_interactions else "rows_read": counts["rows"],
        "candidates": counts["candidates"],
        "rows_written": counts["written"],
        "rows_dropped": _markdown(("reason", "rows"), sorted(lost.items())),
        "lines_left_out_for_their_mask": sum(counts["mask_lines"].values()),
        "pids_with_a_sid": _markdown(("column", "pids", "with a SID", "share"), pids),
    }


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else ""


def _markdown(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> dg.MarkdownMetadataValue:
    lines = [header, ["---"] * len(header), *rows]
    text = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
    return dg.MetadataValue.md(text)
