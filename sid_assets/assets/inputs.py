"""The inputs of the user: which interactions count, and a look at all inputs before a run."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import NamedTuple, get_args

import pyarrow as pa

from sid_assets import sample
from sid_assets.assets.catalog import catalog_source
from sid_assets.assets.domains import GOODS, ITEMS, Domain
from sid_assets.core.catalog.item_texts import look_at_catalog
from sid_assets.core.catalog.making import UNKNOWN_PIDS, TextsMaking
from sid_assets.core.errors import InputError, SidAssetsError
from sid_assets.core.events.log import EventLog
from sid_assets.core.events.make import make_interactions, require_training_rows
from sid_assets.core.events.rules import Rules, Split
from sid_assets.core.inputs.csv_quoting import QuotingSetting
from sid_assets.core.inputs.ids import PidColumn, PidTypeSetting
from sid_assets.core.inputs.interaction_texts import open_interactions
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.schema import PidType
from sid_assets.core.store.places import temporary_folder
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.training.inputs import TrainingInputs
from sid_assets.core.training.look import ids_without_sids, problems
from sid_assets.core.training.prompts import load_prompts
from sid_assets.settings import Settings

EVENTS_TABLE = "interactions"
"""The table of interactions that are made from a log of events."""

LOGS = ("events", "interactions")
"""The settings for what users did: a log, or interactions made from one elsewhere."""


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


def event_labels(settings: Settings) -> str:
    """The conditions of labels; those of the sample's log are known."""
    return settings.event_labels or (sample.EVENT_LABELS if _is_sample(settings) else "")


def event_keywords(settings: Settings) -> str:
    """The column of the catalog that has keywords; "" for none."""
    return settings.event_keywords or (sample.EVENT_KEYWORDS if _is_sample(settings) else "")


def _is_sample(settings: Settings) -> bool:
    return settings.of_catalog("events") == str(sample.EVENTS)


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


class CatalogIds(NamedTuple):
    """The ids of a catalog: how it stores them, and their type in the tables."""

    stored: PidColumn
    type: PidType


def input_problems(
    settings: Settings, ids: CatalogIds | None = None, *, goods: bool = True
) -> list[str]:
    """What is wrong with the inputs of later stages: goods, interactions, captions, prompts.

    Args:
        settings: The settings that name them.
        ids: The ids of the catalog; by default those of `item_texts`.
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
    # Ids that are given are those of a catalog whose texts are not made yet.
    texts = None if ids else settings.store().current(ITEMS.table("item_texts"))
    ids = ids or _recorded(settings.store(), ITEMS)
    tried(lambda: _look_at_events(settings, ids, texts))
    tried(lambda: found.extend(_look_at_training_inputs(settings, ids)))
    tried(lambda: load_prompts(settings.prompts))
    return list(dict.fromkeys(found))


def _look_at_events(settings: Settings, ids: CatalogIds, texts: Version | None) -> None:
    """Make rows of the log of events once, as the asset `interactions` will.

    Without texts, every item counts as one of the catalog.
    """
    log = event_log(settings)
    if log is None:
        return
    rules = event_rules(settings)
    if column := event_keywords(settings):
        source = catalog_source(settings, ITEMS, on_bad_rows="drop")
        try:
            look_at_catalog(replace(source, other_columns=(column,)))
        except InputError as error:
            raise InputError(f"SID_EVENT_KEYWORDS={column}: {error}") from error
    with temporary_folder() as folder:
        made = make_interactions(
            log,
            rules,
            event_labels(settings),
            pid_type=ids.type,
            scratch_dir=folder,
            known=texts.stream(["pid"]) if texts else None,
            removed=removed_items(settings) if texts else None,
            forced=settings.pid_type != "auto",
            catalog=ids.stored,
        )
        for _ in made.reader:
            pass
    require_training_rows(log, rules, made.summary)


def _look_at_training_inputs(settings: Settings, ids: CatalogIds) -> list[str]:
    setting = settings.choice("pid_type", get_args(PidTypeSetting))
    captions, goods = settings.of_catalog("captions"), None
    if settings.goods_catalog:
        goods = ids_without_sids(_recorded(settings.store(), GOODS).stored, setting)
    with ExitStack() as stack:
        given = None
        if event_log(settings) is None:
            given = stack.enter_context(interactions_of(settings))
        return problems(
            TrainingInputs(
                items=ids_without_sids(ids.stored, setting),
                interactions=given,
                captions=ParquetInput(captions) if captions else None,
                goods=goods,
            )
        )


def _recorded(store: Store, domain: Domain) -> CatalogIds:
    """The ids of a catalog, as far as they are known before its texts are made."""
    texts = store.current(domain.table("item_texts"))
    if texts is None:
        return CatalogIds(UNKNOWN_PIDS, "int")
    return CatalogIds(TextsMaking.of(texts.provenance).pids, texts.pid_type)


def known_items(store: Store) -> Version:
    """A table with the ids of all items that a history may have, in its column `pid`: those of the
    catalog, and those that had a SID.
    """
    return store.current(ITEMS.table("sid_registry")) or store.require(ITEMS.table("pid2sid"))


def removed_items(settings: Settings) -> pa.RecordBatchReader | None:
    """Column `pid`: all items that ever had a SID; None if those that left are in no history."""
    registry = settings.store().current(ITEMS.table("sid_registry"))
    return registry.stream(["pid"]) if registry and settings.removed_in_histories else None
