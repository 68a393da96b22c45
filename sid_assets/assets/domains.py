"""Domains of items: each has its own catalog and id space, and the same stages."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import dagster as dg

from sid_assets.assets.placement import Placement
from sid_assets.core.inputs.interactions import GOODS_COLUMNS, ITEM_COLUMNS
from sid_assets.core.registry.tables import Tables
from sid_assets.settings import Settings


@dataclass(frozen=True)
class Domain:
    """One kind of items, e.g. videos or goods.

    Attributes:
        prefix: Key prefix of its assets; "" for the main domain.
        items: What its items are, for descriptions.
        catalog_setting: Name of the setting for its catalog.
        embeddings_setting: Name of the setting for existing vectors of its items; "" if there is
            none.
        interacted: Columns of the interactions that hold its ids.
        id_name: Name of its ids in OneRec's JSON file (`sid2pid_json`).
        placement: The names of its assets in Dagster.
    """

    prefix: str
    items: str
    catalog_setting: str
    embeddings_setting: str = ""
    interacted: tuple[str, ...] = ITEM_COLUMNS
    id_name: str = "pid"
    placement: Placement = field(default_factory=Placement)

    def key(self, table: str) -> dg.AssetKey:
        """Asset key of one of its tables."""
        return self.placement.key(self.table(table))

    def keys(self, *tables: str) -> dict[str, dg.AssetIn]:
        """Some of its tables as inputs of an asset, by name."""
        return {table: dg.AssetIn(key=self.key(table)) for table in tables}

    def table(self, table: str) -> str:
        """Name of one of its tables in the store: `codes`, or `goods/codes`."""
        return f"{self.prefix}/{table}" if self.prefix else table

    def group(self, stage: str) -> str:
        """Group of a stage in the UI."""
        return self.placement.group(f"{self.prefix}_{stage}" if self.prefix else stage)

    @property
    def is_main(self) -> bool:
        """Whether it is the main domain."""
        return not self.prefix

    @property
    def trains_tokenizer(self) -> bool:
        """Whether a tokenizer is trained on its vectors: only on those of the main domain."""
        return self.is_main

    @property
    def sid2pid_json(self) -> str:
        """Name of OneRec's JSON file, with the items of every SID, in the store."""
        return f"{self.table(f'sid2{self.id_name}')}.json"

    @property
    def catalog(self) -> Callable[[Settings], str]:
        """Returns its catalog from the settings; raises if it is not set."""
        return lambda settings: settings.require(self.catalog_setting)

    def embeddings(self, settings: Settings) -> str:
        """Its existing vectors, as the settings name them; "" if there are none."""
        return getattr(settings, self.embeddings_setting) if self.embeddings_setting else ""


ITEMS = Domain("", items="items", catalog_setting="catalog", embeddings_setting="embeddings")

GOODS = Domain(
    "goods",
    items="goods",
    catalog_setting="goods_catalog",
    interacted=GOODS_COLUMNS,
    id_name="iid",
)
"""Products sold beside the items. Their id space is separate, and overlaps that of the items."""


def tables_of(settings: Settings) -> list[Tables]:
    """The tables of the domains that have a catalog in the settings; the main domain is first."""
    return [Tables.of(domain.table) for domain in domains_of(settings)]


def domains_of(settings: Settings, placement: Placement | None = None) -> list[Domain]:
    """The domains that have a catalog in the settings; the main domain is always included."""
    domains = [ITEMS, GOODS] if settings.goods_catalog else [ITEMS]
    return [replace(domain, placement=placement or Placement()) for domain in domains]
