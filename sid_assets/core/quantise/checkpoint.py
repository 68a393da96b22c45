"""The tokenizer's checkpoint: a `.pt` file of centroids, read without trusting it.

A `.pt` file is a zip archive: a pickle that describes tensors, and their values in files of their
own. Unpickling can run arbitrary code, so the description is read as data (`pickled`). The values
are read with zipfile, which compares each file with its CRC-32, and only as far as the archive
holds them: what a description claims is never allocated.
"""

import hashlib
import json
import os
import re
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sid_assets.core.errors import InputError
from sid_assets.core.quantise.pickled import (
    MOST_BYTES,
    Module,
    Other,
    StoredTensor,
    UnreadablePickleError,
    read_pickle,
)
from sid_assets.core.schema import MAX_CODEBOOK_SIZE

LAYER_PREFIX = "centroids."
MOST_WRAPPERS = 8
"""Dictionaries around the tokenizer, one inside the other."""

READ_AT_ONCE = 1 << 20

_FLOATS = {
    "torch.FloatStorage": ("float32", "f4"),
    "torch.DoubleStorage": ("float64", "f8"),
    "torch.HalfStorage": ("float16", "f2"),
    "torch.BFloat16Storage": ("bfloat16", "u2"),  # the upper half of a float32
}
"""What a codebook may hold: its name in torch, and how numpy reads it."""

_DAMAGED = (zipfile.BadZipFile, OSError, ValueError, RuntimeError, EOFError, struct.error)
"""What zipfile raises for an archive that is damaged or made up."""

