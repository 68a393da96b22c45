"""Domains of items: each has a catalog and an id space of its own, and the same stages."""

from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg

from sid_assets.settings import Settings


@dataclass(frozen=True)
class Domain:
    """One kind of items, e.g. videos or goods.

    Attributes:
        prefix: Key prefix of its assets; "" for the main domain.
        items: What its items are, for descriptions.
        catalog_setting: Name of the setting that names its catalog.
        embeddings_setting: Name of the setting that names vectors of its items that exist already;
            "" where there is none.
    """

    prefix: str
    items: str
    catalog_setting: str
    embeddings_setting: str = ""

    def key(self, table: str) -> dg.AssetKey:
        """Asset key of one of its tables: `codes`, or `goods/codes`."""
        return dg.AssetKey([self.prefix, table] if self.prefix else [table])

    def table(self, table: str) -> str:
        """The same as the name of the table in the store."""
        return self.key(table).to_user_string()

    def group(self, stage: str) -> str:
        """Group of a stage in the UI."""
        return f"{self.prefix}_{stage}" if self.prefix else stage

    @property
    def catalog(self) -> Callable[[Settings], str]:
        """Reads its catalog off the settings; raises where it is not set."""
        return lambda settings: settings.require(self.catalog_setting)

    def embeddings(self, settings: Settings) -> str:
        """Its vectors that exist already, as the settings name them; "" where there are none."""
        return getattr(settings, self.embeddings_setting) if self.embeddings_setting else ""


ITEMS = Domain("", items="items", catalog_setting="catalog", embeddings_setting="embeddings")
