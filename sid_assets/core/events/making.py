"""How `interactions` was made, recorded in its provenance."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sid_assets.core.events.rules import Split
from sid_assets.core.store.provenance import Provenance

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class EventsMaking:
    """How rows were made of events, as far as a contract needs it.

    Attributes:
        split: How rows are split.
        t1: Where the time split is (microseconds since 1970, UTC); None with `leave_last`.
        most_history: The length at which histories are cut.
    """

    split: Split
    t1: int | None
    most_history: int

    @classmethod
    def of(cls, provenance: Provenance) -> "EventsMaking":
        """Read it from the provenance of `interactions`.

        Raises:
            KeyError: It is not there.
        """
        return cls(**provenance.details["events"])

    def details(self) -> dict[str, Any]:
        """The fields that `of` reads, for JSON."""
        return {"events": asdict(self)}


def as_text(microseconds: int) -> str:
    """A time as ISO text, in UTC and without a fraction of a second."""
    return (EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="seconds")
