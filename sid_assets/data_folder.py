"""What the graph made in a folder, for notebooks: tables, SIDs of items, and items of SIDs."""

import os
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
from sid_assets.core.store.places import is_local, local_copy
from sid_assets.core.store.provenance import Provenance, require_space
from sid_assets.core.store.store import Store
from sid_assets.data_table import DataTable, has_table, open_table

if TYPE_CHECKING:
    import transformers

    from sid_assets.core.embedders import Embedder
    from sid_assets.core.quantise.residual_kmeans import Encoder

TEXTS_AT_ONCE = 4096
"""Texts embedded and quantised together: 64 MB of vectors."""

Content = TypeVar("Content")


def load(folder: str | os.PathLike[str], domain: str = "") -> "DataFolder":
    """Open what the graph made. Nothing is read but what is asked for, and nothing is written.

    Args:
        folder: `SID_DATA_DIR`: a local folder or any fsspec URL; also one to which some of the
            tables were copied.
        domain: "goods" for goods, whose ids are a space of their own.

    Raises:
        StoreError: There are no tables.
    """
    data = DataFolder(folder, domain)
    if not data.tables:
        what = f"tables of {domain}" if domain else "tables of sid_assets"
        raise StoreError(
            f"{data.folder}: there are no {what} here. Name the folder that SID_DATA_DIR named "
            "when they were made."
        )
    return data


