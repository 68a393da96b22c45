"""Provenance of a file: the embedding space, the tokenizer and the inputs it was made from.

It is one JSON object in the schema metadata of every parquet file, so that a copy of a file still
says where it comes from.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from sid_assets.core.errors import InputError
from sid_assets.core.schema import FORMAT_VERSION

METADATA_KEY = b"sid_assets"


@dataclass(frozen=True)
class EmbeddingSpace:
    """Everything that decides which vector a text gets. Vectors of two spaces are never mixed.

    Attributes:
        embedder: The program that embeds: `hashing`, `qwen3`, `openai` or `adopted`.
        model: Model name or path.
        revision: Commit hash of the model's weights, or whatever else pins them ("" if unknown).
        tokenizer_revision: The same for the text tokenizer.
        pooling: How token states become one vector, e.g. `last_token`.
        normalized: Whether vectors have unit norm.
        max_length: Longest sequence in tokens; longer texts are truncated (0: no limit).
        prompt: Prefix of each text ("" for documents of Qwen3-Embedding).
        dimension: Width of a vector.
    """

    embedder: str
    model: str
    revision: str = ""
    tokenizer_revision: str = ""
    pooling: str = ""
    normalized: bool = True
    max_length: int = 0
    prompt: str = ""
    dimension: int = 4096

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return dataclasses.asdict(self)

    @property
    def digest(self) -> str:
        """A hash of all fields, 16 hex digits."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def differences(self, other: "EmbeddingSpace") -> str:
        """The fields in which the other space differs, as `field: this -> other`; "" if none."""
        mine, others = self.to_dict(), other.to_dict()
        return ", ".join(
            f"{name}: {mine[name]!r} -> {others[name]!r}"
            for name in mine
            if mine[name] != others[name]
        )


@dataclass(frozen=True)
class Provenance:
    """Where a table comes from.

    Attributes:
        asset: Asset key of the table ("goods/codes").
        version: Hash of the table's content ("" until it is written).
        inputs: The version of each table it was made from, by name.
        space: The embedding space of its vectors, or of the vectors behind its codes.
        tokenizer: Hash of the centroids that its codes refer to.
        details: What is specific to this table (the text template, seeds, ...).
        generation: Id of the generation that its SIDs belong to; "" for tables without SIDs, and
            for those that version 0.1 wrote.
    """

    asset: str
    version: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    space: EmbeddingSpace | None = None
    tokenizer: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    generation: str = ""

    def to_json(self) -> str:
        """The provenance as one JSON object, with the format version."""
        return json.dumps({"format_version": FORMAT_VERSION, **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, text: str | bytes, source: Any = "") -> "Provenance":
        """Read what `to_json` wrote.

        Raises:
            InputError: A newer version of this package wrote it, or it is damaged.
        """
        try:
            require_readable_format(json.loads(text), source)
            return _STORED.validate_json(text, strict=True)
        except ValueError as error:
            raise InputError(
                f"{source}: what it says about where it comes from is damaged "
                f"({reason_of(error)}). Make or copy the file again."
            ) from error

    def attach(self, schema: pa.Schema) -> pa.Schema:
        """The schema with this provenance in its metadata."""
        return schema.with_metadata({METADATA_KEY: self.to_json().encode()})

    @classmethod
    def of(cls, schema: pa.Schema, source: Any = "") -> "Provenance | None":
        """The provenance in a schema's metadata; None if this package did not write it."""
        text = (schema.metadata or {}).get(METADATA_KEY)
        return cls.from_json(text, source) if text else None


_STORED = TypeAdapter(Provenance)


def require_readable_format(stored: Any, source: Any) -> None:
    """Refuse a provenance of a later format, whose fields may be others.

    Args:
        stored: The provenance, read from JSON.
        source: The file, for the message.

    Raises:
        InputError: A newer version of this package wrote it.
    """
    found = stored.get("format_version") if isinstance(stored, dict) else None
    if isinstance(found, int) and found > FORMAT_VERSION:
        raise InputError(
            f"{source}: written in format {found}; this version of sid_assets reads up to "
            f"{FORMAT_VERSION}. Update sid_assets."
        )


def reason_of(error: OSError | ValueError) -> str:
    """Why JSON cannot be read, in one line."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def derive(
    asset: str,
    *inputs: Provenance,
    space: EmbeddingSpace | None = None,
    tokenizer: str = "",
    details: dict[str, Any] | None = None,
    generation: str = "",
) -> Provenance:
    """The provenance of a table that is made from other tables; it names their versions.

    Args:
        asset: Asset key of the table.
        inputs: The provenance of the tables it is made from.
        space: Its embedding space; by default that of the inputs.
        tokenizer: Hash of its tokenizer's centroids; by default that of the inputs.
        details: What is specific to this table.
        generation: Id of its generation; by default that of the inputs.

    Raises:
        InputError: Two inputs have different embedding spaces, tokenizers or generations.
    """
    return Provenance(
        asset=asset,
        inputs={source.asset: source.version for source in inputs},
        space=_only(asset, "embedding spaces", [space, *(source.space for source in inputs)]),
        tokenizer=_only(asset, "tokenizers", [tokenizer, *(s.tokenizer for s in inputs)]) or "",
        details=details or {},
        generation=_only(asset, "generations", [generation, *(s.generation for s in inputs)]) or "",
    )


def _only(asset: str, what: str, values: list[Any]) -> Any:
    distinct = list(dict.fromkeys(value for value in values if value))
    if len(distinct) > 1:
        raise InputError(
            f"{asset}: its inputs have different {what} ({distinct[0]} and {distinct[1]}). "
            "Materialise the older one again."
        )
    return distinct[0] if distinct else None


def require_space(provenance: Provenance) -> EmbeddingSpace:
    """The embedding space of a table that must have one.

    Raises:
        InputError: The table does not name one.
    """
    if provenance.space is None:
        raise InputError(
            f"{provenance.asset}: does not say which embedding space its vectors are in. "
            "Materialise it again."
        )
    return provenance.space
