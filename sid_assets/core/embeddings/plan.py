"""The plan: what a refresh would do and cost, before it runs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from sid_assets.core.embedders import Embedded, Embedder, Memory
from sid_assets.core.embeddings.adopt import adopted_already
from sid_assets.core.embeddings.cuts import rows_to_write
from sid_assets.core.embeddings.survey import Survey, survey_items
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.vector_files import VectorFiles
from sid_assets.core.refresh import Changes
from sid_assets.core.schema import EMBEDDING_DIM
from sid_assets.core.store.chunks import finished_parts
from sid_assets.core.store.places import free_bytes
from sid_assets.core.store.store import Store

CALIBRATION_SECONDS = 2.0

BYTES_PER_ROW = EMBEDDING_DIM * 4 + 64
"""Size of a row of `item_embeddings` on disk: the uncompressed vector, pid and hashes."""

COPIES_OF_ADOPTED = 2
"""Copies of an adopted vector before the commit: one in a sorted run, one in the draft."""


@dataclass(frozen=True)
class Plan:
    """What a refresh would do.

    Attributes:
        changes: Items that are new, changed, removed and unchanged. Removed items are unknown if
            the pids of the previous version are of another type.
        in_draft: New and changed items whose vectors are in an unfinished draft; they are reused.
        afresh: Why no vector of the previous version can be reused; "" if they can.
        texts: Texts to embed.
        characters: Characters of these texts.
        tokens: Tokens of these texts, after truncation.
        tokens_counted: Whether tokens are counted; if not, they are estimated from a few texts.
        seconds: Seconds to embed in one process on this device, from a calibration; None without
            one. Several Ray actors need less.
        memory: What the embedder needs and what its device has free; None if it does not matter.
        disk_needed: Bytes of the parts of vectors that are not shared with the previous version,
            and of adopted vectors before the commit, less what an unfinished draft for the same
            texts already contains.
        disk_free: Bytes free at the destination; None on an object store.
        sample: Some of the texts to embed, spread over all of them.
        adopted: New items whose vectors are adopted from files; they are not among the texts to
            embed.
        cut: Texts to embed that are longer than `max_length` and get truncated; counted or
            estimated like tokens. None if the server truncates texts, which it does not report.
        max_length: Longest text in tokens that the embedder accepts (0: no limit, or unknown).
        unmeasured: Why the time was not measured although it was requested; otherwise "".
        tokenizer: The tokenizer that will be trained, and what speaks against its codebook size;
            "" if none is trained.
    """

    changes: Changes
    in_draft: int
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
    cut: int | None = 0
    max_length: int = 0
    unmeasured: str = ""
    tokenizer: str = ""

    @property
    def fits_disk(self) -> bool:
        """Whether what the new version adds fits on the disk, beside the current one."""
        return self.disk_free is None or self.disk_needed <= self.disk_free

    def describe(self) -> str:
        """The plan as text, one line per subject."""
        lines = [f"The refresh: {self.changes.describe()}."]
        if self.afresh:
            lines.append(f"Starts afresh: {self.afresh}.")
        if self.in_draft:
            lines.append(f"An unfinished run left the vectors of {self.in_draft:,} of them.")
        if self.adopted:
            lines.append(f"Adopted from SID_EMBEDDINGS: the vectors of {self.adopted:,} new items.")
        tokens = f"{self.tokens:,} tokens"
        if not self.tokens_counted:
            tokens = f"about {tokens} (estimated from {len(self.sample):,} of them)"
        lines.append(f"To embed: {self.texts:,} texts, {tokens}.")
        if self.cut:
            about = "" if self.tokens_counted else "about "
            share = f"{self.cut / self.texts:.2%}"
            limit = f"{self.max_length:,} tokens"
            lines.append(f"Truncated to {limit}: {about}{self.cut:,} texts ({share}).")
        elif self.cut is None:
            lines.append("Truncated texts: unknown, because the server truncates them.")
        if self.seconds is not None:
            lines.append(f"Time in one process on this device: about {_duration(self.seconds)}.")
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
        if self.tokenizer:
            lines.append(f"Tokenizer to train: {self.tokenizer}")
        return "\n".join(lines)

    def metadata(self) -> dict[str, Any]:
        """The figures for the UI."""
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
    """Estimate what embedding these texts would take. Nothing is written.

    Texts and hashes are read once, as a stream; two bytes per item are kept in memory.

    Args:
        store: Where the tables are.
        table: Asset key of `item_embeddings`.
        texts: Rows of `item_texts`, sorted by pid. If their schema names the version of the table,
            the disk space needed excludes the unfinished draft for that version.
        embedder: The embedder to plan for. Its weights are loaded only to calibrate.
        files: Existing vectors to adopt; only their ids are read.
        calibrate: Whether to measure the time, which takes a few seconds and loads the weights.
            If that fails, the plan says why.
        log: Receives warnings.

    Raises:
        InputError: The embedding space cannot be determined, or the files cannot be read.
        StoreError: The texts cannot be read.
    """
    survey = survey_items(store, table, texts, embedder.space, files, log)
    return plan_of(store, table, survey, embedder, calibrate=calibrate)


def plan_of(
    store: Store, table: str, survey: Survey, embedder: Embedder, *, calibrate: bool = False
) -> Plan:
    """The plan of a survey: its tokens, time, memory and disk space."""
    counts = embedder.count_tokens(survey.sample)
    tokens_per_character = int(counts.lengths.sum()) / max(sum(map(len, survey.sample)), 1)
    memory = embedder.memory() if survey.texts else None
    seconds, unmeasured = None, ""
    if calibrate:
        seconds, unmeasured = _calibrated(survey.characters, embedder, survey.sample, memory)
    return Plan(
        changes=survey.changes,
        in_draft=survey.in_draft,
        afresh=survey.afresh,
        texts=survey.texts,
        characters=survey.characters,
        tokens=round(tokens_per_character * survey.characters),
        tokens_counted=len(survey.sample) == survey.texts and not counts.estimated,
        seconds=seconds,
        memory=memory,
        disk_needed=_disk_needed(store, table, survey),
        disk_free=free_bytes(store.root),
        sample=survey.sample,
        adopted=survey.adopted,
        cut=_of_all(counts.truncated, len(survey.sample), survey.texts),
        max_length=embedder.space.max_length,
        unmeasured=unmeasured,
    )


def _of_all(truncated: int | None, sample: int, texts: int) -> int | None:
    """How many of all texts are truncated, estimated from a sample."""
    return None if truncated is None else round(truncated / max(sample, 1) * texts)


def _disk_needed(store: Store, table: str, survey: Survey) -> int:
    """Bytes of the new version and of adopted vectors before the commit.

    What already exists is excluded: unchanged parts are shared, a run over the same texts resumes
    the unfinished draft, and vectors are adopted once.
    """
    version = rows_to_write(len(survey.origins), survey.unchanged) * BYTES_PER_ROW
    for run in survey.unfinished:
        if survey.texts_version and run.state.get("texts") == survey.texts_version:
            version -= sum(part.bytes for part in finished_parts(run.folder))
    adopted = 0
    if (
        survey.files
        and survey.wanted
        and not adopted_already(store, table, survey.texts_version, survey.files, survey.wanted)
    ):
        adopted = COPIES_OF_ADOPTED * survey.wanted.count * BYTES_PER_ROW
    return max(0, version) + adopted


def _calibrated(
    characters: int, embedder: Embedder, sample: Sequence[str], memory: Memory | None
) -> tuple[float | None, str]:
    """The seconds that embedding takes on this device, or None and why they are not measured."""
    if not _fits(memory):
        return None, "the weights do not fit into memory"
    try:
        return _seconds(characters, embedder, sample), ""
    except InputError as error:
        return None, str(error)


def _fits(memory: Memory | None) -> bool:
    return memory is None or memory.needed <= memory.free


def _seconds(characters: int, embedder: Embedder, sample: Sequence[str]) -> float:
    if not sample:
        return 0.0
    embedder.embed(sample[:1])
    return characters / measure_speed(embedder.embed, sample)


def measure_speed(embed: Callable[[Sequence[str]], Embedded], texts: Sequence[str]) -> float:
    """Characters per second of the embedder on this device, from a calibration of a few seconds.

    The embedder must have embedded something before, so that loading weights does not count. Each
    batch is twice as large as the previous one, and the fastest counts: small batches leave a fast
    device idle.
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
