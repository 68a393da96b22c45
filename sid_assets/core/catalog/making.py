"""What `item_texts` knows of its making, beside its rows."""

from dataclasses import asdict, dataclass
from typing import Any

from sid_assets.core.inputs.ids import PidColumn
from sid_assets.core.store.provenance import Provenance

UNKNOWN_PIDS = PidColumn(source="", column="pid", stored="untyped", rows=0)
"""For texts that do not say how their catalog stores ids; they agree with any other ids."""


@dataclass(frozen=True)
class TextsMaking:
    """What `item_texts` knows of its making.

    Attributes:
        template: How an item became a text.
        fingerprint: Of the files of the catalog; "" if unknown.
        pids: How the catalog stores ids, to compare with other files.
    """

    template: str = ""
    fingerprint: str = ""
    pids: PidColumn = UNKNOWN_PIDS

    @classmethod
    def of(cls, provenance: Provenance) -> "TextsMaking":
        """What the provenance of `item_texts` says."""
        details = provenance.details
        pids = details.get("pids")
        return cls(
            template=details.get("template", ""),
            fingerprint=details.get("fingerprint", ""),
            pids=PidColumn(**pids) if pids else UNKNOWN_PIDS,
        )

    def details(self) -> dict[str, Any]:
        """What `of` reads, for JSON."""
        return asdict(self)
