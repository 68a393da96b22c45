"""The inputs of the user: which interactions count, and a look at all inputs before a run."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import get_args

from sid_assets.assets.catalog import catalog_source
from sid_assets.assets.domains import GOODS, ITEMS, Domain
from sid_assets.core.catalog.item_texts import look_at_catalog
from sid_assets.core.catalog.making import UNKNOWN_PIDS, TextsMaking
from sid_assets.core.errors import InputError, SidAssetsError
from sid_assets.core.inputs.csv_quoting import QuotingSetting
from sid_assets.core.inputs.ids import PidColumn, PidTypeSetting
from sid_assets.core.inputs.interaction_texts import open_interactions
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.store.store import Store
from sid_assets.core.training.inputs import TrainingInputs
from sid_assets.core.training.look import ids_without_sids, problems
from sid_assets.core.training.prompts import load_prompts
from sid_assets.settings import Settings


@contextmanager
def interactions_of(settings: Settings) -> Iterator[ParquetInput | None]:
    """The interactions that training data, counts and quality are made from; None without any.

    Raises:
        InputError: They cannot be read.
    """
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