class DataFolder:
    """What the graph made in a folder.

    A table is opened when it is first needed and stays as it was then. Load the folder again to
    see what a refresh made.

    Wherever many values are taken, what comes in decides what comes out: a list gives a list, an
    array of numpy or Arrow such an array, a pandas Series a Series with its index, and a single
    value a single value. Results are in the order of what was given, one for each.

    Attributes:
        folder: Where it is.
        domain: "goods" for goods, "" for the items.
    """

    def __init__(self, folder: str | os.PathLike[str], domain: str = "") -> None:
        """Made by `load`."""
        self._store = Store(folder)
        self._opened: dict[str, DataTable] = {}
        self._proven: Embedder | None = None
        self.folder = str(self._store.root)
        self.domain = domain

    def __repr__(self) -> str:
        """One line: folder, items and SIDs."""
        items = self.domain or "items"
        try:
            counts = [
                f"{len(self[table]):,} {what}"
                for table, what in (("pid2sid", items), ("sid2pid", "SIDs"))
                if has_table(self._store, self._key(table))
            ]
        except (InputError, StoreError):
            counts = ["damaged"]
        return f"<sid_assets data in {self.folder}: {', '.join(counts) or 'no SIDs yet'}>"

    @property
    def tables(self) -> list[str]:
        """The names of the tables that are there."""
        return [
            name
            for name, table in TABLES.items()
            if table.has_rows and has_table(self._store, self._key(name))
        ]

    def __getitem__(self, table: str) -> DataTable:
        """A table by its name, e.g. `data["pid2sid"]`; no row is read yet.

        Raises:
            StoreError: There is none of this name, or it is damaged.
        """
        if table not in self._opened:
            opened = open_table(self._store, self._key(table))
            if opened is None:
                make = f" Materialise {table} to have it." if table in TABLES else ""
                raise StoreError(
                    f"{self.folder}: has no table {self._key(table)!r}.{make} "
                    f"There are {', '.join(self.tables)}."
                )
            self._opened[table] = opened
        return self._opened[table]

    def _ipython_key_completions_(self) -> list[str]:
        return self.tables

    def _key(self, name: str) -> str:
        return f"{self.domain}/{name}" if self.domain else name

    def sids_of(self, pids: Any) -> Any:
        """The SIDs of items as text; missing (None, null) where no item has the pid.

        Args:
            pids: One pid or many, of the type that the catalog's are: integers or text.

        Raises:
            InputError: The pids are text and the catalog's are integers, or the other way round.
        """
        column, sids = self._look_up(pids)
        return column.answer(sids.texts())

    def codes_of(self, pids: Any) -> Any:
        """The SIDs of items as three codes; missing (None, null) where no item has the pid.

        An array of numpy has no null: it gives int64 of shape (n, 3), with -1 for those missing.

        Args:
            pids: As of `sids_of`.

        Raises:
            InputError: As by `sids_of`.
        """
        column, sids = self._look_up(pids)
        return column.answer(sids.lists())

    def items_of(self, sids: Any) -> Any:
        """The pids of the items that have a SID: a list for each, most interacted-with first.

        The list of a SID that no item has is empty; where no SID is given it is missing.

        Args:
            sids: One SID or many, as text or as codes.

        Raises:
            InputError: Some are not SIDs; the first five are named.
        """
        column = given(sids, "SIDs", is_one_sid)
        found = sids_of_any(column.values)
        return column.answer(self._items.of_sids(found.codes, found.valid))

    def neighbours(self, pids: Any, depth: int = 2) -> Any:
        """The items whose SIDs begin as an item's does: a list of pids for each, without itself.

        Those that share more codes come first, and of these those most interacted with. The list
        is missing (None, null) where no item has the pid.

        Args:
            pids: As of `sids_of`.
            depth: How many codes they share at least: 1, 2, or 3 for those of the same SID.

        Raises:
            InputError: As by `sids_of`, or there is no such depth.
        """
        if depth not in range(1, CODE_LAYERS + 1):
            raise InputError(f"depth={depth!r}: a SID has 1 to {CODE_LAYERS} codes to share.")
        column, sids = self._look_up(pids)
        own = self._own_pids(column.values)
        return column.answer(self._items.neighbours(own, sids.codes, sids.valid, depth))

    def logits_processor(self) -> "transformers.LogitsProcessor":
        """For `model.generate(logits_processor=[...])`: the model names only SIDs that items have.

        Outside of a SID the model may say anything, and begin one.

        Raises:
            StoreError: There is no sid_prefixes.
        """
        return logits_processor(self._load_file("sid_prefixes", SidPrefixes.load))

    def encode_texts(self, texts: Any, embedder: "Embedder | None" = None) -> Any:
        """The codes that new texts get, by the tokenizer of this folder. Nothing is written.

        Texts are written as those of the catalog: see `data["item_texts"]`.

        Args:
            texts: One text or many.
            embedder: What turns them into vectors; by default the one that the settings name (the
                environment, `.env`), kept for the next call.

        Returns:
            Three codes for each text, as `codes_of`; `to_text` spells them.

        Raises:
            InputError: A text is empty, or the embedder does not give the vectors that it gave.
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
                "tokens and were cut.",
                stacklevel=3,
            )
        return self._encoder.encode(embedded.vectors).codes

    def _look_up(self, pids: Any) -> tuple[Given, Sids]:
        column = given(pids, "pids", _is_one_pid)
        found = self._index.find(self._own_pids(column.values))
        return column, Sids(codes_of_fragments(found.fragments), found.found)

    def _own_pids(self, values: pa.Array) -> pa.Array:
        """Pids as the type that the catalog's have.

        Raises:
            InputError: They are not of this type; integers and text never match.
        """
        source, wanted = "The pids asked for", self._index.pid_type
        stored = (
            ""
            if pa.types.is_nested(values.type)
            else stored_as(values.type, source=source, column="pid")
        )
        if stored != "untyped" and stored != {"int": "int", "string": "text"}[wanted]:
            first = ", ".join(repr(pid) for pid in values[:IDS_SHOWN].to_pylist())
            kind = "integers" if wanted == "int" else "text"
            raise InputError(
                f"The pids asked for ({first}) are of type {values.type}; those of {self.folder} "
                f"are {kind}, so none would be found. Give them as {kind}."
            )
        return cast_pids(values, wanted, source=source, column="pid")

    @cached_property
    def _index(self) -> SidIndex:
        return SidIndex.from_table(self["pid2sid"].to_batches())

    @cached_property
    def _items(self) -> ItemIndex:
        self._require_in_step("sid2pid", self["sid2pid"].provenance)
        return ItemIndex(self["sid2pid"].to_batches(["codes", "pids", "counts"]))

    def _require_in_step(self, name: str, made: Provenance | None) -> None:
        """Refuse what was made from another version of pid2sid than the one that is open.

        Raises:
            StoreError: It was.
        """
        key = self._key("pid2sid")
        if made is None or not has_table(self._store, key):
            return
        now = self["pid2sid"].provenance
        source = made.inputs.get(key)
        if now and now.version and source and source != now.version:
            raise StoreError(
                f"{self.folder}: {self._key(name)} was made from another version of {key}. "
                f"Materialise {self._key(name)} again; if that was done just now, load again."
            )

    def _load_file(self, name: str, load: Callable[[Path], Content]) -> Content:
        """What is in the file of a table that holds no rows.

        Raises:
            StoreError: There is no such file.
        """
        key = self._key(name) if name != "tokenizer_checkpoint" else name
        path = self._store.path(key)
        if is_local(path) and path.exists() and not Path(path.path).is_symlink():
            return load(Path(path.path))  # a copy
        if version := self._store.current(key):
            self._require_in_step(name, version.provenance)
            path = version.paths[0]
        if not path.exists():
            raise StoreError(f"{path}: is not there yet. Materialise {key} first.")
        with local_copy(path) as local:
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
            InputError: That of the folder is another one.
        """
        from sid_assets.core.quantise.checkpoint import centroid_hash, load_checkpoint
        from sid_assets.core.quantise.residual_kmeans import Encoder

        centroids = self._load_file("tokenizer_checkpoint", load_checkpoint).centroids
        if centroid_hash(centroids) != self._provenance("pid2sid").tokenizer:
            raise InputError(
                f"{self.folder}: its tokenizer is not the one that made its SIDs. Materialise "
                "codes and what follows, or put the tokenizer back."
            )
        return Encoder(centroids)

    def _provenance(self, table: str) -> Provenance:
        provenance = self[table].provenance
        if provenance is None:
            raise StoreError(
                f"{self.folder}: {table} does not say where it comes from; it was not written by "
                "sid_assets, or what it says was lost on the way."
            )
        return provenance

    def _require_embedder(self, embedder: "Embedder") -> None:
        """Refuse an embedder that does not give the vectors from which the SIDs here were made.

        Raises:
            InputError: It is of another embedding space, or no longer gives the vectors it gave.
        """
        if embedder is self._proven:
            return
        space = require_space(self._provenance("pid2sid"))
        if space != embedder.space:
            raise InputError(
                f"{self.folder}: its SIDs are of another embedding space than this embedder's "
                f"({space.differences(embedder.space)}). Set SID_DEPLOYMENT, SID_EMBEDDER and the "
                "other settings of the embedder as they were when they were made, or pass "
                "embedder=."
            )
        if has_table(self._store, self._key("item_embeddings")):
            making = EmbeddingsMaking.of(self._provenance("item_embeddings"))
            if making.canary:
                check_canary(making.canary, probe(embedder))
        self._proven = embedder


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
