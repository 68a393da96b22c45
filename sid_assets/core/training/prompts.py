"""The wordings of prompts: reads them from YAML, checks their slots, fills in whole columns."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Formatter

import numpy as np
import pyarrow as pa
import yaml

from sid_assets.core.arrow.json_text import escaped
from sid_assets.core.arrow.strings import join_runs
from sid_assets.core.errors import InputError
from sid_assets.core.training.identity import draw
from sid_assets.core.training_sets import DATA_SETS, LABELS

CHINESE = "zh"
LANGUAGES = (CHINESE, "en")
"""The languages that this package has wordings in; each is a file in `sid_assets/prompts/`."""

LINES = (*LABELS, "video", "ad", "goods")
"""The kinds of history lines; each kind has the same introductory wordings in all data sets."""

SLOTS: dict[str, frozenset[str]] = {
    **{f"lines.{line}": frozenset[str]() for line in LINES},
    **{
        f"{data_set.name}.{wording}": frozenset(slots)
        for data_set in DATA_SETS.values()
        for wording, slots in data_set.wordings.items()
    },
}
"""The lists of wordings, and the slots that each wording of a list must have, once each."""


@dataclass(frozen=True)
class Slot:
    """A placeholder in a wording for a value of the row.

    Attributes:
        name: The name of the value.
        nested: Whether the slot is in a JSON string that is itself in a text of the data set.
    """

    name: str
    nested: bool = False


Piece = str | Slot
"""A piece of a wording: fixed text, escaped for JSON, or a slot."""


class Wordings:
    """A list of wordings, one of which is drawn for each row."""

    def __init__(self, name: str, wordings: Iterable[tuple[Piece, ...]]) -> None:
        """Take wordings as `parse` returns them; `name` names the draw, see `identity.draw`."""
        self._name = name
        pieces = [tuple(w) for w in wordings]
        self._slots = sorted({p for w in pieces for p in w if isinstance(p, Slot)}, key=str)
        self._texts = ["", *sorted({p for w in pieces for p in w if isinstance(p, str)})]
        # All wordings get the same number of pieces: shorter ones are padded with empty texts.
        longest = max(map(len, pieces))
        self._pieces = np.array(
            [[self._number(p) for p in w] + [0] * (longest - len(w)) for w in pieces]
        )

    def __len__(self) -> int:
        """The number of wordings."""
        return len(self._pieces)

    def _number(self, piece: Piece) -> int:
        """The number of a piece: 0 and up for a fixed text, -1 and down for a slot."""
        if isinstance(piece, str):
            return self._texts.index(piece)
        return -1 - self._slots.index(piece)

    def fill(self, keys: np.ndarray, **values: pa.StringArray) -> pa.StringArray:
        """A wording for each row, with its slots filled in.

        Args:
            keys: uint64, shape (n,): the keys of the draw.
            values: The value of each slot, shape (n,), escaped for JSON, no nulls.
        """
        columns = [pa.array(self._texts, pa.string())]
        for slot in self._slots:
            value = values[slot.name]
            columns.append(escaped(value) if slot.nested else value)
        numbers = self._pieces[draw(keys, self._name, len(self))]
        rows, slots = np.arange(len(keys))[:, None], -1 - numbers
        numbers = np.where(numbers < 0, len(self._texts) + slots * len(keys) + rows, numbers)
        pieces = pa.concat_arrays(columns).take(pa.array(numbers.reshape(-1)))
        return join_runs(pieces, np.arange(len(keys) + 1) * numbers.shape[1])


Prompts = Mapping[str, Wordings]
"""The wordings by name: the keys of `SLOTS`."""


def load_prompts(chosen: str | Path = CHINESE) -> Prompts:
    """Load the wordings of this package; the lists of a user's file replace the Chinese ones.

    Args:
        chosen: `zh` or `en`, the wordings in Chinese or English; or the path of a YAML file. Empty:
            `zh`.

    Raises:
        InputError: A list has an unknown name or is empty, or a wording has missing or wrong slots.
    """
    if not chosen or chosen in LANGUAGES:
        return _built_in(str(chosen or CHINESE))
    try:
        text = Path(chosen).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{chosen}: the prompts cannot be read ({error}). SID_PROMPTS must be "
            f"{', '.join(LANGUAGES)} or a YAML file."
        ) from error
    return {**_built_in(CHINESE), **_parsed(text, str(chosen))}


def _built_in(language: str) -> dict[str, Wordings]:
    file = f"{language}.yaml"
    text = (resources.files("sid_assets") / "prompts" / file).read_text("utf-8")
    return _parsed(text, file)


def _parsed(text: str, source: str) -> dict[str, Wordings]:
    try:
        groups = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{source}: not YAML ({error}).") from error
    if not isinstance(groups, dict) or not all(isinstance(g, dict) for g in groups.values()):
        raise InputError(f"{source}: expected groups of lists of wordings, like zh.yaml.")
    lists = {
        f"{group}.{name}": entries for group, of in groups.items() for name, entries in of.items()
    }
    for name, entries in lists.items():
        if name not in SLOTS:
            raise InputError(f"{source}: {name}: unknown list. Known are {', '.join(SLOTS)}.")
        if not isinstance(entries, list) or not entries:
            raise InputError(f"{source}: {name}: expected a list of wordings.")
    return {
        name: Wordings(name, [parse(entry, SLOTS[name], f"{source}: {name}") for entry in entries])
        for name, entries in lists.items()
    }


def parse(entry: object, slots: frozenset[str], where: str = "") -> tuple[Piece, ...]:
    """Split a wording into its pieces.

    Args:
        entry: Text with `{slot}`s, or a mapping of texts that becomes a JSON object.
        slots: The slots that it must have, once each.
        where: The location to name in errors.

    Raises:
        InputError: The entry is neither, or has missing or wrong slots.
    """
    pieces: list[Piece] = []
    if isinstance(entry, dict):
        for name, text in entry.items():
            opening = f'{", " if pieces else "{"}{json.dumps(str(name), ensure_ascii=False)}: "'
            nested = [_nested(piece) for piece in _pieces(text, where)]
            pieces += [_escaped(opening), *nested, _escaped('"')]
        pieces.append("}")
    else:
        pieces += _pieces(entry, where)
    found = [piece.name for piece in pieces if isinstance(piece, Slot)]
    if sorted(found) != sorted(slots):
        wanted = ", ".join(f"{{{name}}}" for name in sorted(slots)) or "no slots"
        raise InputError(f"{where}: {entry!r}: expected {wanted}, once each.")
    return tuple(pieces)


def _pieces(text: object, where: str) -> list[Piece]:
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: {text!r}: a wording must be text and not blank.")
    pieces: list[Piece] = []
    try:
        for literal, name, form, conversion in Formatter().parse(text):
            if literal:
                pieces.append(_escaped(literal))
            if form or conversion:
                raise ValueError("a slot must be a plain name")
            if name is not None:
                pieces.append(Slot(name))
    except ValueError as error:
        raise InputError(f"{where}: {text!r}: {error}.") from error
    return pieces


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _nested(piece: Piece) -> Piece:
    return _escaped(piece) if isinstance(piece, str) else Slot(piece.name, nested=True)
