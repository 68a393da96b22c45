"""Where vectors are taken over from.

The version before, vectors that somebody else made, and what unfinished runs staged.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core import schema
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.embeddings.adopt import Adopted
from sid_assets.core.schema import Pid, PidType
from sid_assets.core.store.chunks import OnDamage, SortedParts, finished_parts
from sid_assets.core.store.provenance import EmbeddingSpace
from sid_assets.core.store.versions import Staging, Store, Version


@dataclass(frozen=True)
class VectorSources:
    """Tables like `item_embeddings`, of one embedding space and one type of pids.

    Attributes:
        tables: Their parts; those of the version before come first, where there is one, then
            adopted vectors, where there are some.
        has_before: Whether there is a version before.
        has_adopted: Whether there are adopted vectors.
    """

    tables: tuple[SortedParts, ...] = ()
    has_before: bool = False
    has_adopted: bool = False

    @classmethod
    def of(
        cls, before: Version | None, unfinished: Sequence[Staging], adopted: Adopted | None = None
    ) -> "VectorSources":
        """A version whose vectors are of use, and what else there is of that space."""
        lasting = [SortedParts.of(before)] if before else []
        lasting += [adopted.sorted_parts] if adopted else []
        staged = [SortedParts(run.folder, finished_parts(run)) for run in unfinished]
        return cls((*lasting, *staged), before is not None, adopted is not None)

    def beside(
        self,
        texts: Iterable[pa.RecordBatch],
        columns: Sequence[str],
        on_damage: OnDamage,
        pids: tuple[Pid, Pid] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Rows of `item_texts`, and beside them what each source has for the same pid.

        Args:
            texts: Batches sorted by pid.
            columns: Columns of the sources. That of the first is appended as `<column>_0`, that of
                the second as `<column>_1`, ...; null where a source does not hold the pid.
            on_damage: Told of what cannot be read, and is as if it were not there.
            pids: Smallest and largest pid of the texts, where only these are to be looked for.
        """
        rows = iter(texts)
        for number, table in enumerate(self.tables):
            found = (
                table.between(*pids, ["pid", *columns], on_damage)
                if pids
                else table.all_rows(["pid", *columns], on_damage)
            )
            appended = pa.schema(
                [_TABLE.field(name).with_name(f"{name}_{number}") for name in columns]
            )
            rows = joined(rows, _renamed(found, ["pid", *appended.names]), appended)
        return rows

    def same_text(self, rows: pa.RecordBatch) -> np.ndarray:
        """Which sources have the vector of an item's very text: bool, shape (sources, n).

        Args:
            rows: Of `beside`, with `text_hash` among the columns.
        """
        same = np.zeros((len(self.tables), rows.num_rows), bool)
        for number in range(len(self.tables)):
            equal = pc.equal(rows["text_hash"], rows[f"text_hash_{number}"])
            same[number] = pc.fill_null(equal, False).to_numpy(zero_copy_only=False)
        return same


_TABLE = schema.item_embeddings("int")


def unfinished_runs(
    store: Store, table: str, space: EmbeddingSpace, pid_type: PidType
) -> list[Staging]:
    """The unfinished runs whose vectors fit those of this one, latest first."""
    wanted = {"space": space.digest, "pid_type": pid_type}
    return [run for run in store.unfinished(table) if wanted.items() <= run.state.items()]


def _renamed(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    # In a function of its own: a generator expression would see the variables of a later loop.
    for batch in batches:
        yield batch.rename_columns(list(names))
