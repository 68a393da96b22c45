"""The tokenizer of a generation: which one is requested, whether it is kept, how it is made."""

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from upath import UPath

from sid_assets.core.arrow.vectors import vectors_of
from sid_assets.core.errors import InputError
from sid_assets.core.quantise.align import align_to_published
from sid_assets.core.quantise.checkpoint import centroid_hash, load_checkpoint, save_checkpoint
from sid_assets.core.quantise.codebook_size import Method, advice, require_enough
from sid_assets.core.quantise.hub import download_checkpoint
from sid_assets.core.quantise.train import DEFAULT_METHOD, TrainingSettings, train
from sid_assets.core.refresh import RefreshPolicy, how_to_stay
from sid_assets.core.schema import CODE_LAYERS, EMBEDDING_DIM, MAX_CODEBOOK_SIZE
from sid_assets.core.store.parts import file_digest
from sid_assets.core.store.provenance import EmbeddingSpace, Provenance, derive
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_file

TABLE = "tokenizer_checkpoint"
TRAINING_BATCH = 4096

OLD_METHOD: Method = "kmeans"
"""The method of tokenizers whose settings do not name one."""

MAY_BE_OPEN = ("method", "codebook_size", "restarts")
"""Settings of training that a request may leave open; see `TrainingSettings.decided`."""


@dataclass(frozen=True)
class TokenizerSource:
    """The requested tokenizer.

    Attributes:
        kind: `train`, `path` or `hub`.
        location: The repository id on the hub; "" for the other kinds, because a file may be moved.
        revision: The pinned revision of the repository ("" for its default branch).
        digest: SHA-256 of the file, for the kind `path`.
        settings: What training depends on: the fields of `TrainingSettings`. Those of version 0.1
            have no `method`, which was always `kmeans`.
    """

    kind: Literal["train", "path", "hub"]
    location: str = ""
    revision: str = ""
    digest: str = ""
    settings: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return dataclasses.asdict(self)

    def differences(self, wanted: "TokenizerSource") -> list[str]:
        """Where this source is not the one that is wanted, as `field: this -> wanted`.

        What the wanted one leaves open (a method, a codebook size) is no difference.
        """
        mine, others = self.to_dict(), wanted.to_dict()
        if self.settings and wanted.settings:
            mine, others = _that_matter(self.settings, wanted.settings)
        return [
            f"{name}: {value!r} -> {others[name]!r}"
            for name, value in mine.items()
            if value != others[name]
        ]

    @property
    def method(self) -> Method | None:
        """How it was trained; None if it was not trained here."""
        return self.settings.get("method", OLD_METHOD) if self.settings else None


@dataclass(frozen=True)
class TokenizerMaking:
    """How a `tokenizer_checkpoint` was made.

    Attributes:
        source: The requested tokenizer.
        shape: Layers, centroids per layer, width.
        space_is: `known`: it was trained on vectors of the embedding space; `assumed`: an external
            checkpoint does not state the space it was trained in.
        figures: How well it fits the vectors, if it was trained here.
        path: The file it was read from, as named in the settings; "" for the other kinds.
        commit: The commit of the repository on the hub; "" for the other kinds.
        file: The name of the file in that repository.
    """

    source: TokenizerSource
    shape: tuple[int, ...] = ()
    space_is: str = ""
    figures: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    path: str = ""
    commit: str = ""
    file: str = ""

    @classmethod
    def of(cls, provenance: Provenance) -> "TokenizerMaking":
        """Read it from the provenance of `tokenizer_checkpoint`."""
        known = {field.name for field in dataclasses.fields(cls)}
        details = {name: value for name, value in provenance.details.items() if name in known}
        source, shape = TokenizerSource(**details.pop("source")), details.pop("shape", ())
        return cls(source, tuple(shape), **details)

    def details(self) -> dict[str, Any]:
        """The details that `of` reads, for JSON; fields that do not apply are left out."""
        whence = {
            name: value
            for name in ("figures", "path", "commit", "file")
            if (value := getattr(self, name))
        }
        return {
            "source": self.source.to_dict(),
            "shape": list(self.shape),
            "space_is": self.space_is,
            **whence,
        }

    @property
    def codebook_size(self) -> int:
        """Centroids per layer."""
        return self.shape[1]

    @property
    def training_error(self) -> float | None:
        """The mean relative error after the last layer, on vectors held out from training.

        None for an external tokenizer, which does not state it.
        """
        layers = self.figures.get("layers")
        return layers[-1]["held_out"]["relative_error"] if layers else None


