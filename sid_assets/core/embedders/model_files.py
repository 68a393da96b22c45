"""The files of a model, on the hub or in a folder, and the version they belong to."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from sid_assets.core.errors import InputError

MAIN = "main"
"""The branch that is used if no revision is set."""

FINGERPRINT = "sha256:"
"""Prefix of a folder's version. A folder has no commit."""

EDGE = 1 << 20
"""Bytes at each end of a weight file that go into a folder's fingerprint."""


@dataclass(frozen=True)
class ModelFiles:
    """A model on the Hugging Face hub, or in a folder written by `save_pretrained`.

    Attributes:
        model: Repository ("Qwen/Qwen3-Embedding-8B") or folder.
        revision: Branch, tag or commit of the repository.
    """

    model: str
    revision: str = MAIN

    def __post_init__(self) -> None:
        """Reject a revision that would be ignored."""
        if self.is_folder and self.revision != MAIN:
            raise InputError(
                f"{self.model} is a folder, and a folder has no revision {self.revision!r}. "
                f"Leave SID_EMBEDDING_REVISION, or SID_EMBEDDING_TOKENIZER_REVISION, at {MAIN}."
            )

    @property
    def is_folder(self) -> bool:
        """Whether the model is in a folder on this machine."""
        return Path(self.model).is_dir()

    @property
    def name(self) -> str:
        """The repository, or the last part of the folder's path, since a folder may be moved."""
        return Path(self.model).resolve().name if self.is_folder else self.model

    def path(self, filename: str) -> Path:
        """The path of a file, which is downloaded if necessary.

        Raises:
            InputError: The file does not exist or cannot be downloaded.
        """
        if self.is_folder:
            path = Path(self.model) / filename
            if not path.is_file():
                raise InputError(f"{path}: no such file. A model folder must contain it.")
            return path
        from huggingface_hub import hf_hub_download

        try:
            return Path(hf_hub_download(self.model, filename, revision=self.revision))
        except Exception as error:  # two libraries raise a dozen unrelated kinds
            raise InputError(
                f"{self.model} at revision {self.revision!r}: {filename} cannot be found or "
                f"downloaded, and there is no folder of that name. {type(error).__name__}: {error}"
            ) from error

    def has_weights(self) -> bool:
        """Whether all weights are on this machine, so that loading them downloads nothing.

        Raises:
            InputError: The model's config.json cannot be found or downloaded.
        """
        folder = self.path("config.json").parent
        files = {"model.safetensors"}
        index = folder / "model.safetensors.index.json"
        if index.is_file():
            files = set(json.loads(index.read_bytes())["weight_map"].values())
        return all((folder / file).is_file() for file in files)

    def version(self, filename: str) -> str:
        """The version that a file belongs to.

        On the hub, the commit hash. In a folder, a fingerprint of the file's bytes and, for
        config.json, of the names, sizes, and first and last megabytes of the weights.
        """
        path = self.path(filename)
        if not self.is_folder:
            return path.parent.name  # the cache keeps files in snapshots/<commit hash>/
        digest = hashlib.sha256(path.read_bytes())
        if filename == "config.json":
            for weights in sorted(path.parent.glob("*.safetensors")):
                digest.update(f"\n{weights.name} {weights.stat().st_size}\n".encode())
                digest.update(_edges(weights))
        return f"{FINGERPRINT}{digest.hexdigest()[:32]}"


def _edges(path: Path) -> bytes:
    with path.open("rb") as file:
        first = file.read(EDGE)
        file.seek(-min(EDGE, path.stat().st_size), 2)
        return first + file.read(EDGE)
