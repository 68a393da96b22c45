"""The pickle in a checkpoint, read as data: no class is looked up, and nothing is called.

The pickle of a `.pt` file describes tensors and plain containers. Any unpickler builds what such a
description asks for, and even one that is restricted to harmless classes can be made to fill the
memory or to compute for hours. This reader makes plain values only, each from at least one byte of
the pickle. Tensors and modules become records of what the pickle says about them.
"""

import pickletools
import re
from dataclasses import dataclass, field
from typing import Any

from sid_assets.core.errors import InputError

MOST_BYTES = 1 << 20
"""The largest pickle that is read. OneRec's takes less than a thousand bytes; its values lie
outside. One byte becomes at most about a hundred in memory."""

_MODULES = {"res_kmeans.ResKmeans", "torch.nn.modules.container.ParameterList"}
"""The classes of OneRec's whole-module form."""

_MAPPING = "collections.OrderedDict"
_TENSOR = "torch._utils._rebuild_tensor_v2"
_TENSOR_WITH_ATTRIBUTES = "torch._tensor._rebuild_from_type_v2"
_PARAMETERS = {
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
}

_OTHERS = re.compile(
    r"torch\.(Size|device|Tensor|[a-z]+\d\w*|bool|per_\w+|strided|sparse_\w+|\w*Storage)"
    r"|torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_from_type_v2"
    r"|torch\.storage\.\w+|torch\.nn\.parameter\.\w+|torch\.serialization\._get_layout"
    r"|collections\.Counter|_codecs\.encode|(builtins|__builtin__)\.(set|complex|bytearray)"
)
"""What `torch.save` may write beside the tokenizer. Its values are dropped, not made."""


class UnreadablePickleError(InputError):
    """A pickle that is damaged, or holds more than tensors and plain containers."""


@dataclass(frozen=True)
class Storage:
    """The values of one or more tensors, in a file of their own.

    Attributes:
        kind: The class that torch names, such as `torch.FloatStorage`.
        key: The name of the file.
    """

    kind: str
    key: str


@dataclass(frozen=True)
class StoredTensor:
    """What a pickle says about a tensor. None of it is checked.

    Attributes:
        storage: Where its values are.
        offset: Index of its first value in the storage.
        shape: Its shape.
        strides: Steps, in values, along each dimension.
    """

    storage: Storage
    offset: Any
    shape: Any
    strides: Any


@dataclass
class Module:
    """An `nn.Module` of OneRec's whole-module form.

    Attributes:
        state: Its attributes.
    """

    state: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Other:
    """A class or function that the pickle names, or a value that it would have made.

    Attributes:
        name: Its name, with its module.
    """

    name: str


def read_pickle(content: bytes) -> Any:
    """The value of a pickle as `torch.save` writes it, in protocol 2.

    Returns:
        Dicts, lists and tuples of plain values, `StoredTensor`, `Module` and `Other`. They may be
        nested to any depth, and hold themselves.

    Raises:
        UnreadablePickleError: It is too large, damaged, or holds other things.
    """
    if len(content) > MOST_BYTES:
        raise UnreadablePickleError(
            f"the description of its tensors has {len(content):,} bytes, and that of a tokenizer "
            "a few hundred"
        )
    reader = _Reader()
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "STOP":
                break
            reader.apply(opcode.name, argument)
        return reader.stack.pop()
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise UnreadablePickleError(f"its pickle is damaged ({error})") from error


class _Reader:
    """The stack machine of a pickle, for the opcodes of `torch.save`."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks below the marks
        self._memo: dict[int, Any] = {}

    def apply(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        match opcode:
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "NONE":
                stack.append(argument)
            case "BINUNICODE" | "SHORT_BINSTRING":
                stack.append(argument)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode == "NEWTRUE")
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_SET":
                stack.append(Other("set"))
            case "GLOBAL":
                stack.append(Other(_allowed(argument)))
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "MARK":
                self._below.append(stack)
                self.stack = []
            case "PROTO":
                pass
            case _:
                self._combine(opcode)

    def _combine(self, opcode: str) -> None:
        """Opcodes that make one value of several."""
        match opcode:
            case "TUPLE":
                items = self._marked()
                self.stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.stack.append(tuple(self._popped(int(opcode[-1]))))
            case "APPEND" | "APPENDS":
                items = self._marked() if opcode == "APPENDS" else self._popped(1)
                _require(self.stack[-1], list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = self._marked() if opcode == "SETITEMS" else self._popped(2)
                self._set_items(items)
            case "REDUCE" | "NEWOBJ":
                called, arguments = self._popped(2)
                self.stack.append(_made(_require(called, Other).name, _require(arguments, tuple)))
            case "BUILD":
                (state,) = self._popped(1)
                if isinstance(self.stack[-1], Module):
                    self.stack[-1].state = _require(state, dict)
            case "BINPERSID":
                (identity,) = self._popped(1)
                self.stack.append(_storage(identity))
            case _:
                raise UnreadablePickleError(f"its pickle has the opcode {opcode}")

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Other):  # such as a Counter
            return
        mapping = _require(target, dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Other keys can be made so that their hashes take for ever, or are all the same.
            if not (isinstance(key, str) or (isinstance(key, int) and key.bit_length() < 32)):
                raise UnreadablePickleError(
                    "a dictionary has keys that are neither text nor small numbers"
                )
            mapping[key] = value

    def _marked(self) -> list[Any]:
        items, self.stack = self.stack, self._below.pop()
        return items

    def _popped(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError("values are missing")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items


def _allowed(argument: str) -> str:
    """The dotted name of a class or function, if checkpoints may name it."""
    name = argument.replace(" ", ".", 1)
    if name == _MAPPING or name in _MODULES or _OTHERS.fullmatch(name):
        return name
    raise UnreadablePickleError(f"its pickle names {name[:80]!r}")


def _made(name: str, arguments: tuple[Any, ...]) -> Any:
    """What a class or function would make of its arguments."""
    if name == _TENSOR_WITH_ATTRIBUTES:
        function, _, inner, _ = arguments
        name, arguments = _require(function, Other).name, _require(inner, tuple)
    if name == _MAPPING:
        if arguments:
            raise UnreadablePickleError(f"its pickle calls {_MAPPING} with arguments")
        return {}
    if name in _MODULES:
        return Module()
    if name == _TENSOR and len(arguments) == 6:
        storage, offset, shape, strides = arguments[:4]
        return StoredTensor(_require(storage, Storage), offset, shape, strides)
    if name in _PARAMETERS and isinstance(arguments[0], StoredTensor):
        return arguments[0]
    return Other(name)


def _storage(identity: Any) -> Storage:
    if not (isinstance(identity, tuple) and len(identity) == 5 and identity[0] == "storage"):
        raise UnreadablePickleError("its pickle refers to other things than a tensor's values")
    _, kind, key, _, _ = identity
    return Storage(_require(kind, Other).name, _require(key, str))


def _require(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{type(value).__name__} instead of {kind.__name__}")
    return value
