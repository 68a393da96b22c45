"""Makes one data set, and finds which data sets on disk were made from the current SIDs."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.provenance import Provenance, derive
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows
from sid_assets.core.training.counts import RowCounts
from sid_assets.core.training.inputs import TrainingInputs
from sid_assets.core.training.rows import lacking, training_rows
from sid_assets.core.training_sets import DATA_SETS, DataSet

LITTLE = 0.5
"""If a smaller share of a column's ids has a SID, it is looked for the reason."""


@dataclass(frozen=True)
class Sids:
    """The SIDs for training data: `pid2sid` of the items, and of goods if there are any."""

    items: Version
    goods: Version | None = None

    def behind(self, data_set: DataSet) -> list[Provenance]:
        """The provenance of the SIDs that a data set uses."""
        if not (self.goods and data_set.goods):
            return [self.items.provenance]
        # Each catalog has generations of its own; space and tokenizer must be the same.
        return [self.items.provenance, replace(self.goods.provenance, generation="")]


def make_data_set(
    data_set: DataSet, inputs: TrainingInputs, sids: Sids, store: Store, log: logging.Logger
) -> tuple[Draft, RowCounts] | None:
    """Write the rows of a data set. If its input is missing, log this and return None.

    Raises:
        InputError: As `training_rows`; or the interactions lack columns of a required data set, or
            give it no row.
        StoreError: As `draft_rows`.
    """
    if data_set.required and inputs.interactions:
        require_columns(inputs.interactions, data_set)
    if lacks := lacking(data_set, inputs):
        log.info(f"{data_set.table} is skipped: {'; '.join(lacks)}.")
        return None
    rows = training_rows(data_set.name, inputs)
    provenance = derive(data_set.table, *sids.behind(data_set))
    with draft_rows(store, data_set.table, rows.reader, provenance) as draft:
        zeros = _zeros_lost(data_set, inputs, rows.counts)
        if zeros:
            log.warning(zeros)
        if not rows.counts.written:
            message = "\n".join(filter(None, [_no_rows(data_set, inputs, rows.counts), zeros]))
            if data_set.required:
                raise InputError(message)
            log.warning(message)
        draft.add_details({"counts": rows.counts.to_json()})
    return draft, rows.counts


def up_to_date(data_sets: Iterable[DataSet], sids: Sids, store: Store) -> list[Version]:
    """The versions of data sets that were made from these SIDs and have rows."""
    found = []
    for data_set in data_sets:
        version = store.current(data_set.table)
        inputs = {source.asset: source.version for source in sids.behind(data_set)}
        if version and version.rows and version.provenance.inputs == inputs:
            found.append(version)
    return found


def made_from_others(sids: Provenance, store: Store) -> list[DataSet]:
    """The data sets on disk that were made from other SIDs.

    Args:
        sids: The provenance of `pid2sid`, of the items or of goods.
        store: The store of the data sets.
    """
    found = []
    for data_set in DATA_SETS.values():
        version = store.current(data_set.table)
        if version and version.provenance.inputs.get(sids.asset, sids.version) != sids.version:
            found.append(data_set)
    return found


def require_columns(interactions: ParquetInput, data_set: DataSet) -> None:
    """Raise InputError if the interactions lack a column of a required data set."""
    if missing := interactions.missing(data_set.columns):
        raise InputError(
            f"{interactions.path}: there is no column {', '.join(map(repr, missing))}. The columns "
            f"are {', '.join(interactions.columns)}. Add or rename columns, or unset "
            "SID_INTERACTIONS."
        )


def _zeros_lost(data_set: DataSet, inputs: TrainingInputs, counts: RowCounts) -> str:
    """Which columns of ids match little because of leading zeros, a line each; "" if none."""
    source, lines = inputs.of(data_set.made_of), []
    for column, count in counts.pids.items():
        space = inputs.goods if column in data_set.goods else inputs.items
        of_ids = column in (*data_set.items, *data_set.goods)
        if source and space and of_ids and count.share < LITTLE:
            sentence = space.zeros_lost(source, column)
            lines += [f"{source.path}: column {column!r}: {sentence}"] if sentence else []
    return "\n".join(lines)


def _no_rows(data_set: DataSet, inputs: TrainingInputs, counts: RowCounts) -> str:
    source, lost = inputs.of(data_set.made_of), counts.lost()
    reasons = ", ".join(f"{reason}: {rows:,}" for reason, rows in lost.items())
    of_split = " of split 0" if data_set.made_of == "interactions" else ""
    ask = " Are its ids from this catalog?" if any("SID" in reason for reason in lost) else ""
    return (
        f"{source.path if source else data_set.table}: none of the {counts.rows:,} rows{of_split} "
        f"became a row of {data_set.table} ({reasons or 'there are no rows'}).{ask}"
    )
