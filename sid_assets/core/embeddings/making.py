"""What `item_embeddings` knows of its making, beside its rows."""

from dataclasses import asdict, dataclass
from typing import Any

from sid_assets.core.store.provenance import Provenance


@dataclass(frozen=True)
class EmbeddingsMaking:
    """What `item_embeddings` knows of its making.

    Attributes:
        canary: What the embedder gave for the probe texts; None if it embedded nothing, because
            all vectors were adopted.
        adopted: How many vectors this run adopted from files.
    """

    canary: dict[str, Any] | None = None
    adopted: int = 0

    @classmethod
    def of(cls, provenance: Provenance) -> "EmbeddingsMaking":
        """What the provenance of `item_embeddings` says."""
        details = provenance.details
        return cls(canary=details.get("canary"), adopted=details.get("adopted", 0))

    def details(self) -> dict[str, Any]:
        """What `of` reads, for JSON."""
        return asdict(self)
