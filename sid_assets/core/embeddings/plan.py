"""What a refresh would do and cost, before it does it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core import schema
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.embedders import Embedded, Embedder, Memory
from sid_assets.core.embeddings.adopt import ROW, VectorFiles, WantedRows, adopted_already
from sid_assets.core.embeddings.sources import VectorSources, unfinished_runs
from sid_assets.core.errors import InputError
from sid_assets.core.refresh import Changes, why_afresh
from sid_assets.core.schema import EMBEDDING_DIM, Pid
from sid_assets.core.store.chunks import DamageError
from sid_assets.core.store.places import folder_bytes, free_bytes
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.versions import Staging, Store, Version

SAMPLE_TEXTS = 512
"""Texts that tokens are counted on, and speed is measured with."""

CALIBRATION_SECONDS = 2.0

BYTES_PER_ROW = EMBEDDING_DIM * 4 + 64
"""Of `item_embeddings` on disk: the vector as it is, pid and hashes."""

COPIES_OF_ADOPTED = 2
"""Of an adopted vector until the commit: in a sorted run, and staged."""


@dataclass(frozen=True)
class Plan:
    """What a refresh would do.

    Attributes:
        changes: Items that are new, changed, removed and unchanged. Nothing is known of removed
            ones where the pids of the version before are of another type.
        staged: New and changed items whose vectors an unfinished run left; they are taken over.
        afresh: Why no vector of the version before can be taken over; "" where they can.
        texts: Texts to embed.
        characters: Characters of these texts.
        tokens: Tokens of these texts, each cut to the longest that the embedder takes.
        tokens_counted: Whether tokens are counted; else they are estimated from `sample`.
        seconds: Time to embed on this device, from a calibration; None where none was made.
        memory: What the embedder needs and what its device has free; None where it does not matter.
        disk_needed: Bytes of the new version of the vectors, and of adopted ones on their way,
            without what an unfinished run of the same texts has staged of them.
        disk_free: Bytes free where it goes; None on an object store.
        sample: Some of the texts to embed, spread over all of them.
        adopted: New items whose vectors are adopted from files; they are not among the texts to
            embed.
        wanted: Which rows of the files these are; None without files.
        cut: Texts to embed that are longer than `max_length`; counted or estimated as tokens are.
            None where the server cuts them, and does not say so.
        max_length: Longest text in tokens that the embedder takes (0: no limit, or not known).
        unmeasured: Why no time was measured, though somebody wanted to know it; else "".
    """

    changes: Changes
    staged: int
    afresh: str
    texts: int
    characters: int
    tokens: int
    tokens_counted: bool
    seconds: float | None
    memory: Memory | None
    disk_needed: int
    disk_free: int | None
    sample: tuple[str, ...] = field(repr=False)
    adopted: int = 0
    wanted: WantedRows | None = field(default=None, repr=False, compare=False)
    cut: int | None = 0
    max_length: int = 0
    unmeasured: str = ""

    @property
    def fits_disk(self) -> bool:
        """Whether the new version fits beside what is there."""
        return self.disk_free is None or self.disk_needed <= self.disk_free

    def describe(self) -> str:
        """The plan in words, a line for each subject."""
        lines = [f"The refresh: {self.changes.describe()}."]
        if self.afresh:
            lines.append(f"Starts afresh: {self.afresh}.")
        if self.staged:
            lines.append(f"An unfinished run left the vectors of {self.staged:,} of them.")
        if self.adopted:
            lines.append(f"Adopted from SID_EMBEDDINGS: the vectors of {self.adopted:,} new items.")
        tokens = f"{self.tokens:,} tokens"
        if not self.tokens_counted:
            tokens = f"about {tokens} (estimated from {len(self.sample):,} of them)"
        lines.append(f"To embed: {self.texts:,} texts, {tokens}.")
        if self.cut:
            about = "" if self.tokens_counted else "about "
            share = f"{self.cut / self.texts:.2%}"
            lines.append(f"Cut to {self.max_length:,} tokens: {about}{self.cut:,} texts ({share}).")
        elif self.cut is None:
            lines.append("Which texts are too long is not known here: the server cuts them.")
        if self.seconds is not None:
            lines.append(f"Time on this device: about {_duration(self.seconds)}.")
        elif self.unmeasured:
            lines.append(f"Time: not measured ({self.unmeasured}).")
        if self.memory:
            needed, free = _size(self.memory.needed), _size(self.memory.free)
            verdict = "" if _fits(self.memory) else " It does not fit."
            lines.append(f"Memory: {needed} needed, {self.memory.device} has {free} free.{verdict}")
        disk = f"Disk: {_size(self.disk_needed)} for the new version of the vectors"
        if self.disk_free is not None:
            disk += f", {_size(self.disk_free)} free"
        lines.append(f"{disk}.{'' if self.fits_disk else ' It does not fit.'}")
        return "\n".join(lines)

    def metadata(self) -> dict[str, Any]:
        """The figures, for the UI."""
        figures: dict[str, Any] = {f"plan_items_{k}": n for k, n in asdict(self.changes).items()}
        figures |= {"plan_texts_to_embed": self.texts, "plan_tokens": self.tokens}
        if self.cut is not None:
            figures["plan_texts_cut"] = self.cut
        if self.adopted:
            figures["plan_items_adopted"] = self.adopted
        if self.seconds is not None:
            figures["plan_seconds"] = self.seconds
        return {**figures, "plan_disk_bytes": self.disk_needed, "plan": self.describe()}


def make_plan(
    store: Store,
    table: str,
    texts: pa.RecordBatchReader,
    embedder: Embedder,
    *,
    files: VectorFiles | None = None,
    calibrate: bool = False,
    log: Callable[[str], None] = lambda message: None,
) -> Plan:
    """Find out what embedding these texts would take. Nothing is written.

    Texts and hashes are read once, as a stream; memory does not grow with their number.

    Args:
        store: Where the tables are.
        table: Asset key of `item_embeddings`.
        texts: Rows of `item_texts`, sorted by pid. Where its schema says which version of the
            table they are, what an unfinished run staged for it need not be written again.
        embedder: What would embed them. Its weights are loaded only to calibrate.
        files: Vectors that exist already; only their ids are read.
        calibrate: Whether to measure the time, which takes a few seconds and loads the weights;
            where that cannot be done, the plan says why.
        log: Takes warnings, in words.

    Raises:
        InputError: The embedder cannot say which vectors it makes, or the files cannot be read.
        StoreError: The texts cannot be read.
    """
    before = store.current(table)
    pid_type = schema.pid_type_of(texts.schema)
    afresh = why_afresh(before, embedder.space, pid_type) if before else ""
    if before and before.pid_type != pid_type:
        before = None  # its pids cannot be compared with these
    unfinished = unfinished_runs(store, table, embedder.space, pid_type)
    sources = VectorSources.of(before, unfinished)
    wanted = WantedRows(files.rows) if files else None
    survey = _Survey(before, sources, log, wanted, afresh=bool(afresh))
    rows = sources.beside(texts, ["text_hash"], survey.lose)
    if files:
        rows = joined(rows, files.sorted_rows(pid_type), ROW)
    for batch in rows:
        survey.add(batch)
    sample = survey.sample.texts
    counts = embedder.count_tokens(sample)
    tokens_per_character = int(counts.lengths.sum()) / max(sum(map(len, sample)), 1)
    memory = embedder.memory() if survey.texts else None
    seconds, unmeasured = None, ""
    if calibrate:
        seconds, unmeasured = _calibrated(survey.characters, embedder, sample, memory)
    disk = _Disk(store, table, texts.schema)
    return Plan(
        changes=survey.changes,
        staged=survey.staged,
        afresh=afresh,
        texts=survey.texts,
        characters=survey.characters,
        tokens=round(tokens_per_character * survey.characters),
        tokens_counted=len(sample) == survey.texts and not counts.estimated,
        seconds=seconds,
        memory=memory,
        disk_needed=disk.needed(survey.rows, unfinished) + disk.needed_to_adopt(files, wanted),
        disk_free=free_bytes(store.root),
        sample=tuple(sample),
        adopted=survey.adopted,
        wanted=survey.wanted,
        cut=_of_all(counts.truncated, len(sample), survey.texts),
        max_length=embedder.space.max_length,
        unmeasured=unmeasured,
    )


def _of_all(truncated: int | None, sample: int, texts: int) -> int | None:
    """How many of all texts are cut, given how many of a sample are."""
    return None if truncated is None else round(truncated / max(sample, 1) * texts)


class _Disk:
    """What is still to be written, given what unfinished runs of the very same texts staged."""

    def __init__(self, store: Store, table: str, texts: pa.Schema) -> None:
        provenance = Provenance.of(texts)
        self._store = store
        self._table = table
        self._texts_version = provenance.version if provenance else ""

    def needed(self, rows: int, unfinished: Sequence[Staging]) -> int:
        """Bytes of the new version. Its run goes on in the folder of an unfinished one."""
        again = (run for run in unfinished if self._is_of_these_texts(run))
        return max(0, rows * BYTES_PER_ROW - sum(folder_bytes(run.folder) for run in again))

    def _is_of_these_texts(self, run: Staging) -> bool:
        return bool(self._texts_version) and run.state.get("texts") == self._texts_version

    def needed_to_adopt(self, files: VectorFiles | None, wanted: WantedRows | None) -> int:
        """Bytes of adopted vectors until the commit: nothing where they are staged already."""
        if not files or not wanted or not wanted.count:
            return 0
        if adopted_already(self._store, self._table, self._texts_version, files, wanted):
            return 0
        return COPIES_OF_ADOPTED * wanted.count * BYTES_PER_ROW


def _calibrated(
    characters: int, embedder: Embedder, sample: Sequence[str], memory: Memory | None
) -> tuple[float | None, str]:
    """The seconds that embedding takes here; or None, and why they cannot be measured."""
    if not _fits(memory):
        return None, "the weights do not fit into memory"
    try:
        return _seconds(characters, embedder, sample), ""
    except InputError as error:
        return None, str(error)


class _Survey:
    """Counts what there is to do, over the rows of `VectorSources.beside`.

    With files of vectors, `ROW` is beside them, and `wanted` is filled. When starting afresh, the
    version before tells which items are gone, and has no vector that is of use.
    """

    def __init__(
        self,
        before: Version | None,
        sources: VectorSources,
        log: Callable[[str], None],
        wanted: WantedRows | None,
        *,
        afresh: bool,
    ) -> None:
        self._before = before
        self._afresh = afresh
        self._sources = sources
        self._log = log
        self._known = self._unchanged = self._lost = 0
        self._lost_pids: list[tuple[Pid, Pid]] = []
        self.rows = self.staged = self.adopted = self.texts = self.characters = 0
        self.wanted = wanted
        self.sample = _Sample(SAMPLE_TEXTS)

    def lose(self, damage: DamageError) -> None:
        """Take note of rows of a source that cannot be read."""
        self._log(embedded_again(damage))
        if self._before and damage.path.parent == self._before.folder:
            self._lost += damage.rows
            if not self._afresh:
                self._lost_pids.append(damage.pids)

    def add(self, rows: pa.RecordBatch) -> None:
        """Count the rows of a batch."""
        same = self._sources.same_text(rows)
        known = unchanged = np.zeros(rows.num_rows, bool)
        if self._sources.has_before:
            known = rows["text_hash_0"].is_valid().to_numpy(zero_copy_only=False)
            same[0] &= not self._afresh
            unchanged = same[0]
        ready = same.any(axis=0)
        adopted = self._adopt(rows, known & (not self._afresh))
        self.rows += rows.num_rows
        self._known += int(known.sum())
        self._unchanged += int(unchanged.sum())
        self.staged += int((ready & ~unchanged & ~adopted).sum())
        self.adopted += int(adopted.sum())
        ready |= adopted
        wanted = rows["text"].filter(pa.array(~ready))
        self.texts += len(wanted)
        self.characters += pc.sum(pc.utf8_length(wanted)).as_py() or 0
        self.sample.add(wanted)

    def _adopt(self, rows: pa.RecordBatch, known: np.ndarray) -> np.ndarray:
        """Want the vectors of items that the version before does not know: bool, shape (n,).

        Those of an unfinished run are among them, so that the next run wants the same. Items that
        may have been in lost rows are not: what is adopted may be the vector of an older text.
        """
        if self.wanted is None:
            return np.zeros(rows.num_rows, bool)
        known = known | self._may_be_lost(rows["pid"])
        there = rows["adopted_row"].is_valid().to_numpy(zero_copy_only=False) & ~known
        self.wanted.add(rows["adopted_row"].filter(pa.array(there)).to_numpy())
        return there

    def _may_be_lost(self, pids: pa.Array) -> np.ndarray:
        """Which pids may be those of lost rows of the version before: bool, shape (n,).

        Damage is told before a row behind it comes, so before any of these pids.
        """
        first, last = pids[0].as_py(), pids[-1].as_py()
        lost = np.zeros(len(pids), bool)
        for smallest, largest in self._lost_pids:
            if smallest <= last and largest >= first:
                within = pc.and_(pc.greater_equal(pids, smallest), pc.less_equal(pids, largest))
                lost |= within.to_numpy(zero_copy_only=False)
        return lost

    @property
    def changes(self) -> Changes:
        """What became of the items of the version before."""
        rows_before = self._before.rows if self._before else 0
        moved = self._known if self._afresh else 0
        kept = self._known - moved
        return Changes(
            new=self.rows - kept,
            changed=kept - self._unchanged,
            unchanged=self._unchanged,
            removed=rows_before - self._known - self._lost,
            moved=moved,
        )


def embedded_again(damage: DamageError) -> str:
    """What to say of rows of a source that cannot be read."""
    return f"{damage} Its items are embedded again."


class _Sample:
    """Some of a stream's texts, every so manieth: the same for the same stream."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._every = 1
        self._seen = 0
        self.texts: list[str] = []

    def add(self, texts: pa.Array) -> None:
        """Offer texts."""
        first = -self._seen % self._every
        self._seen += len(texts)
        self.texts += texts.take(np.arange(first, len(texts), self._every)).to_pylist()
        while len(self.texts) > self._most:
            self.texts = self.texts[::2]
            self._every *= 2


