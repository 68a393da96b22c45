"""The tokenizer of a generation: trained, or fetched, and kept in the store."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sid_assets.core.arrow.vectors import vectors_of
from sid_assets.core.errors import InputError
from sid_assets.core.quantise.checkpoint import centroid_hash, load_checkpoint, save_checkpoint
from sid_assets.core.quantise.hub import download_checkpoint
from sid_assets.core.quantise.train import TrainingSettings, train
from sid_assets.core.refresh import TokenizerSource
from sid_assets.core.schema import CODE_LAYERS, EMBEDDING_DIM, MAX_CODEBOOK_SIZE
from sid_assets.core.store.provenance import derive
from sid_assets.core.store.single_files import commit_file, read_file
from sid_assets.core.store.versions import Store, Version

TABLE = "tokenizer_checkpoint"
SUFFIX = ".pt"
TRAINING_BATCH = 4096


@dataclass(frozen=True)
class MadeTokenizer:
    """A tokenizer that is not in the store yet.

    Attributes:
        centroids: float32, shape (layers, codebook_size, dim).
        details: What there is to say of how it was made (JSON).
        notes: What was accepted but is worth telling.
    """

    centroids: np.ndarray
    details: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def current_tokenizer(store: Store) -> Version | None:
    """The version of the tokenizer in the store; None where there is none yet."""
    return store.current(TABLE, SUFFIX)


def require_tokenizer(store: Store) -> Version:
    """The version of the tokenizer in the store.

    Raises:
        StoreError: There is none.
    """
    return store.require(TABLE, SUFFIX)


def load_tokenizer(version: Version) -> np.ndarray:
    """The centroids of a tokenizer in the store: float32, shape (layers, codebook_size, dim).

    Raises:
        InputError: The file is damaged, or another one than was committed.
    """
    path = version.paths[0]
    centroids = read_file(version, load_checkpoint).centroids
    if centroid_hash(centroids) != version.provenance.tokenizer:
        raise InputError(
            f"{path}: its centroids are not those that were committed. Put the file back, or "
            "start a new generation."
        )
    return centroids


def training_error(tokenizer: Version) -> float | None:
    """The mean relative error after the last layer on vectors held out from the training.

    None for a tokenizer from elsewhere, which does not say.
    """
    layers = tokenizer.provenance.details.get("figures", {}).get("layers")
    return layers[-1]["held_out"]["relative_error"] if layers else None


def make_tokenizer(
    source: TokenizerSource,
    location: str,
    embeddings: Version,
    training: TrainingSettings,
) -> MadeTokenizer:
    """Train a tokenizer on the vectors, or get the one that the settings name.

    Args:
        source: What is wanted.
        location: The setting: a path or a repository, for sources that are not trained.
        embeddings: The version of `item_embeddings` to train on.
        training: How to train.

    Raises:
        InputError: The checkpoint is not what it must be, or there are too few vectors.
    """
    if source.kind == "train":
        trained = train(_vector_batches(embeddings), training)
        return MadeTokenizer(trained.centroids, {"figures": trained.figures}, trained.notes)
    return fetch_tokenizer(source, location)


def fetch_tokenizer(source: TokenizerSource, location: str) -> MadeTokenizer:
    """The tokenizer of a file or of the hub.

    Raises:
        InputError: It cannot be had, or is not what it must be.
    """
    if source.kind == "path":
        checkpoint = load_checkpoint(Path(location).expanduser())
        made = MadeTokenizer(checkpoint.centroids, {"path": location}, checkpoint.notes)
    else:
        found = download_checkpoint(source.location, source.revision)
        checkpoint = load_checkpoint(found.path)
        details = {"commit": found.revision, "file": found.filename}
        made = MadeTokenizer(checkpoint.centroids, details, checkpoint.notes)
    _require_shape(made.centroids, location)
    return made


def commit_tokenizer(
    store: Store,
    made: MadeTokenizer,
    source: TokenizerSource,
    embeddings: Version,
) -> Version:
    """Save a tokenizer so that OneRec's program loads it, as the current one."""
    provenance = derive(
        TABLE,
        embeddings.provenance,
        tokenizer=centroid_hash(made.centroids),
        details={
            "source": source.to_dict(),
            "shape": list(made.centroids.shape),
            # A checkpoint from elsewhere does not say which space it was trained in.
            "space_is": "known" if source.kind == "train" else "assumed",
            **made.details,
        },
    )
    fields = dataclasses.asdict(provenance)
    return commit_file(
        store, lambda path: save_checkpoint(path, made.centroids, fields), provenance, SUFFIX
    )


def _require_shape(centroids: np.ndarray, location: str) -> None:
    """Refuse a tokenizer that OneRec's models could not speak.

    Raises:
        InputError: It has another number of layers or another width, or too many centroids.
    """
    layers, size, width = centroids.shape
    if (layers, width) != (CODE_LAYERS, EMBEDDING_DIM) or size > MAX_CODEBOOK_SIZE:
        raise InputError(
            f"{location}: the tokenizer has {layers} layers of {size} centroids, {width} wide; "
            f"wanted are {CODE_LAYERS} layers of at most {MAX_CODEBOOK_SIZE} centroids, "
            f"{EMBEDDING_DIM} wide. Name another checkpoint in SID_TOKENIZER."
        )


def _vector_batches(embeddings: Version) -> Iterator[np.ndarray]:
    for batch in embeddings.stream(["embedding"], TRAINING_BATCH):
        yield vectors_of(batch.column("embedding"))
