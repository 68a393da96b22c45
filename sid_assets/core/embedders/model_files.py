"""Where the files of a model are, and which version of it they are: on the hub or in a folder."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from sid_assets.core.errors import InputError

MAIN = "main"
"""The branch that is used where no revision is set."""

FINGERPRINT = "sha256:"
"""How the version of a folder begins, which has no commit."""

EDGE = 1 << 20
"""Bytes at each end of a weight file that go into a folder's fingerprint."""


@dataclass(frozen=True)
class ModelFiles:
    """A model on the Hugging Face hub, or in a folder as `save_pretrained` writes it.

    Attributes:
        model: Repository ("Qwen/Qwen3-Embedding-8B") or folder.
        revision: Branch, tag or commit of the repository.
    """

    model: str
    revision: str = MAIN

    def __post_init__(self) -> None:
        """Refuse a revision that would be ignored."""
        if self.is_folder and self.revision != MAIN:
            raise InputError(
                f"{self.model} is a folder, and a folder has no revision {self.revision!r}. "
                f"Leave SID_EMBEDDING_REVISION, or SID_EMBEDDING_TOKENIZER_REVISION, at {MAIN}."
            )

    @property
    def is_folder(self) -> bool:
        """Whether the model is in a folder of this machine."""
        return Path(self.model).is_dir()

    @property
    def name(self) -> str:
        """The repository, or the last part of the folder's path: a folder may be moved."""
        return Path(self.model).resolve().name if self.is_folder else self.model

    def path(self, filename: str) -> Path:
        """Where a file is, after downloading it if it is not there yet.

        Raises:
            InputError: There is no such file, or it cannot be had.
        """
        if self.is_folder:
            path = Path(self.model) / filename
            if not path.is_file():
                raise InputError(f"{path}: no such file. A model's folder needs one.")
            return path
        from huggingface_hub import hf_hub_download

        try:
            return Path(hf_hub_download(self.model, filename, revision=self.revision))
        except Exception as error:  # a dozen kinds, of two libraries, with nothing in common
            raise InputError(
                f"{self.model} at revision {self.revision!r}: {filename} can neither be found nor "
                f"downloaded, and there is no folder of that name. {type(error).__name__}: {error}"
            ) from error

    def has_weights(self) -> bool:
        """Whether all weights are on this machine, so that loading them downloads nothing.

        Raises:
            InputError: The model's config.json cannot be had.
        """
        folder = self.path("config.json").parent
        files = {"model.safetensors"}
        index = folder / "model.safetensors.index.json"
        if index.is_file():
            files = set(json.loads(index.read_bytes())["weight_map"].values())
        return all((folder / file).is_file() for file in files)

    def version(self, filename: str) -> str:
        """What pins the version that a file belongs to.

        On the hub, the commit hash. In a folder, a fingerprint: of the file's bytes, and for
        config.json also of the names, sizes and first and last megabytes of the weights.
        """
        path = self.path(filename)
        if not self.is_folder:
            return path.parent.name  # the cache keeps them in snapshots/<commit hash>/
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
