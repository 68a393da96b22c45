"""The sources that vectors are reused from: three kinds, in order of precedence.

The previous version, then vectors made elsewhere, then the drafts of unfinished runs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from upath import UPath

from sid_assets.core import schema
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.embeddings.adopt import Adopted
from sid_assets.core.schema import Pid
from sid_assets.core.store.chunks import finished_parts
from sid_assets.core.store.draft import UnfinishedRun
from sid_assets.core.store.pid_ranges import OnDamage, SortedParts
from sid_assets.core.store.versions import Version

EMBED = -1
"""The origin of an item that no source has a vector for: the item is embedded."""


@dataclass(frozen=True)
class Source:
    """A table like `item_embeddings`, with this run's embedding space and pid type.

    Attributes:
        kind: `before`: the version that readers see; `adopted`: vectors made elsewhere;
            `unfinished`: the draft of an unfinished run.
        folder: Where it is.
        parts: Its rows.
    """

    kind: Literal["before", "adopted", "unfinished"]
    folder: UPath
    parts: SortedParts

    @classmethod
    def before(cls, version: Version) -> "Source":
        """The version that readers see."""
        return cls("before", version.folder, SortedParts.of(version))

    @classmethod
    def adopted(cls, adopted: Adopted) -> "Source":
        """Adopted vectors, once they are stored beside the versions of the table."""
        return cls("adopted", adopted.folder, adopted.sorted_parts)

    @classmethod
    def unfinished(cls, run: UnfinishedRun) -> "Source":
        """The draft of an unfinished run."""
        return cls("unfinished", run.folder, SortedParts(run.folder, finished_parts(run.folder)))

    def emptied(self) -> "Source":
        """The same source without rows. Items that refer to it are decided again."""
        return replace(self, parts=SortedParts(self.folder, ()))


def beside(
    texts: Iterable[pa.RecordBatch],
    sources: Sequence[Source],
    columns: Sequence[str],
    on_damage: OnDamage,
    pids: tuple[Pid, Pid] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Rows of `item_texts`, joined with what each source has for the same pid.

    Args:
        texts: Batches sorted by pid.
        sources: Where to look.
        columns: Columns of the sources. Those of the first are appended as `<column>_0`, those of
            the second as `<column>_1`, ...; null if a source does not contain the pid.
        on_damage: Called for what cannot be read, which counts as missing.
        pids: Smallest and largest pid of the texts, to read only this range of the sources.
    """
    rows = iter(texts)
    for number, source in enumerate(sources):
        found = (
            source.parts.between(*pids, ["pid", *columns], on_damage)
            if pids
            else source.parts.all_rows(["pid", *columns], on_damage)
        )
        appended = pa.schema([_TABLE.field(name).with_name(f"{name}_{number}") for name in columns])
        rows = joined(rows, _renamed(found, ["pid", *appended.names]), appended)
    return rows


def first_of_same_text(rows: pa.RecordBatch, sources: int, after: np.ndarray) -> np.ndarray:
    """The first source with a vector for the same text, or `EMBED`: int16, shape (n,).

    Args:
        rows: Rows of `beside`, with `text_hash` among the columns.
        sources: How many sources the rows are joined with.
        after: Sources up to and including this one are skipped: int16, shape (n,).
    """
    origins = np.full(rows.num_rows, EMBED, np.int16)
    for number in reversed(range(sources)):
        equal = pc.fill_null(pc.equal(rows["text_hash"], rows[f"text_hash_{number}"]), False)
        same = equal.to_numpy(zero_copy_only=False)
        origins[same & (after < number)] = number
    return origins


_TABLE = schema.item_embeddings("int")


def _renamed(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    # A separate function: a generator expression would see the variables of a later iteration.
    for batch in batches:
        yield batch.rename_columns(list(names))