def _fits(memory: Memory | None) -> bool:
    return memory is None or memory.needed <= memory.free


def _seconds(characters: int, embedder: Embedder, sample: Sequence[str]) -> float:
    if not sample:
        return 0.0
    embedder.embed(sample[:1])
    return characters / measure_speed(embedder.embed, sample)


def measure_speed(embed: Callable[[Sequence[str]], Embedded], texts: Sequence[str]) -> float:
    """Characters a second that the embedder does here, from a calibration of a few seconds.

    It must have embedded something, so that loading weights does not count. Each batch is twice as
    large as the one before, and the fastest counts: small ones leave a fast device idle.
    """
    started, speed = time.perf_counter(), 1.0
    position, size = 0, 1
    while position < len(texts) and time.perf_counter() - started < CALIBRATION_SECONDS:
        batch = texts[position : position + size]
        batch_started = time.perf_counter()
        embed(batch)
        seconds = max(time.perf_counter() - batch_started, 1e-9)
        speed = max(speed, sum(map(len, batch)) / seconds)
        position, size = position + size, size * 2
    return speed


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.0f} seconds"


def _size(bytes_: int) -> str:
    return f"{bytes_ / 1e9:,.2f} GB" if bytes_ >= 1e9 else f"{bytes_ / 1e6:,.1f} MB"
