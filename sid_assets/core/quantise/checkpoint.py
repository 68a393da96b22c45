"""The tokenizer's checkpoint: a `.pt` file of centroids, read without trusting it.

A `.pt` file is a pickle in a zip archive, and unpickling can run arbitrary code. The file is
therefore read with torch's restricted unpickler (`weights_only=True`), which creates tensors and
plain containers and refuses everything else. OneRec's whole-module form needs two more classes;
harmless stand-ins replace them, so that not even their constructors run.
"""

import hashlib
import os
import re
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sid_assets.core.errors import InputError

LAYER_PREFIX = "centroids."


@dataclass(frozen=True)
class Checkpoint:
    """A tokenizer as read from a file.

    Attributes:
        centroids: float32, shape (layers, codebook_size, dim), finite.
        provenance: What this package recorded when it saved the file; empty if another program
            wrote it.
        notes: What was accepted but should be reported: a cast, ignored keys.
    """

    centroids: np.ndarray
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class _ResKmeans:
    """A stand-in for `res_kmeans.ResKmeans` and `ParameterList` that only holds pickled state."""


_STAND_INS = [
    (_ResKmeans, "res_kmeans.ResKmeans"),
    (_ResKmeans, "torch.nn.modules.container.ParameterList"),
]


def centroid_hash(centroids: np.ndarray) -> str:
    """The identity of a tokenizer: SHA-256, as hex, of its centroids as little-endian float32.

    The bytes of the file cannot serve, because `torch.save` writes the file name into them.

    Args:
        centroids: float32, shape (layers, codebook_size, dim).
    """
    return hashlib.sha256(np.ascontiguousarray(centroids, "<f4").data).hexdigest()


def save_checkpoint(path: str | Path, centroids: np.ndarray, provenance: Mapping[str, Any]) -> None:
    """Write a tokenizer in OneRec's format; the file appears complete or not at all.

    Args:
        path: Where to write; the folder must exist.
        centroids: float32, shape (layers, codebook_size, dim).
        provenance: What `load_checkpoint` returns later; JSON values.
    """
    import torch

    path = Path(path)
    state = {
        f"{LAYER_PREFIX}{layer}": torch.from_numpy(np.array(codebook, np.float32))
        for layer, codebook in enumerate(centroids)
    }
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            torch.save({"model": state, "provenance": dict(provenance)}, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a tokenizer in any format that OneRec's programs write.

    The formats are a state dict with the keys `centroids.0`, `centroids.1`, ..., such a dict under
    `model` or `state_dict`, and a whole pickled `res_kmeans.ResKmeans`. Nothing in the file is
    executed.

    Raises:
        InputError: The file is missing or damaged, has another format or holds no valid tokenizer.
    """
    path = Path(path)
    storage_sizes = _check_archive(path)
    content = _unpickle(path)
    provenance = content.get("provenance") if isinstance(content, Mapping) else None
    notes: list[str] = []
    centroids = _centroids(_state_dict(content), storage_sizes, path, notes)
    return Checkpoint(
        centroids, dict(provenance) if isinstance(provenance, Mapping) else {}, tuple(notes)
    )


def _check_archive(path: Path) -> set[int]:
    """Bound the memory that loading can take, before any content is read.

    `torch.save` stores its entries uncompressed, so their total size is below that of the file. Any
    other archive is a zip bomb, or was not written by torch.

    Returns:
        The sizes of the archive's entries, in bytes.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. Give the path of a tokenizer checkpoint (.pt).")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a checkpoint, or cut off ({error}). Copy or download it again. If a "
            "torch release before 1.6 wrote it, save it again with a newer one."
        ) from error
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise InputError(
            f"{path}: the archive unpacks to more than the file holds; torch never writes such a "
            "file. It was not loaded. Get the checkpoint from a trusted source."
        )
    return {entry.file_size for entry in entries}


def _unpickle(path: Path) -> Any:
    import torch

    try:
        with torch.serialization.safe_globals(_STAND_INS):  # pyright: ignore[reportArgumentType]
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged file can make the unpickler raise anything
        raise InputError(
            f"{path}: not loaded, because it is damaged or holds more than tensors "
            f"({_first_line(error)}). Nothing in it was executed. Get the checkpoint from a "
            "trusted source, or save the module's state_dict() instead."
        ) from error


