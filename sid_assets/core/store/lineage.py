"""Which tables belong together: whether a table was made from the versions that readers see."""

from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version

OUTLASTS = "tokenizer_checkpoint"
"""The table that stays in use after the vectors it was trained on are replaced."""


def replaced_inputs(store: Store, version: Version) -> list[str]:
    """The tables behind a version that have been replaced since it was made.

    A run that is stopped between two commits leaves such tables: the first table is new, and those
    that are made from it are still the earlier ones. Inputs of inputs count as well.

    Args:
        store: The store of the tables.
        version: The current version of a table.

    Returns:
        Asset keys, those of direct inputs first; empty if the table belongs to the others.

    Raises:
        StoreError: The manifest of a table is damaged.
    """
    if version.provenance.asset.rsplit("/", 1)[-1] == OUTLASTS:
        return []
    replaced, same = [], []
    for name, made_from in version.provenance.inputs.items():
        now = store.current(name)
        if now and now.provenance.version != made_from:
            replaced.append(name)
        elif now:
            same.append(now)
    for now in same:
        replaced += replaced_inputs(store, now)
    return list(dict.fromkeys(replaced))
