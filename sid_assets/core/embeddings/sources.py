"""Where vectors can be taken from: three kinds of source, in the order in which they are asked.

The version before, then vectors that somebody else made, then what unfinished runs left.
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
from sid_assets.core.store.chunks import OnDamage, SortedParts, finished_parts
from sid_assets.core.store.versions import Staging, Version

EMBED = -1
"""The origin of a vector that no source has: the item is embedded."""


@dataclass(frozen=True)
class Source:
    """A table like `item_embeddings`, of the embedding space and the type of pids of this run.

    Attributes:
        kind: `before`: the version that readers see; `adopted`: vectors that somebody else made;
            `unfinished`: what a run left that did not end.
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
        """Adopted vectors, once they lie beside the versions of the table."""
        return cls("adopted", adopted.folder, adopted.sorted_parts)

    @classmethod
    def unfinished(cls, run: Staging) -> "Source":
        """What a run left that did not end."""
        return cls("unfinished", run.folder, SortedParts(run.folder, finished_parts(run)))

    def emptied(self) -> "Source":
        """The same without rows: whoever asks it for one decides again."""
        return replace(self, parts=SortedParts(self.folder, ()))


def beside(
    texts: Iterable[pa.RecordBatch],
    sources: Sequence[Source],
    columns: Sequence[str],
    on_damage: OnDamage,
    pids: tuple[Pid, Pid] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Rows of `item_texts`, and beside them what each source has for the same pid.

    Args:
        texts: Batches sorted by pid.
        sources: Where to look.
        columns: Columns of the sources. That of the first is appended as `<column>_0`, that of the
            second as `<column>_1`, ...; null where a source does not hold the pid.
        on_damage: Told of what cannot be read, and is as if it were not there.
        pids: Smallest and largest pid of the texts, where only these are to be looked for.
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
    """The first source that has the vector of an item's very text, or `EMBED`: int16, shape (n,).

    Args:
        rows: Of `beside`, with `text_hash` among the columns.
        sources: How many sources are beside them.
        after: Sources up to this one are passed over: int16, shape (n,).
    """
    origins = np.full(rows.num_rows, EMBED, np.int16)
    for number in reversed(range(sources)):
        equal = pc.fill_null(pc.equal(rows["text_hash"], rows[f"text_hash_{number}"]), False)
        same = equal.to_numpy(zero_copy_only=False)
        origins[same & (after < number)] = number
    return origins


_TABLE = schema.item_embeddings("int")


def _renamed(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    # In a function of its own: a generator expression would see the variables of a later loop.
    for batch in batches:
        yield batch.rename_columns(list(names))
