"""The generation of SIDs: the time in which texts, vectors and codes are made in the same way."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from sid_assets.core.catalog.making import TextsMaking
from sid_assets.core.catalog.value_texts import TextRules
from sid_assets.core.store.provenance import EmbeddingSpace, Provenance, require_space

ID_DIGITS = 12


@dataclass(frozen=True)
class Generation:
    """What must stay the same so that published SIDs can stay.

    Attributes:
        space: The embedding space.
        tokenizer: Hash of the tokenizer's centroids.
        template: The template of an item's text.
        rules: The rules by which values become text.
        repeat: How many generations before were made in the same way. With a tokenizer from the
            hub, a new generation has nothing else that differs.
    """

    space: EmbeddingSpace
    tokenizer: str
    template: str
    rules: TextRules
    repeat: int = 0

    @classmethod
    def of(cls, texts: Provenance, codes: Provenance) -> "Generation":
        """The generation of codes.

        Args:
            texts: The provenance of `item_texts`.
            codes: The provenance of the `codes` that were made from these texts.
        """
        making = TextsMaking.of(texts)
        return cls(require_space(codes), codes.tokenizer, making.template, making.rules)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Generation":
        """Read what `to_dict` gave; further fields are ignored."""
        known = {name: fields[name] for name in ("tokenizer", "template", "rules")}
        space, repeat = EmbeddingSpace(**fields["space"]), fields.get("repeat", 0)
        return cls(space=space, repeat=repeat, **known)

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON; `repeat` only if there is a generation that it repeats."""
        fields = asdict(self)
        if not self.repeat:
            del fields["repeat"]
        return fields

    @property
    def id(self) -> str:
        """A hash of all fields, 12 hex digits: a return to earlier settings is the same one."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]

    def differences(self, other: "Generation") -> str:
        """What the other generation has differently, as `field: this -> other`; "" if nothing."""
        mine, others = self.to_dict(), other.to_dict()
        found = [self.space.differences(other.space)]
        for name in ("tokenizer", "template", "rules"):
            if mine[name] != others[name]:
                found.append(f"{name}: {mine[name]!r} -> {others[name]!r}")
        return ", ".join(filter(None, found))
