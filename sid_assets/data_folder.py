"""A data folder of the graph, for notebooks: its tables, SIDs of items, and items of SIDs."""

import os
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from upath import UPath

from sid_assets.core.arrow.same_kind import Given, given
from sid_assets.core.embedders.canary import check_canary, probe
from sid_assets.core.embeddings.making import EmbeddingsMaking
from sid_assets.core.errors import IDS_SHOWN, InputError, StoreError
from sid_assets.core.inputs.ids import cast_pids, stored_as
from sid_assets.core.schema import CODE_LAYERS, TABLES
from sid_assets.core.sids.convert import Sids, is_one_sid, sids_of_any
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.sids.items import ItemIndex
from sid_assets.core.sids.prefixes import SidPrefixes, logits_processor
from sid_assets.core.sids.spelling import codes_of_fragments
from sid_assets.core.store.parts import file_digest
from sid_assets.core.store.places import is_local, local_copy
from sid_assets.core.store.provenance import Provenance, require_space
from sid_assets.core.store.store import Store
from sid_assets.core.training_sets import DATA_SETS
from sid_assets.data_table import LOOKUP_COLUMNS, DataTable, has_table, open_table

if TYPE_CHECKING:
    import transformers

    from sid_assets.core.embedders import Embedder
    from sid_assets.core.quantise.residual_kmeans import Encoder

TEXTS_AT_ONCE = 4096
"""Texts embedded and quantised together: 64 MB of vectors."""

SIDS_OF_ONE_GENERATION = {
    *("pid2sid", "sid_moves", "sid2pid", "sid_prefixes", "sid_vocabulary"),
    *(made.table for made in DATA_SETS.values()),
    *("pretrain_shuffled", "sft_shuffled"),
}
"""The tables whose SIDs mean nothing beside those of another generation or tokenizer."""

Content = TypeVar("Content")


def load(folder: str | os.PathLike[str], domain: str = "") -> "DataFolder":
    """Open a data folder of the graph. Data is read only when needed, and nothing is written.

    Args:
        folder: `SID_DATA_DIR`: a local folder or any fsspec URL. It may also be a folder to which
            some of the tables were copied.
        domain: "goods" for goods, whose ids are separate from those of the items.

    Raises:
        StoreError: There are no tables.
    """
    data = DataFolder(folder, domain)
    if not data.tables:
        what = f"tables of {domain}" if domain else "tables of sid_assets"
        raise StoreError(
            f"{data.folder}: there are no {what} here. Pass the folder that SID_DATA_DIR named "
            "when they were made."
        )
    return data