@dataclass(frozen=True)
class MadeTokenizer:
    """A tokenizer that is not in the store yet.

    Attributes:
        centroids: float32, shape (layers, codebook_size, dim).
        making: How it was made.
        notes: What was accepted but should be reported.
        remarks: What a reader of the log may want to know.
    """

    centroids: np.ndarray
    making: TokenizerMaking
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def tokenizer_source(tokenizer: str, revision: str, training: Mapping[str, Any]) -> TokenizerSource:
    """The tokenizer that `SID_TOKENIZER` names: `train`, a file, or a repository on the hub.

    Raises:
        InputError: The setting looks like a path, but there is no such file.
    """
    if tokenizer == "train":
        return TokenizerSource("train", settings=dict(training))
    path = Path(tokenizer).expanduser()
    if path.is_file():
        return TokenizerSource("path", digest=file_digest(UPath(path)))
    if path.suffix in (".pt", ".pth") or path.is_absolute() or tokenizer.count("/") != 1:
        raise InputError(
            f"SID_TOKENIZER={tokenizer}: there is no such file. Set it to a .pt file, a "
            "repository on the Hugging Face hub (owner/name), or train."
        )
    return TokenizerSource("hub", location=tokenizer, revision=revision)


def keeps_tokenizer(
    before: Version | None,
    wanted: TokenizerSource,
    space: EmbeddingSpace,
    policy: RefreshPolicy,
    still_to_publish: Sequence[str] = (),
) -> bool:
    """Whether the current tokenizer is kept. A refresh never retrains by itself.

    Args:
        before: The current version of `tokenizer_checkpoint`, if any.
        wanted: The tokenizer that the settings request.
        space: The embedding space of this run.
        policy: What the refresh may do.
        still_to_publish: The registries that have yet to publish with the current tokenizer. A new
            generation that they are waiting for goes on with it.

    Returns:
        True to keep it; False to make a new one, because there is none or the policy requests it.

    Raises:
        InputError: The current tokenizer is not the requested one, or belongs to another embedding
            space.
    """
    if before is None or (policy.new_generation and not still_to_publish):
        return False
    made = before.provenance
    differences = []
    stay = ""
    if made.space and made.space != space:
        differences.append(f"embedding space: {made.space.differences(space)}")
        stay = how_to_stay(made.space, space)
    differences += TokenizerMaking.of(made).source.differences(wanted)
    if policy.new_generation:
        return not differences and _is_whole(before)
    if differences:
        raise InputError(
            f"The tokenizer in {before.folder} is not the one that this run requests "
            f"({'; '.join(differences)}). {stay and stay + '. '}{policy.how_to_move_on}"
        )
    return True


def is_trained_already(before: Version, wanted: TokenizerSource, embeddings: Version) -> bool:
    """Whether the current tokenizer was trained on these very vectors, with the wanted settings.

    Training again, from its centroids, would move SIDs and improve nothing.

    Args:
        before: The current version of `tokenizer_checkpoint`.
        wanted: The tokenizer that the settings request.
        embeddings: The version of `item_embeddings` to train on.
    """
    made_from = before.provenance.inputs.get(embeddings.provenance.asset)
    return (
        wanted.kind == "train"
        and made_from == embeddings.provenance.version
        and not TokenizerMaking.of(before.provenance).source.differences(wanted)
        and _is_whole(before)
    )


def commit_again(store: Store, before: Version) -> Version:
    """Commit the file of the current tokenizer once more, as that of a new generation.

    The id of its version stays. Its folder does not: registries remember which one they published
    with.
    """

    def save(path: Path) -> None:
        before.load_file(lambda file: shutil.copyfile(file, path))

    provenance = dataclasses.replace(before.provenance, version="")
    return store.commit(draft_file(store, TABLE, save, provenance, before.bytes))


def _is_whole(version: Version) -> bool:
    """Whether the file of a tokenizer can be read, and is the committed one."""
    try:
        load_tokenizer(version)
    except InputError:
        return False
    return True


def current_tokenizer(store: Store) -> Version | None:
    """The current version of the tokenizer in the store; None if there is none yet."""
    return store.current(TABLE)


def require_tokenizer(store: Store) -> Version:
    """The current version of the tokenizer in the store.

    Raises:
        StoreError: There is no tokenizer.
    """
    return store.require(TABLE)


def load_tokenizer(version: Version) -> np.ndarray:
    """The centroids of a tokenizer in the store: float32, shape (layers, codebook_size, dim).

    Raises:
        InputError: The file is damaged, or is not the committed one.
    """
    path = version.paths[0]
    centroids = version.load_file(load_checkpoint).centroids
    if centroid_hash(centroids) != version.provenance.tokenizer:
        raise InputError(
            f"{path}: the centroids are not the committed ones. Restore the file from a "
            "backup. Without it, only a new generation is possible, which moves every SID."
        )
    return centroids


def training_of(
    source: TokenizerSource, items: int, before: Version | None
) -> tuple[TrainingSettings, str]:
    """How a tokenizer will be trained on the vectors of this many items.

    It costs nothing, so that it is known before the items are embedded.

    Args:
        source: The requested tokenizer, of the kind `train`.
        items: Items of the catalog.
        before: The current version of `tokenizer_checkpoint`, whose method is kept if the request
            leaves it open.

    Returns:
        The settings, with nothing left open, and what speaks against a codebook size that was set
        by hand; "" if nothing does.

    Raises:
        InputError: There are too few items.
    """
    wanted = TrainingSettings(**(source.settings or {}))
    earlier = TokenizerMaking.of(before.provenance).source.method if before else None
    training = wanted.decided(items, earlier or DEFAULT_METHOD)
    require_enough(min(items, training.sample_size), training.codebook_size)
    method = training.method or DEFAULT_METHOD
    against = advice(items, training.codebook_size, method) if wanted.codebook_size else ""
    return training, against