def _state_dict(content: Any) -> Mapping[Any, Any]:
    """The mapping that holds the layers, without its wrappers."""
    if isinstance(content, Mapping):
        for key in ("model", "state_dict"):
            if isinstance(content.get(key), Mapping | _ResKmeans):
                return _state_dict(content[key])
        return content
    if isinstance(content, _ResKmeans):
        layers = _registered(content, "_modules").get("centroids")
        if isinstance(layers, _ResKmeans):
            parameters = _registered(layers, "_parameters")
            return {f"{LAYER_PREFIX}{name}": value for name, value in parameters.items()}
    return {}


def _registered(module: _ResKmeans, kind: str) -> Mapping[Any, Any]:
    """The parameters or submodules of a pickled `nn.Module`."""
    found = vars(module).get(kind)
    return found if isinstance(found, Mapping) else {}


def _centroids(
    state: Mapping[Any, Any], storage_sizes: set[int], path: Path, notes: list[str]
) -> np.ndarray:
    """The checked layers of a state dict as one array; oddities are added to the notes."""
    import torch

    layers: dict[int, torch.Tensor] = {}
    ignored = []
    for key, value in state.items():
        name = str(key).removeprefix("module.")
        number = name.removeprefix(LAYER_PREFIX)
        is_layer = name.startswith(LAYER_PREFIX) and re.fullmatch("[0-9]{1,4}", number)
        if is_layer and isinstance(value, torch.Tensor):
            layers[int(number)] = value
        else:
            ignored.append(str(key))
    if sorted(layers) != list(range(len(layers))) or not layers:
        found = ", ".join(f"{LAYER_PREFIX}{layer}" for layer in sorted(layers)) or "none"
        raise InputError(
            f"{path}: a tokenizer has layers centroids.0, centroids.1, ... without a gap; found: "
            f"{found}. Other keys: {', '.join(ignored[:5]) or 'none'}. Use a complete checkpoint."
        )
    if ignored:
        notes.append(f"keys ignored: {', '.join(sorted(ignored)[:5])} ({len(ignored)} in all)")
    return np.stack(
        [
            _codebook(layers[n], layers[0], f"{LAYER_PREFIX}{n}", storage_sizes, path, notes)
            for n in range(len(layers))
        ]
    )


def _codebook(
    tensor: Any, first: Any, name: str, storage_sizes: set[int], path: Path, notes: list[str]
) -> np.ndarray:
    """One checked layer as a float32 array, shape (codebook_size, dim)."""
    import torch

    if tensor.ndim != 2 or 0 in tensor.shape or tensor.shape != first.shape:
        raise InputError(
            f"{path}: {name} has shape {tuple(tensor.shape)}, {LAYER_PREFIX}0 has "
            f"{tuple(first.shape)}; all layers must have the same shape (codebook size, dimension)."
        )
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
    if not plain or not tensor.is_floating_point():
        raise InputError(
            f"{path}: {name} holds {tensor.dtype}, {tensor.layout}, {tensor.device}; a codebook "
            "must be a dense float32 matrix."
        )
    # A view can claim any shape (with strides of 0) and a storage any size: trust neither.
    stored = tensor.untyped_storage().nbytes()
    if stored not in storage_sizes or tensor.numel() * tensor.element_size() > stored:
        raise InputError(
            f"{path}: {name} claims more values than the file holds. It was not loaded. Get the "
            "checkpoint from a trusted source."
        )
    if tensor.dtype != torch.float32:
        notes.append(f"{name} cast from {str(tensor.dtype).removeprefix('torch.')} to float32")
    codebook = tensor.detach().to(torch.float32).numpy()
    bad = int((~np.isfinite(codebook)).any(axis=1).sum())
    if bad:
        raise InputError(
            f"{path}: {name}: NaN or infinite values in {bad:,} of {len(codebook):,} centroids. "
            "Train the tokenizer again, or get the checkpoint again."
        )
    return codebook


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
