"""The last stage: the training data sets of RecIF."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, get_args

import dagster as dg

from sid_assets.assets.domains import ITEMS
from sid_assets.core.errors import InputError
from sid_assets.core.pids import PidColumn, PidTypeSetting
from sid_assets.core.provenance import derive
from sid_assets.core.recif.datasets import DATA_SETS, DataSet, lacking, training_rows
from sid_assets.core.recif.inputs import IdSpace, ParquetInput, TrainingInputs
from sid_assets.core.recif.rows import Counts
from sid_assets.core.sid_index import SidIndex
from sid_assets.core.tables import stage_rows
from sid_assets.core.versions import StagedTable, Store, Version
from sid_assets.failures import clear_failures
from sid_assets.settings import Settings

REQUIRED = "video_rec"
"""The data set that must have rows where there are interactions."""


def training_asset(data_set: DataSet, description: str) -> dg.AssetsDefinition:
    """A training data set as an asset: `<name>_dataset`."""
    table = f"{data_set.name}_dataset"

    @dg.asset(
        key=table,
        ins={"pid2sid": dg.AssetIn(key=ITEMS.key("pid2sid"))},
        group_name="training_data",
        kinds={"parquet"},
        output_required=False,
        dagster_type=dg.PythonObjectDagsterType(StagedTable),
        description=description,
    )
    @clear_failures
    def dataset(
        context: dg.AssetExecutionContext, settings: Settings, pid2sid: Version
    ) -> Iterator[dg.Output[StagedTable]]:
        store = settings.store()
        inputs = _inputs(settings, store, pid2sid)
        if lacks := lacking(data_set, inputs):
            context.log.warning(f"{table} is skipped: {'; '.join(lacks)}.{_stale(store, table)}")
            return
        rows = training_rows(data_set.name, inputs)
        provenance = derive(table, pid2sid.provenance)
        staged = stage_rows(store, table, rows.reader, provenance)
        if data_set.name == REQUIRED and not rows.counts.written:
            staged.staging.close()
            raise _no_rows(settings.interactions, rows.counts)
        staged = staged.with_details({"counts": _details(rows.counts)})
        yield dg.Output(staged, metadata=_metadata(rows.counts))

    return dataset


video_rec_dataset = training_asset(
    DATA_SETS["video_rec"],
    "Histories of watched items followed by what was watched next, as SIDs: a folder of parquet "
    "files for the pretraining of OneRec's models.",
)


def _inputs(settings: Settings, store: Store, pid2sid: Version) -> TrainingInputs:
    """What training data is made of, as far as the user has it."""
    texts = store.require(ITEMS.table("item_texts")).provenance.details
    return TrainingInputs(
        items=IdSpace(
            SidIndex.from_table(pid2sid.stream(batch_rows=65_536)),
            catalog=PidColumn(**texts["pids"]),
            setting=settings.choice("pid_type", get_args(PidTypeSetting)),
        ),
        interactions=ParquetInput(settings.interactions) if settings.interactions else None,
        captions=ParquetInput(settings.captions) if settings.captions else None,
        seed=settings.seed,
    )


def _no_rows(interactions: str, counts: Counts) -> InputError:
    reasons = ", ".join(f"{reason}: {rows:,}" for reason, rows in counts.dropped.items())
    return InputError(
        f"{interactions}: none of the {counts.rows:,} rows of split 0 became a training row "
        f"({reasons or 'there are none'}). Do the interactions hold the ids of this catalog?"
    )


def _stale(store: Store, table: str) -> str:
    """A warning where an earlier run left a file that this run does not renew."""
    earlier = store.current(table)
    if earlier is None:
        return ""
    return (
        f" {store.path(table)} is stale: it was made at {earlier.created} from another pid2sid. "
        "Do not train on it."
    )


def _details(counts: Counts) -> dict[str, Any]:
    """Counts as the table's provenance keeps them, for the check that rows add up."""
    return {
        "candidates": counts.candidates,
        "written": counts.written,
        "dropped": dict(counts.dropped),
        "pids": {column: asdict(count) for column, count in counts.pids.items()},
    }


def _metadata(counts: Counts) -> dict[str, Any]:
    lost = counts.dropped_rows + counts.dropped
    return {
        "rows_of_split_0": counts.rows,
        "rows_written": counts.written,
        "rows_dropped": dg.MetadataValue.md(
            _markdown(("reason", "rows"), sorted(lost.items())) if lost else "none"
        ),
        "lines_left_out_for_their_mask": counts.mask_lines.total(),
        "pids_with_a_sid": dg.MetadataValue.md(
            _markdown(
                ("column", "pids", "with a SID", "share"),
                [(c, n.pids, n.with_sid, f"{n.share:.2%}") for c, n in counts.pids.items()],
            )
        ),
    }


def _markdown(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
