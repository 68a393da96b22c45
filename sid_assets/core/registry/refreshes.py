"""`sid_refreshes`: a row for each refresh, taken from what the registry remembers."""

import datetime as dt

import pyarrow as pa

from sid_assets.core.registry.making import RefreshRecord, RegistryMaking
from sid_assets.core.schema import SID_REFRESHES, TIME
from sid_assets.core.store.versions import Version


def with_last_refreshes(listed: Version | None, registry: Version) -> pa.Table:
    """The rows so far, and one for each refresh that the registry remembers and that has none.

    A run that was killed between the two tables leaves a refresh without a row.

    Args:
        listed: The version of `sid_refreshes`; None if there is none.
        registry: The version of `sid_registry`.

    Raises:
        StoreError: The rows so far cannot be read.
    """
    rows = SID_REFRESHES.empty_table()
    if listed:
        rows = listed.stream().read_all().cast(SID_REFRESHES)
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
