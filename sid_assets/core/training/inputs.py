"""The inputs of training data sets: interactions, captions, and the ids in them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.errors import IDS_SHOWN, InputError, offending_rows
from sid_assets.core.inputs.ids import (
    PidColumn,
    PidTypeSetting,
    Stored,
    agree,
    convert_pids,
    inexact_floats,
    stored_as,
    zeros_lost,
)
from sid_assets.core.inputs.parquet import ParquetInput, flat, shortened
from sid_assets.core.sids.index import FoundSids, SidIndex
from sid_assets.core.training.prompts import Prompts, load_prompts
from sid_assets.core.training_sets import InputName

IDS_LOOKED_AT = 100_000
"""Ids of a column among which ids without an item are searched for lost zeros."""


@dataclass(frozen=True)
class IdSpace:
    """The ids of one catalog: their SIDs, and how other files may write them.

    Attributes:
        index: The SIDs by pid.
        catalog: How the catalog stores its ids.
        setting: SID_PID_TYPE.
        removed: The SIDs of items that are no longer in the catalog, for histories; None if there
            are none.
        in_histories: Whether ids are looked up for histories, which may spell `removed` too.
    """

    index: SidIndex
    catalog: PidColumn
    setting: PidTypeSetting = "auto"
    removed: SidIndex | None = None
    in_histories: bool = False

    @property
    def histories(self) -> "IdSpace":
        """The same ids as histories may spell them: including those of removed items."""
        return replace(self, in_histories=True)

    def check(self, source: ParquetInput, columns: Iterable[str]) -> None:
        """Raise InputError if a column does not store its ids as the catalog does."""
        for column in columns:
            if column in source.columns:
                for other in source.pid_columns(column):
                    agree(self.catalog, other, self.setting)

    @property
    def written_as(self) -> Stored:
        """How ids must be written to match the catalog's; `untyped` if both ways are accepted."""
        return self.catalog.stored if self.setting == "auto" else "untyped"

    def parsed(self, ids: pa.Array, source: ParquetInput, column: str) -> pa.Array:
        """Ids that were read from a column of JSON, as the catalog stores them.

        A single value that cannot be an id becomes null and has no SID, as in OneRec's program.

        Raises:
            InputError: None of the values can be an id.
        """
        given = ids.drop_null()
        converted = convert_pids(ids, self.index.pid_type, forced=self.setting != "auto")
        if len(given):
            file = source.file_with(column)  # In all files, no id of the column can be read.
            stored = stored_as(ids.type, source=file, column=column)
            first = tuple(given.slice(0, IDS_SHOWN).to_pylist())
            other = PidColumn(file, column, stored, len(given), first)
            agree(self.catalog, other, self.setting)
            if self.setting != "auto" and converted.null_count == len(converted):
                raise self._unreadable(file, column, len(given), first)
        return converted

    def find(self, ids: pa.Array, source: ParquetInput, column: str) -> FoundSids:
        """The SIDs of ids as stored in a file, shape (n,); values that cannot be ids have none."""
        pids = self.converted(ids, source, column)
        found = self.index.find(pids)
        if not (self.in_histories and self.removed) or found.found.all():
            return found
        return found.filled(self.removed.find(pids.filter(pa.array(~found.found))))

    def converted(self, ids: pa.Array, source: ParquetInput, column: str) -> pa.Array:
        """Ids as the catalog stores them; null where a value cannot be an id.

        Raises:
            InputError: SID_PID_TYPE declares the ids integers, but some are not; or ids are floats
                beyond 2**53.
        """
        forced = self.setting != "auto"
        converted = convert_pids(ids, self.index.pid_type, forced=forced)
        if converted.null_count > ids.null_count:
            if forced:
                self._refuse(source, column)
            if pc.any(inexact_floats(ids)).as_py():
                raise _inexact(source, column)
        return converted

    def zeros_lost(self, source: ParquetInput, column: str) -> str:
        """A sentence if ids of a column lack an item because of leading zeros; else "".

        Only the first ids are looked at.
        """
        missing, looked_at = [pa.array([], pa.string())], 0
        for batch in source.batches([column]):
            ids = flat(batch[column])
            found = self.index.find(self.converted(ids, source, column)).found
            without_item = ids.filter(pa.array(~found)).drop_null()
            missing.append(convert_pids(without_item, "string").drop_null())
            looked_at += len(ids)
            if looked_at >= IDS_LOOKED_AT:
                break
        return zeros_lost(pc.unique(pa.concat_arrays(missing)), self.index.pids)

    def _refuse(self, source: ParquetInput, column: str) -> None:
        def unreadable(ids: pa.Array) -> pa.Array:
            lost = convert_pids(ids, self.index.pid_type, forced=True).is_null()
            return pc.and_not(lost, ids.is_null(nan_is_null=True))

        files, rows, first = _where(source, column, unreadable)
        if rows:
            raise self._unreadable(files, column, rows, first)

    def _unreadable(self, source: str, column: str, rows: int, ids: Iterable[Any]) -> InputError:
        return offending_rows(
            f"ids that SID_PID_TYPE={self.setting} cannot read",
            source=source,
            column=column,
            rows=rows,
            ids=ids,
            remedy="Correct them, or set SID_PID_TYPE=string.",
        )


def _where(
    source: ParquetInput, column: str, is_wrong: Callable[[pa.Array], pa.Array]
) -> tuple[str, int, list[Any]]:
    """The files with wrong ids in a column, the number of these ids, and the first of them."""
    rows, first, files = 0, [], dict[str, None]()
    for file, batch in source.batches_of_files([column]):
        ids = flat(batch[column])
        wrong = ids.filter(is_wrong(ids))
        if len(wrong):
            rows += len(wrong)
            first += wrong.slice(0, IDS_SHOWN).to_pylist()
            files[file] = None
    return shortened(list(files)), rows, first


def _inexact(source: ParquetInput, column: str) -> InputError:
    files, rows, first = _where(source, column, inexact_floats)
    return offending_rows(
        "ids are floats beyond 2**53, so they may be those of other items",
        source=files,
        column=column,
        rows=rows,
        ids=first,
        remedy="Write ids as integers or text.",
    )


@dataclass(frozen=True)
class TrainingInputs:
    """The inputs of training data sets; None for inputs that the user does not provide.

    Attributes:
        items: The ids of the catalog.
        interactions: The interactions of users.
        captions: Captions of items.
        goods: The ids of goods, which are a separate catalog.
        seed: SID_SEED.
        prompts: The wordings to draw from.
    """

    items: IdSpace
    interactions: ParquetInput | None = None
    captions: ParquetInput | None = None
    goods: IdSpace | None = None
    seed: int = 0
    prompts: Prompts = field(default_factory=load_prompts)

    def of(self, name: InputName) -> ParquetInput | None:
        """An input by name."""
        return self.interactions if name == "interactions" else self.captions
