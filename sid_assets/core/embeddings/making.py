"""How `item_embeddings` was made, recorded in its provenance."""

from dataclasses import asdict, dataclass
from typing import Any

from sid_assets.core.store.provenance import Provenance


@dataclass(frozen=True)
class EmbeddingsMaking:
    """How `item_embeddings` was made.

    Attributes:
        canary: The embedder's result for the probe texts; None if it embedded nothing because all
            vectors were adopted.
        adopted: Number of vectors that this run adopted from files.
    """

    canary: dict[str, Any] | None = None
    adopted: int = 0

    @classmethod
    def of(cls, provenance: Provenance) -> "EmbeddingsMaking":
        """Read it from the provenance of `item_embeddings`."""
        details = provenance.details
        return cls(canary=details.get("canary"), adopted=details.get("adopted", 0))

    def details(self) -> dict[str, Any]:
        """The fields that `of` reads, for JSON."""
        return asdict(self)
