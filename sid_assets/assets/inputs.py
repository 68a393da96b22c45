"""The inputs of the user: which interactions count, and a look at all inputs before a run."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import get_args

from sid_assets import sample
from sid_assets.assets.catalog import catalog_source
from sid_assets.assets.domains import GOODS, ITEMS, Domain
from sid_assets.core.catalog.item_texts import look_at_catalog
from sid_assets.core.catalog.making import UNKNOWN_PIDS, TextsMaking
from sid_assets.core.errors import InputError, SidAssetsError
from sid_assets.core.events.log import EventLog
from sid_assets.core.events.rules import Rules, Split
from sid_assets.core.inputs.csv_quoting import QuotingSetting
from sid_assets.core.inputs.ids import PidColumn, PidTypeSetting
from sid_assets.core.inputs.interaction_texts import open_interactions
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.training.inputs import TrainingInputs
from sid_assets.core.training.look import ids_without_sids, problems
from sid_assets.core.training.prompts import load_prompts
from sid_assets.settings import Settings

EVENTS_TABLE = "interactions"
"""The table of interactions that are made from a log of events."""


def event_log(settings: Settings) -> EventLog | None:
    """The log of events; None if there is none for the catalog.

    Raises:
        InputError: There are interactions, too.
    """
    path = settings.of_catalog("events")
    if not path:
        return None
    if settings.of_catalog("interactions"):
        if path == str(sample.EVENTS):  # which is only a default
            return None
        raise InputError(
            "SID_EVENTS and SID_INTERACTIONS are both set. Unset SID_INTERACTIONS to make "
            "interactions from the log, or unset SID_EVENTS to use the interactions as they are."
        )
    return EventLog(
        path,
        user=settings.event_user,
        item=settings.event_item,
        time=settings.event_time,
        order=settings.event_order,
        delimiter=settings.event_delimiter,
        header=settings.event_header,
        time_format=settings.event_time_format,
        timezone=settings.event_timezone,
        quoting=settings.choice("csv_quoting", get_args(QuotingSetting)),
    )


def event_rules(settings: Settings) -> Rules:
    """The rules by which events become interactions."""
    return Rules(
        split=settings.choice("event_split", get_args(Split)),
        split_at=settings.event_split_at,
        test_share=settings.event_test_share,
        session_minutes=settings.event_session_minutes,
        most_targets=settings.event_most_targets,
        most_history=settings.event_most_history,
        rows_per_user=settings.event_rows_per_user,
        fewest_events=settings.event_fewest,
        core=settings.event_core,
        seed=settings.seed,
    )


@contextmanager
def interactions_of(settings: Settings) -> Iterator[ParquetInput | None]:
    """The interactions that training data, counts and quality are made from; None without any.

    With a log of events these are the table that is made from it, else `SID_INTERACTIONS`.

    Raises:
        InputError: They cannot be read, or a log and interactions are both set.
        StoreError: The table has not been made yet.
    """
    if event_log(settings):
        yield ParquetInput(str(settings.store().require(EVENTS_TABLE).paths[0]))
        return
    path = settings.of_catalog("interactions")
    if not path:
        yield None
        return
    quoting = settings.choice("csv_quoting", get_args(QuotingSetting))
    with open_interactions(path, quoting) as interactions:
        yield interactions


def require_usable_inputs(settings: Settings) -> None:
    """Look at all inputs, so that a run which cannot finish does not start.

    Raises:
        InputError: The last stage would refuse some; the message has a line for each problem.
    """
    if found := input_problems(settings):
        raise InputError("\n".join(found))


def input_problems(
    settings: Settings, catalog: PidColumn | None = None, *, goods: bool = True
) -> list[str]:
    """What is wrong with the inputs of later stages: goods, interactions, captions, prompts.

    Args:
        settings: The settings that name them.
        catalog: How the catalog stores its ids; by default, as recorded with `item_texts`.
        goods: Whether to look at the catalog of goods, too.
    """
    found: list[str] = []

    def tried(look: Callable[[], object]) -> None:
        try:
            look()
        except SidAssetsError as error:
            found.append(str(error))

    if goods and settings.goods_catalog:
        tried(lambda: look_at_catalog(catalog_source(settings, GOODS, on_bad_rows="drop")))
    tried(lambda: found.extend(_look_at_training_inputs(settings, catalog)))
    tried(lambda: load_prompts(settings.prompts))
    return found


def _look_at_training_inputs(settings: Settings, catalog: PidColumn | None) -> list[str]:
    store = settings.store()
    setting = settings.choice("pid_type", get_args(PidTypeSetting))
    captions = settings.of_catalog("captions")
    with ExitStack() as stack:
        return problems(
            TrainingInputs(
                items=ids_without_sids(catalog or _recorded(store, ITEMS), setting),
                interactions=stack.enter_context(interactions_of(settings)),
                captions=ParquetInput(captions) if captions else None,
                goods=ids_without_sids(_recorded(store, GOODS), setting)
                if settings.goods_catalog
                else None,
            )
        )


def _recorded(store: Store, domain: Domain) -> PidColumn:
    """How a catalog stores its ids, as far as that is known before its texts are made."""
    texts = store.current(domain.table("item_texts"))
    return TextsMaking.of(texts.provenance).pids if texts else UNKNOWN_PIDS


def known_items(store: Store, *, removed: bool) -> Version:
    """A table with the ids of all items that a history may have, in its column `pid`.

    Args:
        store: The store of the tables.
        removed: Whether they include items that are no longer in the catalog, but had a SID.
    """
    registry = store.current(ITEMS.table("sid_registry")) if removed else None
    return registry or store.require(ITEMS.table("pid2sid"))
