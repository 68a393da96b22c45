"""The tables of a domain that belong to the registry."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Tables:
    """The names of a domain's tables.

    Attributes:
        texts: `item_texts`.
        embeddings: `item_embeddings`.
        codes: `codes`.
        counts: `item_counts`.
        registry: `sid_registry`.
        refreshes: `sid_refreshes`.
        pid2sid: `pid2sid`.
    """

    texts: str
    embeddings: str
    codes: str
    counts: str
    registry: str
    refreshes: str
    pid2sid: str

    @classmethod
    def of(cls, name: Callable[[str], str]) -> "Tables":
        """The tables of a domain.

        Args:
            name: Gives the asset key of a table, e.g. "goods/codes" of "codes".
        """
        return cls(
            texts=name("item_texts"),
            embeddings=name("item_embeddings"),
            codes=name("codes"),
            counts=name("item_counts"),
            registry=name("sid_registry"),
            refreshes=name("sid_refreshes"),
            pid2sid=name("pid2sid"),
        )
