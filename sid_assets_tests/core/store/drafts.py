"""Small drafts, and what readers see once they are committed."""

import pyarrow as pa

from sid_assets.core.store.draft import Draft
from sid_assets.core.store.parts import PartWriter
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version

COLUMNS = pa.schema([pa.field("pid", pa.int64(), nullable=False)])

PARTS = "codes"
"""A table of parts; "t" is a table that a user adds to the graph: one file."""


def draft_of(store: Store, *groups, table="t", key="") -> Draft:
    """A finished draft, given the pids of each part."""
    with store.draft(table) as draft:
        draft.begin(key)
        return finished(draft, *groups)


def finished(draft: Draft, *groups) -> Draft:
    """The same draft with its parts, given the pids of each."""
    parts = []
    for number, pids in enumerate(groups):
        with PartWriter(draft.folder / f"part-{number}.parquet", COLUMNS) as writer:
            writer.write(pa.table([list(pids)], schema=COLUMNS))
        parts.append(writer.part)
    draft.finish(parts, Provenance(draft.table))
    return draft


def commit(store: Store, *groups, table="t") -> Version:
    """Commit such a draft."""
    return store.commit(draft_of(store, *groups, table=table))


def pids(store: Store, table="t") -> list[int]:
    """The pids that readers see."""
    return store.require(table).stream().read_all()["pid"].to_pylist()