def train_tokenizer(
    source: TokenizerSource,
    embeddings: Version,
    before: Version | None = None,
    device: str | None = None,
    published: Version | None = None,
) -> MadeTokenizer:
    """Train a tokenizer on the vectors.

    Where there is one of the same embedding space and shape, each layer starts from its centroids,
    so that more items keep their codes. Then centroids are numbered by the published SIDs, if these
    are of the tokenizer that is replaced and of the same embedding space; see `align`.

    Args:
        source: The requested tokenizer, of the kind `train`.
        embeddings: The version of `item_embeddings` to train on.
        before: The current version of `tokenizer_checkpoint`, if any.
        device: Where to compute; see `train`.
        published: The current version of `pid2sid`; None to leave the numbers as training has them.

    Raises:
        InputError: There are too few vectors, or torch has no such device here.
    """
    training, _ = training_of(source, embeddings.rows, before)
    start, notes = _warm_start(before, embeddings, training)
    trained = train(_vector_batches(embeddings), training, device, start)
    centroids, figures, remarks = trained.centroids, trained.figures, ()
    if published and before and before.provenance.space == embeddings.provenance.space:
        found = align_to_published(trained, embeddings, before, published)
        if isinstance(found, str):
            notes = (*notes, f"Centroids are not numbered by the published SIDs: {found}")
        else:
            centroids, remarks = found.centroids, (found.sentence(),)
            figures = {**figures, "aligned": found.figures()}
    source = dataclasses.replace(source, settings=dataclasses.asdict(training))
    making = TokenizerMaking(source, centroids.shape, "known", figures)
    return MadeTokenizer(centroids, making, notes, remarks)


def fetch_tokenizer(source: TokenizerSource, location: str) -> MadeTokenizer:
    """Load a tokenizer from a file or from the hub.

    Raises:
        InputError: The tokenizer cannot be loaded, or has the wrong shape.
    """
    if source.kind == "path":
        checkpoint = load_checkpoint(Path(location).expanduser())
        making = TokenizerMaking(source, checkpoint.centroids.shape, "assumed", path=location)
    else:
        found = download_checkpoint(source.location, source.revision)
        checkpoint = load_checkpoint(found.path)
        making = TokenizerMaking(
            source,
            checkpoint.centroids.shape,
            "assumed",
            commit=found.revision,
            file=found.filename,
        )
    _require_shape(checkpoint.centroids, location)
    return MadeTokenizer(checkpoint.centroids, making, checkpoint.notes)


def commit_tokenizer(store: Store, made: MadeTokenizer, embeddings: Version) -> Version:
    """Commit a tokenizer as the current one, in OneRec's format."""
    provenance = derive(
        TABLE,
        embeddings.provenance,
        tokenizer=centroid_hash(made.centroids),
        details=made.making.details(),
    )
    fields = dataclasses.asdict(provenance)

    def save(path: Path) -> None:
        save_checkpoint(path, made.centroids, fields)

    return store.commit(draft_file(store, TABLE, save, provenance, made.centroids.nbytes))


def _require_shape(centroids: np.ndarray, location: str) -> None:
    """Refuse a tokenizer that OneRec's models cannot use.

    Raises:
        InputError: The number of layers or the width is wrong, or there are too many centroids.
    """
    layers, size, width = centroids.shape
    if (layers, width) != (CODE_LAYERS, EMBEDDING_DIM) or size > MAX_CODEBOOK_SIZE:
        raise InputError(
            f"{location}: the tokenizer has {layers} layers of {size} centroids of width {width}; "
            f"expected {CODE_LAYERS} layers of at most {MAX_CODEBOOK_SIZE} centroids of width "
            f"{EMBEDDING_DIM}. Name another checkpoint in SID_TOKENIZER."
        )


def _warm_start(
    before: Version | None, embeddings: Version, training: TrainingSettings
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The centroids to start from, if there are fitting ones, and what should be reported."""
    if before is None or before.provenance.space != embeddings.provenance.space:
        return None, ()
    making = TokenizerMaking.of(before.provenance)
    shape = (training.layers, training.codebook_size, EMBEDDING_DIM)
    if making.space_is != "known" or making.shape != shape:
        return None, ()
    try:
        return load_tokenizer(before), ()
    except InputError as error:
        return None, (f"Training starts without the earlier tokenizer. {error}",)


def _that_matter(
    made: Mapping[str, Any], wanted: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of a tokenizer that was trained that a request must not contradict."""
    made = {"method": OLD_METHOD, **made}
    without_effect = "inequality" if made["method"] == "kmeans" else "restarts"
    names = [
        name
        for name, value in wanted.items()
        if name in made and name != without_effect and (value or name not in MAY_BE_OPEN)
    ]
    return {name: made[name] for name in names}, {name: wanted[name] for name in names}


def _vector_batches(embeddings: Version) -> Iterator[np.ndarray]:
    for batch in embeddings.stream(["embedding"], TRAINING_BATCH):
        yield vectors_of(batch.column("embedding"))
