"""A new generation that a run began and did not finish: the next run goes on with it."""

from collections.abc import Sequence

from sid_assets.core.catalog.making import TextsMaking
from sid_assets.core.registry.earlier import behind
from sid_assets.core.registry.making import RegistryMaking
from sid_assets.core.registry.tables import Tables
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version


def still_to_publish(store: Store, domains: Sequence[Tables], tokenizer: Version) -> list[str]:
    """The registries that have yet to publish SIDs of a tokenizer that a run made.

    A domain that never published anything is not waited for, unless none did. Nor is any domain if
    texts are made in another way than those that the tokenizer was trained on: then nothing is
    left to go on with.

    Args:
        store: The store of the tables.
        domains: The tables of each domain; the tokenizer is trained on those of the first one.
        tokenizer: The current version of `tokenizer_checkpoint`.

    Returns:
        Their asset keys; empty if a new generation needs a tokenizer of its own.

    Raises:
        StoreError: The manifest of a table is damaged.
    """
    if _other_texts(store, domains[0], tokenizer):
        return []
    published = {tables.registry: _has_published(store, tables, tokenizer) for tables in domains}
    if not any(published.values()):
        return list(published)
    return [registry for registry, done in published.items() if done is False]


def _has_published(store: Store, tables: Tables, tokenizer: Version) -> bool | None:
    """Whether the SIDs of a domain are of this tokenizer; None if it has none yet."""
    registry, pid2sid = store.current(tables.registry), store.current(tables.pid2sid)
    published = registry or pid2sid
    if published is None:
        return None
    if published.provenance.tokenizer != tokenizer.provenance.tokenizer:
        return False
    if registry is None:  # version 0.1
        return True
    made_with = RegistryMaking.of(registry.provenance).tokenizer_version
    if made_with not in ("", tokenizer.folder.name):
        return False
    return pid2sid is not None and pid2sid.provenance.generation == registry.provenance.generation


def _other_texts(store: Store, tables: Tables, tokenizer: Version) -> bool:
    """Whether texts are known to be made in another way than those it was trained on."""
    then = behind(store, tokenizer, tables.embeddings, tables.texts)
    now = store.current(tables.texts)
    if then is None or now is None:
        return False
    one, other = TextsMaking.of(then.provenance), TextsMaking.of(now.provenance)
    return (one.template, one.rules) != (other.template, other.rules)
