"""What a refresh may do: published SIDs must not move unless somebody asks for it.

A generation is one embedding space and one tokenizer. Within a generation, an item's SID changes
only if its text does. A refresh never leaves its generation by itself: the guards here stop it
before the first item is embedded.
"""

from dataclasses import dataclass, replace

from sid_assets.core.embedders.model_files import FINGERPRINT
from sid_assets.core.errors import InputError
from sid_assets.core.schema import PidType
from sid_assets.core.store.provenance import EmbeddingSpace
from sid_assets.core.store.versions import Version

NEW_GENERATION = '{"resources": {"refresh": {"config": {"new_generation": true}}}}'
"""The run config that allows a new generation."""

HOW_TO_MOVE_ON = (
    "To start a new generation, which moves every SID, run with the run config "
    f"{NEW_GENERATION}; to keep both, set SID_DATA_DIR to another folder."
)

REVISION_SETTINGS = {
    "revision": "SID_EMBEDDING_REVISION",
    "tokenizer_revision": "SID_EMBEDDING_TOKENIZER_REVISION",
}
"""The settings that pin the commits of an embedding space."""


@dataclass(frozen=True)
class RefreshPolicy:
    """What this run is allowed to do.

    Attributes:
        new_generation: Whether the embedding space or the tokenizer may change.
        allow_large_change: Whether more items than `max_changed_share` may change or disappear.
        max_changed_share: The share of previous items that may change or disappear, 0 to 1.
    """

    new_generation: bool = False
    allow_large_change: bool = False
    max_changed_share: float = 0.3


@dataclass(frozen=True)
class Changes:
    """What a refresh changes, item by item.

    Attributes:
        new: Items that had no vector of this generation.
        changed: Items whose text has changed.
        unchanged: Items whose vectors are reused.
        removed: Items that had a vector, of any generation, and are gone.
        moved: New items that had a vector of the previous generation; 0 within a generation.
    """

    new: int
    changed: int
    unchanged: int
    removed: int
    moved: int = 0

    @property
    def share(self) -> float:
        """The share of previous items that change or disappear, 0 to 1.

        Items that move to a new generation do not count: somebody asked for that.
        """
        before = self.changed + self.unchanged + self.removed + self.moved
        return (self.changed + self.removed) / before if before else 0.0

    def describe(self) -> str:
        """One line for the log."""
        moved = f" ({self.moved:,} of them from the previous generation)" if self.moved else ""
        return (
            f"{self.new:,} new{moved}, {self.changed:,} changed, {self.removed:,} removed, "
            f"{self.unchanged:,} unchanged items"
        )


def require_small_change(changes: Changes, policy: RefreshPolicy, plan: str = "") -> None:
    """Stop a large change, which an edited template or a truncated export may have caused.

    Args:
        changes: What the refresh changes.
        policy: What it may do.
        plan: The plan as text, for the message.

    Raises:
        InputError: More items change or disappear than the policy allows.
    """
    if changes.share > policy.max_changed_share and not policy.allow_large_change:
        raise InputError(
            f"This refresh would change or remove {changes.share:.0%} of the items; "
            f"{policy.max_changed_share:.0%} is the limit. Was the template edited, or the "
            "catalog truncated? If this is intended, run with the run config "
            '{"resources": {"refresh": {"config": {"allow_large_change": true}}}}, or raise '
            f"SID_MAX_CHANGED_SHARE.\n{plan}"
        )


def why_afresh(before: Version, space: EmbeddingSpace, pid_type: PidType) -> str:
    """Why no vector of a version can be reused, as text; "" if they can."""
    earlier = before.provenance.space
    if earlier != space:
        differences = earlier.differences(space) if earlier else "the earlier one is not known"
        stay = how_to_stay(earlier, space) if earlier else ""
        return (
            f"the vectors in {before.folder} are of another embedding space ({differences}), and "
            f"vectors of two spaces are never mixed{stay and '. ' + stay}"
        )
    if before.pid_type != pid_type:
        return (
            f"the pids in {before.folder} are of type {before.pid_type}, these are {pid_type}; "
            f"SID_PID_TYPE={before.pid_type} reads them as before"
        )
    return ""


def how_to_stay(earlier: EmbeddingSpace, space: EmbeddingSpace) -> str:
    """What to set if only commits moved (as `main` does with each commit on the hub), or ""."""
    moved = {
        name: getattr(earlier, name)
        for name in REVISION_SETTINGS
        if getattr(earlier, name) != getattr(space, name)
    }
    if replace(space, **moved) != earlier:
        return ""
    if earlier.embedder != "openai":  # the tokenizer is at the commit of the model
        moved = {"revision": earlier.revision}
    if any(not value or value.startswith(FINGERPRINT) for value in moved.values()):
        return ""  # there is no commit to set
    settings = " and ".join(f"{REVISION_SETTINGS[name]}={value}" for name, value in moved.items())
    return f"To stay in the earlier embedding space, set {settings}"


def require_same_generation(reason: str, policy: RefreshPolicy) -> None:
    """Stop a refresh that would start afresh, unless somebody asked for it.

    Args:
        reason: The result of `why_afresh`.
        policy: What the refresh may do.

    Raises:
        InputError: There is a reason and the policy forbids a new generation.
    """
    if reason and not policy.new_generation:
        raise InputError(f"This run would start afresh: {reason}. {HOW_TO_MOVE_ON}")
