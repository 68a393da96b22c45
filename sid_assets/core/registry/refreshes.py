"""`sid_refreshes`: a row for each refresh, taken from what the registry remembers.

It is only history: no SID depends on it, and one that cannot be read begins again.
"""

import datetime as dt
from collections.abc import Callable

import pyarrow as pa

from sid_assets.core.errors import StoreError
from sid_assets.core.registry.making import RefreshRecord, RegistryMaking
from sid_assets.core.schema import SID_REFRESHES, TIME
from sid_assets.core.store.versions import Version


def rows_so_far(listed: Version | None, warn: Callable[[str], None] = lambda _: None) -> pa.Table:
    """The rows of `sid_refreshes`; none if it cannot be read.

    Args:
        listed: The version of `sid_refreshes`; None if there is none.
        warn: Is told which file cannot be read, and why.
    """
    if listed is None:
        return SID_REFRESHES.empty_table()
    try:
        return listed.stream(SID_REFRESHES.names).read_all().cast(SID_REFRESHES)
    except (StoreError, KeyError, ValueError) as error:
        reason = str(error).removesuffix(" Materialise its asset again.")
        warn(
            f"{listed.paths[0]}: the history of refreshes cannot be read ({reason}). It begins "
            "again with the refreshes that sid_registry remembers. No SID depends on it."
        )
        return SID_REFRESHES.empty_table()


def with_last_refreshes(
    listed: Version | None, registry: Version, warn: Callable[[str], None] = lambda _: None
) -> pa.Table:
    """The rows so far, and one for each refresh that the registry remembers and that has none.

    A run that was killed between the two tables leaves a refresh without a row.

    Args:
        listed: The version of `sid_refreshes`; None if there is none.
        registry: The version of `sid_registry`.
        warn: Is told of rows that cannot be read; they are lost.
    """
    rows = rows_so_far(listed, warn)
    times = set(rows["at"].to_pylist())
    making = RegistryMaking.of(registry.provenance)
    added = [
        _row(record, registry)
        for record in making.refreshes
        if dt.datetime.fromisoformat(record.at) not in times
    ]
    both = pa.concat_tables([rows, pa.Table.from_pylist(added, SID_REFRESHES)])
    return both.sort_by("at")


def _row(record: RefreshRecord, registry: Version) -> dict[str, object]:
    at = pa.scalar(dt.datetime.fromisoformat(record.at), TIME)
    fields = {
        "at": at,
        "generation": record.generation,
        "tokenizer": record.tokenizer,
        "registry": record.registry or registry.provenance.version,
    }
    counts = {
        name: getattr(record.counts, name) for name in SID_REFRESHES.names if name not in fields
    }
    return fields | counts