_TRUSTED = "It was not loaded. Get the checkpoint from a trusted source."


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
    executed, and memory is bounded by the size of the file.

    Raises:
        InputError: The file is missing or damaged, has another format or holds no valid tokenizer.
    """
    path = Path(path)
    with _opened(path) as archive:
        content = _content(archive, path)
        notes: list[str] = []
        layers = _layers(_state_dict(content, path), path, notes)
        centroids = _centroids(layers, archive, path, notes)
    provenance = content.get("provenance") if isinstance(content, dict) else None
    return Checkpoint(centroids, _plain(provenance, notes), tuple(notes))


@contextmanager
def _opened(path: Path) -> Iterator["_Archive"]:
    """The archive, after checking that reading its entries takes no more memory than it holds.

    `torch.save` stores its entries uncompressed, so their total size is below that of the file. Any
    other archive is a zip bomb, or was not written by torch.
    """
    try:
        if not path.is_file():
            raise InputError(
                f"{path}: no such file. Give the path of a tokenizer checkpoint (.pt)."
            )
        opened = zipfile.ZipFile(path)
    except OSError as error:  # no permission, or the name is too long
        raise InputError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except _DAMAGED as error:
        raise InputError(
            f"{path}: not a checkpoint, or cut off ({error}). Copy or download it again. If a "
            "torch release before 1.6 wrote it, save it again with a newer one."
        ) from error
    with opened:
        entries = {entry.filename: entry for entry in opened.infolist()}
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values())
        total = sum(entry.file_size for entry in opened.infolist())
        if packed or total > path.stat().st_size:
            raise InputError(
                f"{path}: the archive unpacks to more than the file holds; torch never writes such "
                f"a file. {_TRUSTED}"
            )
        pickles = [name for name in entries if re.fullmatch(r"[^/]+/data\.pkl", name)]
        if len(pickles) != 1 or len(entries) < len(opened.infolist()):
            raise InputError(
                f"{path}: a zip archive, but not one that torch.save writes. Give the path of a "
                "tokenizer checkpoint (.pt)."
            )
        yield _Archive(path, opened, pickles[0].removesuffix("data.pkl"))


@dataclass(frozen=True)
class _Archive:
    """The entries of a checkpoint.

    Attributes:
        path: The file, for error messages.
        opened: The zip archive.
        folder: What the names of its entries begin with.
    """

    path: Path
    opened: zipfile.ZipFile
    folder: str

    def size(self, name: str) -> int | None:
        """The size of an entry in bytes; None if there is none."""
        try:
            return self.opened.getinfo(self.folder + name).file_size
        except KeyError:
            return None

    def read(self, name: str) -> np.ndarray:
        """The content of an entry, compared with its CRC-32, as uint8."""
        content, position = np.empty(self.size(name) or 0, np.uint8), 0
        try:
            with self.opened.open(self.folder + name) as entry:
                while block := entry.read(READ_AT_ONCE):
                    content[position : position + len(block)] = np.frombuffer(block, np.uint8)
                    position += len(block)
            if position < len(content):
                raise EOFError(f"{name} is cut off")
        except _DAMAGED as error:
            raise InputError(
                f"{self.path}: the file is damaged ({error}). Copy or download it again."
            ) from error
        return content

    @property
    def byte_order(self) -> str:
        """The byte order of all values, as numpy writes it."""
        big = self.size("byteorder") and self.read("byteorder").tobytes() == b"big"
        return ">" if big else "<"


def _content(archive: _Archive, path: Path) -> Any:
    """What the pickle describes."""
    try:
        if (archive.size("data.pkl") or 0) > MOST_BYTES:
            raise UnreadablePickleError("the description of its tensors is too large")
        return read_pickle(archive.read("data.pkl").tobytes())
    except UnreadablePickleError as error:
        raise InputError(
            f"{path}: not loaded, because it is damaged or holds more than tensors: {error}. "
            "Nothing in it was executed. Get the checkpoint from a trusted source, or save the "
            "module's state_dict() instead."
        ) from error


def _state_dict(content: Any, path: Path) -> dict[Any, Any]:
    """The mapping that holds the layers, without its wrappers."""
    for _ in range(MOST_WRAPPERS):
        if isinstance(content, Module):
            layers = _registered(content, "_modules").get("centroids")
            parameters = _registered(layers, "_parameters")
            return {f"{LAYER_PREFIX}{name}": value for name, value in parameters.items()}
        if not isinstance(content, dict):
            return {}
        inner = (content.get(key) for key in ("model", "state_dict"))
        wrapped = next((value for value in inner if isinstance(value, dict | Module)), None)
        if wrapped is None:
            return content
        content = wrapped
    raise InputError(
        f"{path}: more than {MOST_WRAPPERS} dictionaries, one inside the other, under `model` or "
        "`state_dict`. Save the tokenizer's state_dict() alone."
    )


def _registered(module: Any, kind: str) -> dict[Any, Any]:
    """The parameters or submodules of a pickled `nn.Module`."""
    found = module.state.get(kind) if isinstance(module, Module) else None
    return found if isinstance(found, dict) else {}


def _layers(state: Mapping[Any, Any], path: Path, notes: list[str]) -> list[StoredTensor]:
    """The layers of a state dict, in order; the other keys are added to the notes."""
    layers: dict[int, Any] = {}
    ignored = []
    for key, value in state.items():
        name = str(key).removeprefix("module.")
        number = name.removeprefix(LAYER_PREFIX)
        if not name.startswith(LAYER_PREFIX) or not any(map(str.isdigit, number)):
            ignored.append(_shown(key))
        elif re.fullmatch("0|[1-9][0-9]{0,3}", number) and int(number) not in layers:
            layers[int(number)] = value
        else:
            raise InputError(
                f"{path}: the key {_shown(key)} is a second name of a layer, or is not spelt as "
                "one. The layers are centroids.0, centroids.1, ... Save the checkpoint with these "
                "keys alone."
            )
    if sorted(layers) != list(range(len(layers))) or not layers:
        found = ", ".join(f"{LAYER_PREFIX}{layer}" for layer in sorted(layers)) or "none"
        raise InputError(
            f"{path}: a tokenizer has layers centroids.0, centroids.1, ... without a gap; found: "
            f"{found}. Other keys: {', '.join(ignored[:5]) or 'none'}. Use a complete checkpoint."
        )
    if ignored:
        notes.append(f"keys ignored: {', '.join(sorted(ignored)[:5])} ({len(ignored)} in all)")
    return [_matrix(layers[number], number, path) for number in range(len(layers))]


def _matrix(value: Any, layer: int, path: Path) -> StoredTensor:
    """A layer, if it is a matrix of floating-point numbers."""
    name = f"{path}: {LAYER_PREFIX}{layer}"
    if not isinstance(value, StoredTensor) or value.storage.kind not in _FLOATS:
        kind = value.storage.kind if isinstance(value, StoredTensor) else _kind(value)
        raise InputError(f"{name} holds {kind}; a codebook must be a dense float32 matrix.")
    if not (_are_sizes(value.shape) and _are_sizes(value.strides) and _are_sizes((value.offset,))):
        raise InputError(f"{name} has a shape or strides that are not numbers. {_TRUSTED}")
    if len(value.shape) != 2 or len(value.strides) != 2 or 0 in value.shape:
        raise InputError(
            f"{name} has shape {_shown(value.shape)}; a codebook has two dimensions (codebook "
            "size, dimension)."
        )
    return value


def _centroids(
    layers: list[StoredTensor], archive: _Archive, path: Path, notes: list[str]
) -> np.ndarray:
    """The values of all layers as one array, float32, shape (layers, codebook size, dimension)."""
    claimed = 0
    for layer, tensor in enumerate(layers):
        if tensor.shape != layers[0].shape:
            raise InputError(
                f"{path}: {LAYER_PREFIX}{layer} has shape {_shown(tensor.shape)}, {LAYER_PREFIX}0 "
                f"has {_shown(layers[0].shape)}; all layers must have the same shape (codebook "
                "size, dimension)."
            )
        # A view can claim any shape, with strides of 0 or by naming the same values many times.
        claimed += tensor.shape[0] * tensor.shape[1] * _width(tensor)
        if claimed > path.stat().st_size or not _is_inside(tensor, archive):
            raise InputError(
                f"{path}: {LAYER_PREFIX}{layer} claims more values than the file holds. {_TRUSTED}"
            )
    if layers[0].shape[0] > MAX_CODEBOOK_SIZE:
        raise InputError(
            f"{path}: the layers have {layers[0].shape[0]:,} centroids; OneRec's models have "
            f"tokens for at most {MAX_CODEBOOK_SIZE} codes a layer. Use a smaller tokenizer."
        )
    order = archive.byte_order
    centroids = np.empty((len(layers), *layers[0].shape), np.float32)
    read, stored = "", np.empty(0, np.uint8)
    for layer, tensor in enumerate(layers):
        if tensor.storage.key != read or not layer:
            read, stored = tensor.storage.key, archive.read(f"data/{tensor.storage.key}")
        name = f"{LAYER_PREFIX}{layer}"
        kind, _ = _FLOATS[tensor.storage.kind]
        if kind != "float32":
            notes.append(f"{name} cast from {kind} to float32")
        _fill(centroids[layer], stored, tensor, order)
        bad = int((~np.isfinite(centroids[layer])).any(axis=1).sum())
        if bad:
            raise InputError(
                f"{path}: {name}: NaN or infinite values in {bad:,} of {len(centroids[layer]):,} "
                "centroids. Train the tokenizer again, or get the checkpoint again."
            )
    return centroids


def _fill(codebook: np.ndarray, stored: np.ndarray, tensor: StoredTensor, order: str) -> None:
    """Copy the values of a tensor from its storage, cast to float32."""
    kind, dtype = _FLOATS[tensor.storage.kind]
    width = _width(tensor)
    values = np.ndarray(
        tensor.shape,
        f"{order}{dtype}",
        stored,
        offset=tensor.offset * width,
        strides=[stride * width for stride in tensor.strides],
    )
    if kind == "bfloat16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):  # infinite values are reported
        codebook[...] = values


def _width(tensor: StoredTensor) -> int:
    """Bytes of a value."""
    return np.dtype(_FLOATS[tensor.storage.kind][1]).itemsize


def _is_inside(tensor: StoredTensor, archive: _Archive) -> bool:
    """Whether the archive holds all values of a tensor."""
    size = archive.size(f"data/{tensor.storage.key}")
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    return size is not None and (tensor.offset + last + 1) * _width(tensor) <= size


def _are_sizes(values: Any) -> bool:
    return isinstance(values, tuple) and all(type(n) is int and n >= 0 for n in values)


def _kind(value: Any) -> str:
    return value.name if isinstance(value, Other) else type(value).__name__


def _plain(provenance: Any, notes: list[str]) -> dict[str, Any]:
    """The provenance as plain JSON; if it is something else, it is dropped with a note."""
    if not isinstance(provenance, dict):
        return {}
    text = ""
    try:
        for piece in json.JSONEncoder().iterencode(provenance):
            text += piece
            if len(text) > MOST_BYTES:  # lists may share their elements, many times over
                raise ValueError("too large")
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        notes.append("the record of how it was made (`provenance`) is not plain JSON; ignored")
        return {}


def _shown(value: Any) -> str:
    """A name from the file, for a message: short, on one line, without control characters."""
    text = str(value) if isinstance(value, str | int) else repr(value)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 80 else f"{text[:77]}..."
