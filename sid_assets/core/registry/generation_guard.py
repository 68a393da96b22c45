"""A refresh never leaves its generation by itself: it is refused unless somebody asked for it."""

from collections.abc import Sequence

from sid_assets.core.catalog.making import TextsMaking
from sid_assets.core.catalog.rules_change import texts_of_vectors
from sid_assets.core.errors import InputError
from sid_assets.core.refresh import RefreshPolicy, require_same_generation
from sid_assets.core.registry.earlier import Earlier, only_copy
from sid_assets.core.registry.generation import Generation
from sid_assets.core.registry.making import RegistryMaking
from sid_assets.core.registry.tables import Tables
from sid_assets.core.schema import PidType, pid_type_of
from sid_assets.core.store.store import Store


def require_generation(
    earlier: Earlier, now: Generation, policy: RefreshPolicy, published_by: Sequence[str] = ()
) -> None:
    """Refuse to publish SIDs of another generation, unless somebody asked for it.

    Args:
        earlier: What was published before.
        now: The generation of this refresh.
        policy: What it may do.
        published_by: The registries of other domains that have published with its tokenizer.

    Raises:
        InputError: It is another generation, and the policy forbids that.
    """
    if earlier.current in ("", now.id):
        return
    before = next(known for known in earlier.generations if known.id == earlier.current)
    reason = f"the published SIDs are of another generation ({before.generation.differences(now)})"
    if published_by and not policy.new_generation:
        others = " and ".join(published_by)
        raise InputError(
            f"This run would start afresh: {reason}. {others} has published SIDs of the new "
            "tokenizer already. To follow, run with the run config "
            f"{policy.run_config('new_generation')}: it moves the SIDs of this catalog, and those "
            f"in {others} stay."
        )
    require_same_generation(reason, policy)


def why_other_texts(store: Store, tables: Tables, now: TextsMaking) -> str:
    """What differs from the texts of the published SIDs, as text; "" if nothing does.

    Of version 0.1, which had no registry, only the template counts: the rules have another default
    since then, and each text that they change is counted and told.

    Args:
        store: The store of the tables.
        tables: The names of the domain's tables.
        now: How this refresh makes texts.

    Raises:
        StoreError: The registry cannot be read.
    """
    registry = store.current(tables.registry)
    before: list[tuple[str, object, object]] = []
    if registry:
        known = RegistryMaking.of(registry.provenance).generation(registry.provenance.generation)
        if known:
            generation = known.generation
            before = [
                ("SID_TEXT_TEMPLATE", generation.template, now.template),
                ("SID_TEXT_RULES", generation.rules, now.rules),
            ]
    elif store.path(tables.pid2sid).exists():
        texts = texts_of_vectors(store, tables.texts, tables.embeddings)
        if texts:
            template = TextsMaking.of(texts.provenance).template
            before = [("SID_TEXT_TEMPLATE", template, now.template)]
    differ = [f"{name}: {one!r} -> {other!r}" for name, one, other in before if one != other]
    return f"its texts are made in another way ({', '.join(differ)})" if differ else ""


def require_pid_type(published: PidType | None, now: PidType) -> None:
    """Refuse ids of another type than those of the published SIDs, also in a new generation.

    Args:
        published: The type of the published SIDs' ids; None if nothing was published.
        now: The type of the catalog's ids.

    Raises:
        InputError: They differ.
    """
    if published not in (None, now):
        raise InputError(
            f"The ids of the published SIDs are of type {published}, those of the catalog are "
            f"{now}. Set SID_PID_TYPE={published} to read them as before, or SID_DATA_DIR to "
            "another folder, which begins with no published SIDs."
        )


def published_pid_type(store: Store, tables: Tables) -> PidType | None:
    """The type of the ids in the registry; None if there is no registry.

    Raises:
        StoreError: The registry cannot be read.
    """
    registry = store.current(tables.registry)
    if registry is None:
        return None
    with only_copy(registry):
        return pid_type_of(registry.schema())
