"""How `item_texts` was made, recorded in its provenance."""

from dataclasses import asdict, dataclass
from typing import Any

from sid_assets.core.catalog.value_texts import TextRules
from sid_assets.core.inputs.ids import PidColumn
from sid_assets.core.store.provenance import Provenance

UNKNOWN_PIDS = PidColumn(source="", column="pid", stored="untyped", rows=0)
"""For texts that do not record how their catalog stores ids; compatible with any other ids."""


@dataclass(frozen=True)
class TextsMaking:
    """How `item_texts` was made.

    Attributes:
        template: Template of an item's text.
        fingerprint: Fingerprint of the catalog's files; "" if unknown.
        pids: How the catalog stores ids, for comparison with other files.
        rules: The rules by which values became text.
    """

    template: str = ""
    fingerprint: str = ""
    pids: PidColumn = UNKNOWN_PIDS
    rules: TextRules = 1

    @classmethod
    def of(cls, provenance: Provenance) -> "TextsMaking":
        """Read it from the provenance of `item_texts`."""
        details = provenance.details
        pids = details.get("pids")
        return cls(
            template=details.get("template", ""),
            fingerprint=details.get("fingerprint", ""),
            pids=PidColumn(**pids) if pids else UNKNOWN_PIDS,
            rules=details.get("rules", 1),
        )

    def details(self) -> dict[str, Any]:
        """The fields that `of` reads, for JSON."""
        details = asdict(self)
        if self.rules == 1:  # as version 0.1 wrote them
            del details["rules"]
        return details
