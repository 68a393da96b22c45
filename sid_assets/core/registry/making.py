"""How `sid_registry` was made, recorded in its provenance: its generations and its refreshes."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sid_assets.core.registry.generation import Generation
from sid_assets.core.store.provenance import Provenance


@dataclass(frozen=True)
class KnownGeneration:
    """A generation that the registry has rows of.

    Attributes:
        generation: What it is made of.
        since: When its first SIDs were published (UTC, ISO 8601).
    """

    generation: Generation
    since: str

    @property
    def id(self) -> str:
        """The id of the generation."""
        return self.generation.id


@dataclass(frozen=True)
class RefreshCounts:
    """What a refresh did; `schema.SID_REFRESHES` explains the first eight.

    Attributes:
        items: Items that have a SID.
        new: Items that got their first SID of the generation.
        changed: Items with a new text.
        removed: Items that left.
        returned: Items that came back.
        resolved: Items whose SID is not that of their codes, because it was taken.
        distinct_sids: Different SIDs.
        shared_sids: SIDs of more than one item.
        passed_on: Items that now have the SID of an item that is gone.
        over: Items beyond `SID_MAX_ITEMS_PER_SID` of their SID.
        without_room: Items that share a SID because no third code was free.
    """

    items: int = 0
    new: int = 0
    changed: int = 0
    removed: int = 0
    returned: int = 0
    resolved: int = 0
    distinct_sids: int = 0
    shared_sids: int = 0
    passed_on: int = 0
    over: int = 0
    without_room: int = 0


@dataclass(frozen=True)
class RefreshRecord:
    """A refresh that the registry remembers until `sid_refreshes` has a row of it.

    Attributes:
        at: When it was (UTC, ISO 8601, microseconds); no two refreshes are at the same time.
        generation: Id of its generation.
        tokenizer: Hash of the tokenizer's centroids.
        counts: What it did.
        registry: The version of `sid_registry` that it committed; "" for the one that has it.
    """

    at: str
    generation: str
    tokenizer: str
    counts: RefreshCounts
    registry: str = ""


@dataclass(frozen=True)
class RegistryMaking:
    """How `sid_registry` was made.

    Attributes:
        generations: The generations it has rows of, the earliest first.
        refreshes: The last refresh, and before it those that `sid_refreshes` had no row of.
        max_items_per_sid: The setting of this name; 0: any number.
        tokenizer_version: Name of the folder of the tokenizer's version that its codes are of: two
            commits of the same centroids differ in it. "" if not known.
    """

    generations: tuple[KnownGeneration, ...]
    refreshes: tuple[RefreshRecord, ...] = ()
    max_items_per_sid: int = 0
    tokenizer_version: str = ""

    @classmethod
    def of(cls, provenance: Provenance) -> "RegistryMaking":
        """Read it from the provenance of `sid_registry`."""
        details = provenance.details
        known = (
            KnownGeneration(Generation.from_dict(fields), fields["since"])
            for fields in details.get("generations", ())
        )
        refreshes = (
            RefreshRecord(**{**fields, "counts": RefreshCounts(**fields["counts"])})
            for fields in details.get("refreshes", ())
        )
        most, tokenizer = details.get("max_items_per_sid", 0), details.get("tokenizer_version", "")
        return cls(tuple(known), tuple(refreshes), most, tokenizer)

    def generation(self, name: str) -> KnownGeneration | None:
        """The generation with this id; None if there are no rows of it."""
        return next((known for known in self.generations if known.id == name), None)


def generation_details(generations: Iterable[KnownGeneration]) -> dict[str, Any]:
    """What a file says of generations, for JSON."""
    fields = (
        {"id": known.id, "since": known.since, **known.generation.to_dict()}
        for known in generations
    )
    return {"generations": list(fields)}


def refresh_details(
    refreshes: Iterable[RefreshRecord], max_items_per_sid: int, tokenizer_version: str = ""
) -> dict[str, Any]:
    """What only the manifest says, for JSON: it is known once all rows are written.

    The same rows therefore are the same version, whenever they were written.
    """
    return {
        "refreshes": [asdict(record) for record in refreshes],
        "max_items_per_sid": max_items_per_sid,
        "tokenizer_version": tokenizer_version,
    }