class DataFolder:
    """A data folder of the graph.

    A table is opened when it is first needed and then stays the same. Load the folder again to see
    the result of a refresh.

    Methods that take many values return the same kind of object: a list for a list, a numpy or
    Arrow array for such an array, a pandas Series with the same index for a Series, and a single
    value for a single value. There is one result for each value, in the same order.

    Attributes:
        folder: Its path or URL.
        domain: "goods" for goods, "" for the items.
    """

    def __init__(self, folder: str | os.PathLike[str], domain: str = "") -> None:
        """Use `load`."""
        self._store = Store(folder)
        self._opened: dict[str, DataTable] = {}
        self._sids_of: dict[str, tuple[str, str]] = {}
        self._proven: Embedder | None = None
        self.folder = str(self._store.root)
        self.domain = domain

    def __repr__(self) -> str:
        """One line: folder, items and SIDs."""
        items = self.domain or "items"
        try:
            counts = [
                f"{len(self._open(table)):,} {what}"
                for table, what in (("pid2sid", items), ("sid2pid", "SIDs"))
                if has_table(self._store, self._key(table))
            ]
        except (InputError, StoreError):
            counts = ["damaged"]
        return f"<sid_assets data in {self.folder}: {', '.join(counts) or 'no SIDs yet'}>"

    @property
    def tables(self) -> list[str]:
        """The names of the tables that exist."""
        return [
            name
            for name, table in TABLES.items()
            if table.has_rows and has_table(self._store, self._key(name))
        ]

    def __getitem__(self, table: str) -> DataTable:
        """A table by its name, e.g. `data["pid2sid"]`; no row is read yet.

        Raises:
            StoreError: There is no table of this name, or it is damaged, or lacks a column that
                lookups read, or has SIDs of another generation or tokenizer than pid2sid or a table
                that is already open.
        """
        if table not in self._opened:
            opened = self._open(table)
            if opened.provenance:
                made = opened.provenance
                self._require_generation(table, made.generation, made.tokenizer)
            self._opened[table] = opened
        return self._opened[table]

    def _open(self, table: str) -> DataTable:
        """A table by its name, also if it does not fit the others."""
        opened = self._opened.get(table) or open_table(self._store, self._key(table))
        if opened is None:
            make = f" Materialise {table} to make it." if table in TABLES else ""
            raise StoreError(
                f"{self.folder}: has no table {self._key(table)!r}.{make} "
                f"Its tables: {', '.join(self.tables)}."
            )
        return opened

    def _ipython_key_completions_(self) -> list[str]:
        return self.tables

    def _key(self, name: str) -> str:
        return f"{self.domain}/{name}" if self.domain else name

    def sids_of(self, pids: Any) -> Any:
        """The SIDs of items as text; missing (None, null) if no item has the pid.

        Args:
            pids: One pid or many, of the type of the catalog's pids: integers or text.

        Raises:
            InputError: The pids are text and the catalog's are integers, or vice versa.
        """
        column, sids = self._look_up(pids)
        return column.answer(sids.texts())

    def codes_of(self, pids: Any) -> Any:
        """The SIDs of items as three codes; missing (None, null) if no item has the pid.

        A numpy array has no null: the result is int64, shape (n, 3), with -1 for missing SIDs.

        Args:
            pids: See `sids_of`.

        Raises:
            InputError: See `sids_of`.
        """
        column, sids = self._look_up(pids)
        return column.answer(sids.lists())

    def items_of(self, sids: Any) -> Any:
        """The pids of the items that have a SID: a list for each, most interacted-with first.

        The list is empty if no item has the SID, and missing (None, null) if the SID is missing.

        Args:
            sids: One SID or many, as text or as codes.

        Raises:
            InputError: Some are not SIDs; the first five are named.
        """
        column = given(sids, "SIDs", is_one_sid)
        found = sids_of_any(column.values)
        return column.answer(self._items.of_sids(found.codes, found.valid))

    def neighbours(self, pids: Any, depth: int = 2) -> Any:
        """The other items whose SIDs begin with the same codes: a list of pids for each item.

        Items that share more codes come first, and among these the most interacted-with. The list
        is missing (None, null) if no item has the pid.

        Args:
            pids: See `sids_of`.
            depth: Minimum number of shared codes: 1, 2, or 3 for items with the same SID.

        Raises:
            InputError: See `sids_of`; or the depth is invalid.
        """
        if depth not in range(1, CODE_LAYERS + 1):
            raise InputError(
                f"depth={depth!r}: must be from 1 to {CODE_LAYERS}, the codes of a SID."
            )
        column, sids = self._look_up(pids)
        own = self._own_pids(column.values)
        return column.answer(self._items.neighbours(own, sids.codes, sids.valid, depth))

    def logits_processor(self) -> "transformers.LogitsProcessor":
        """For `model.generate(logits_processor=[...])`: the model writes only SIDs that items have.

        Outside of a SID, the model may write anything, including the start of a SID.

        Raises:
            StoreError: There is no sid_prefixes, or it has SIDs of another generation or tokenizer
                than pid2sid or a table that is already open.
        """
        prefixes = self._load_file("sid_prefixes", SidPrefixes.load)
        self._require_generation("sid_prefixes", prefixes.generation, prefixes.tokenizer)
        return logits_processor(prefixes)

    def encode_texts(self, texts: Any, embedder: "Embedder | None" = None) -> Any:
        """The codes that new texts get from the tokenizer of this folder. Nothing is written.

        Texts must have the form of the catalog's texts: see `data["item_texts"]`.

        Args:
            texts: One text or many.
            embedder: Turns them into vectors; by default the embedder that the settings name
                (environment, `.env`), kept for the next call.

        Returns:
            Three codes for each text, like `codes_of`; `to_text` converts them to text.

        Warns:
            UserWarning: Texts were truncated; or the folder has no item_embeddings, whose canary
                shows that the embedder still gives the same vectors.

        Raises:
            InputError: A text is empty, or the embedder no longer gives the same vectors.
        """
        column = given(texts, "texts", lambda value: isinstance(value, str))
        values = _whole_texts(column.values)
        codes = [np.zeros((0, CODE_LAYERS), np.int64)]
        if values:
            embedder = embedder or self._embedder
            self._require_embedder(embedder)
            for start in range(0, len(values), TEXTS_AT_ONCE):
                codes.append(self._encode(values[start : start + TEXTS_AT_ONCE], embedder))
        return column.answer(Sids(np.concatenate(codes), np.ones(len(values), bool)).lists())

    def _encode(self, texts: list[str], embedder: "Embedder") -> np.ndarray:
        embedded = embedder.embed(texts)
        if embedded.truncated:
            warnings.warn(
                f"{embedded.truncated:,} texts are longer than {embedder.space.max_length:,} "
                "tokens and were truncated.",
                stacklevel=3,
            )
        return self._encoder.encode(embedded.vectors).codes

    def _look_up(self, pids: Any) -> tuple[Given, Sids]:
        column = given(pids, "pids", _is_one_pid)
        found = self._index.find(self._own_pids(column.values))
        return column, Sids(codes_of_fragments(found.fragments), found.found)

    def _own_pids(self, values: pa.Array) -> pa.Array:
        """Pids as the type of the catalog's pids.

        Raises:
            InputError: They are not of this type; integers and text never match.
        """
        source, wanted = "The given pids", self._index.pid_type
        stored = (
            ""
            if pa.types.is_nested(values.type)
            else stored_as(values.type, source=source, column="pid")
        )
        if stored != "untyped" and stored != {"int": "int", "string": "text"}[wanted]:
            first = ", ".join(repr(pid) for pid in values[:IDS_SHOWN].to_pylist())
            kind = "integers" if wanted == "int" else "text"
            raise InputError(
                f"The given pids ({first}) are of type {values.type}, but those of {self.folder} "
                f"are {kind}, so none would be found. Pass them as {kind}."
            )
        return cast_pids(values, wanted, source=source, column="pid")

    @cached_property
    def _index(self) -> SidIndex:
        return SidIndex.from_table(self["pid2sid"].to_batches(LOOKUP_COLUMNS["pid2sid"]))

    @cached_property
    def _items(self) -> ItemIndex:
        self._require_in_step("sid2pid", self["sid2pid"].provenance)
        return ItemIndex(self["sid2pid"].to_batches(LOOKUP_COLUMNS["sid2pid"]))

    def _require_in_step(self, name: str, made: Provenance | None) -> None:
        """Refuse a table made from another version of pid2sid than the open one.

        Raises:
            StoreError: The versions differ.
        """
        key = self._key("pid2sid")
        if made is None or not has_table(self._store, key):
            return
        self._require_generation(name, made.generation, made.tokenizer)
        now = self["pid2sid"].provenance
        source = made.inputs.get(key)
        if now and now.version and source and source != now.version:
            raise StoreError(
                f"{self.folder}: {self._key(name)} was made from another version of {key}. "
                f"Materialise {self._key(name)} again; if you just did, load the folder again."
            )

    def _require_generation(self, name: str, generation: str, tokenizer: str) -> None:
        """Refuse SIDs that are not those of pid2sid, or of the tables that are open.

        Args:
            name: The table.
            generation: Id of the generation of its SIDs; "" if not known: version 0.1 wrote none.
            tokenizer: Hash of the centroids that its codes refer to; "" if not known.

        Raises:
            StoreError: The generations or the tokenizers differ.
        """
        if name not in SIDS_OF_ONE_GENERATION:
            return
        if name != "pid2sid" and has_table(self._store, self._key("pid2sid")):
            self["pid2sid"]  # all others are compared with it, whichever is opened first
        for other, (their_generation, their_tokenizer) in self._sids_of.items():
            for what, mine, theirs in (
                ("generation", generation, their_generation),
                ("tokenizer", tokenizer[:16], their_tokenizer[:16]),
            ):
                if mine and theirs and mine != theirs:
                    raise StoreError(
                        f"{self._path(name)}: has SIDs of {what} {mine}, and {self._path(other)} "
                        f"those of {what} {theirs}. The same SID is not the same item in both: "
                        f"copy both files from the same refresh, or materialise {self._key(name)} "
                        f"and {self._key(other)} again. If a refresh has just made them, load the "
                        "folder again."
                    )
        self._sids_of[name] = generation, tokenizer

    def _path(self, name: str) -> UPath:
        return self._store.path(self._key(name))

    def _load_file(self, name: str, load: Callable[[Path], Content]) -> Content:
        """The content of the file of a table without rows.

        Raises:
            StoreError: There is no such file, or it is not the committed one.
        """
        key = self._key(name) if name != "tokenizer_checkpoint" else name
        path = self._store.path(key)
        if is_local(path) and path.exists() and not Path(path.path).is_symlink():
            return load(Path(path.path))  # a copy
        if version := self._store.current(key):
            self._require_in_step(name, version.provenance)
            path = version.paths[0]
        if not path.exists():
            raise StoreError(f"{path}: does not exist yet. Materialise {key} first.")
        with local_copy(path) as local:
            if version and file_digest(UPath(local)) != version.parts[0].digest:
                raise StoreError(
                    f"{path}: is not the file that was committed; it is damaged, or was replaced. "
                    f"Put it back from a copy, or materialise {key} again."
                )
            return load(local)

    @cached_property
    def _embedder(self) -> "Embedder":
        from sid_assets.resources import make_embedder
        from sid_assets.settings import Settings

        return make_embedder(Settings.from_environment())

    @cached_property
    def _encoder(self) -> "Encoder":
        """The tokenizer that made the codes of pid2sid.

        Raises:
            InputError: The folder's tokenizer is another one.
        """
        from sid_assets.core.quantise.checkpoint import centroid_hash, load_checkpoint
        from sid_assets.core.quantise.residual_kmeans import Encoder

        centroids = self._load_file("tokenizer_checkpoint", load_checkpoint).centroids
        if centroid_hash(centroids) != self._provenance("pid2sid").tokenizer:
            raise InputError(
                f"{self.folder}: its tokenizer is not the one that made its SIDs. Materialise "
                "codes and the tables made from it, or put the tokenizer back."
            )
        return Encoder(centroids)

    def _provenance(self, table: str) -> Provenance:
        provenance = self[table].provenance
        if provenance is None:
            raise StoreError(
                f"{self.folder}: {table} has no provenance; it was not written by sid_assets, or "
                "its metadata was lost. Copy it again, or materialise it."
            )
        return provenance

    def _require_embedder(self, embedder: "Embedder") -> None:
        """Refuse an embedder that does not give the vectors from which the SIDs here were made.

        Raises:
            InputError: It has another embedding space, or no longer gives the same vectors.
        """
        if embedder is self._proven:
            return
        space = require_space(self._provenance("pid2sid"))
        if space != embedder.space:
            raise InputError(
                f"{self.folder}: its SIDs come from another embedding space than this embedder's "
                f"({space.differences(embedder.space)}). Set SID_DEPLOYMENT, SID_EMBEDDER and the "
                "other settings of the embedder as they were when the SIDs were made, or pass "
                "embedder=."
            )
        if canary := self._canary():
            check_canary(canary, probe(embedder))
        else:
            warnings.warn(
                f"{self.folder}: no item_embeddings here records the vectors of the probe texts, "
                "so this embedder's are not compared with them. If the model behind it has "
                "changed since the SIDs were made, the codes are wrong.",
                stacklevel=3,
            )
        self._proven = embedder

    def _canary(self) -> dict[str, Any] | None:
        """The canary that item_embeddings records; None without the table, or without a canary."""
        if not has_table(self._store, self._key("item_embeddings")):
            return None
        return EmbeddingsMaking.of(self._provenance("item_embeddings")).canary


def _is_one_pid(value: Any) -> bool:
    return isinstance(value, str | int | np.integer)


def _whole_texts(values: pa.Array) -> list[str]:
    """Texts that can be embedded.

    Raises:
        InputError: They are not strings, or one is missing or blank.
    """
    if len(values) and values.type not in (pa.string(), pa.large_string(), pa.string_view()):
        raise InputError(f"Texts must be strings; these are of type {values.type}.")
    texts = values.cast(pa.string())
    blank = pc.equal(pc.utf8_trim_whitespace(texts.fill_null("")), "").to_numpy(
        zero_copy_only=False
    )
    if blank.any():
        first = ", ".join(map(str, np.flatnonzero(blank)[:IDS_SHOWN].tolist()))
        raise InputError(
            f"{int(blank.sum()):,} of {len(blank):,} texts are empty (the first at positions "
            f"{first}). Leave them out."
        )
    return texts.to_pylist()
