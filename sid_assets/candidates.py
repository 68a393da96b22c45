"""Tokenizers to compare: what their names mean, and whether they fit the vectors."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from sid_assets.core.arrow.vectors import vectors_of
from sid_assets.core.errors import InputError
from sid_assets.core.quantise.checkpoint import load_checkpoint
from sid_assets.core.quantise.codebook_size import chosen_codebook_size, require_enough, unsuitable
from sid_assets.core.quantise.hub import download_checkpoint
from sid_assets.core.quantise.tokenizer import TokenizerMaking, load_tokenizer, require_tokenizer
from sid_assets.core.quantise.train import DEFAULT_METHOD, Method, TrainingSettings, train
from sid_assets.core.schema import CODE_LAYERS, EMBEDDING_DIM, MAX_CODEBOOK_SIZE
from sid_assets.core.store.provenance import EmbeddingSpace, require_space
from sid_assets.core.store.versions import Version
from sid_assets.resources import training_settings
from sid_assets.settings import Settings

CURRENT = "current"
TRAIN = "train"
TRAINING_BATCH = 2048


@dataclass(frozen=True)
class Loaded:
    """A tokenizer that is ready to encode.

    Attributes:
        centroids: float32, shape (3, codebook_size, 4096).
        seconds: How long its training took; None if it was not trained here.
        held_out_error: Mean relative error on held-out vectors; None if it was not trained here.
    """

    centroids: np.ndarray
    seconds: float | None = None
    held_out_error: float | None = None


@dataclass(frozen=True)
class Candidate:
    """A tokenizer to compare. It is loaded when it is its turn, as four may not fit in memory.

    Attributes:
        name: As the user wrote it.
        kind: `current`, `train`, `file` or `hub`.
        load: Loads or trains it.
        notes: What was accepted but should be reported.
    """

    name: str
    kind: str
    load: Callable[[], Loaded]
    notes: tuple[str, ...] = ()


def find_candidates(
    settings: Settings, names: Sequence[str], embeddings: Version
) -> list[Candidate]:
    """The tokenizers by name, each checked against the vectors.

    Raises:
        InputError: Some cannot be used; the message names each and says why.
    """
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{', '.join(repeated)}: named twice. Name each tokenizer once.")
    candidates, problems = [], []
    for name in names:
        try:
            candidates.append(_candidate(settings, name, embeddings))
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    return candidates


def _candidate(settings: Settings, name: str, embeddings: Version) -> Candidate:
    if name == CURRENT:
        version = require_tokenizer(settings.store())
        _require_fit(
            f"{CURRENT} ({version.paths[0]})",
            TokenizerMaking.of(version.provenance).shape,
            version.provenance.space and version.provenance.space.to_dict(),
            embeddings,
        )
        return Candidate(name, CURRENT, lambda: Loaded(load_tokenizer(version)))
    if name.split(":")[0] == TRAIN:
        training = _training(settings, name, embeddings)
        return Candidate(
            name,
            TRAIN,
            lambda: _trained(embeddings, training, settings.device),
            _notes_on_size(training, embeddings.rows),
        )
    path, kind = _file_of(name)
    checkpoint = load_checkpoint(path)
    _require_fit(name, checkpoint.centroids.shape, checkpoint.provenance.get("space"), embeddings)
    return Candidate(name, kind, lambda: Loaded(load_checkpoint(path).centroids), checkpoint.notes)


def _file_of(name: str) -> tuple[Path, str]:
    """The file of a tokenizer, downloaded if it is on the hub, and the kind of its source."""
    path = Path(name).expanduser()
    if path.is_file():
        return path, "file"
    if path.suffix in (".pt", ".pth") or path.is_absolute() or name.count("/") != 1:
        raise InputError(
            f"{name}: there is no such file. Name a .pt file, a repository on the Hugging Face hub "
            f"(owner/name), {CURRENT}, or {TRAIN}, {TRAIN}:METHOD, {TRAIN}:METHOD:SIZE."
        )
    repository, _, revision = name.partition("@")
    return Path(download_checkpoint(repository, revision or "main").path), "hub"


def _training(settings: Settings, name: str, embeddings: Version) -> TrainingSettings:
    """The training that `train`, `train:METHOD`, `train:SIZE` or `train:METHOD:SIZE` names."""
    training = training_settings(settings)
    methods = get_args(Method)
    for part in name.split(":")[1:]:
        if part in methods:
            training = replace(training, method=part)
        elif part.isascii() and part.isdigit() and 0 < int(part) <= MAX_CODEBOOK_SIZE:
            training = replace(training, codebook_size=int(part))
        else:
            raise InputError(
                f"{name}: {part!r} is neither a method ({', '.join(methods)}) nor a number of "
                f"centroids per layer (1 to {MAX_CODEBOOK_SIZE}). Write {TRAIN}:METHOD:SIZE, "
                f"such as {TRAIN}:{methods[0]}:256."
            )
    training = training.decided(embeddings.rows)
    try:
        require_enough(min(embeddings.rows, training.sample_size), training.codebook_size)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    return training


def _notes_on_size(training: TrainingSettings, items: int) -> tuple[str, ...]:
    """What speaks against the size; nothing against one that is chosen from the items."""
    method = training.method or DEFAULT_METHOD
    chosen = chosen_codebook_size(items, method)
    against = unsuitable(items, training.codebook_size, method)
    if not against or training.codebook_size == chosen:
        return ()
    return (
        f"a codebook of {training.codebook_size:,} is {against} Chosen from the number of items, "
        f"it would be of {chosen:,}.",
    )


def _require_fit(name: str, shape: Sequence[int], space: Any, embeddings: Version) -> None:
    """Refuse a tokenizer of another shape or of another embedding space than the vectors.

    Args:
        name: The tokenizer, for the message.
        shape: Its layers, centroids per layer and width.
        space: Its embedding space as a mapping; None if it does not state one.
        embeddings: The vectors.
    """
    layers, size, width = shape
    if (layers, width) != (CODE_LAYERS, EMBEDDING_DIM):
        raise InputError(
            f"{name}: has {layers} layers of centroids of width {width}; these vectors need "
            f"{CODE_LAYERS} layers of width {EMBEDDING_DIM}. Leave it out."
        )
    if size > MAX_CODEBOOK_SIZE:
        raise InputError(
            f"{name}: has {size:,} centroids per layer; at most {MAX_CODEBOOK_SIZE:,} are "
            "possible. Leave it out."
        )
    here = require_space(embeddings.provenance)
    if not isinstance(space, Mapping):
        return
    known = {name: space.get(name) for name in here.to_dict()}
    fields = {name: value for name, value in known.items() if isinstance(value, str | int)}
    if different := EmbeddingSpace(**{**here.to_dict(), **fields}).differences(here):
        raise InputError(
            f"{name}: was trained in another embedding space than these vectors ({different}). "
            "Leave it out."
        )


def _trained(embeddings: Version, training: TrainingSettings, device: str) -> Loaded:
    started = time.perf_counter()
    trained = train(_vector_batches(embeddings), training, device or None)
    error = trained.figures["layers"][-1]["held_out"]["relative_error"]
    return Loaded(trained.centroids, time.perf_counter() - started, error)


def _vector_batches(embeddings: Version) -> Iterator[np.ndarray]:
    for batch in embeddings.stream(["embedding"], TRAINING_BATCH):
        yield vectors_of(batch.column("embedding"))
