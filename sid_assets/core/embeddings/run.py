"""The embedding run: only new or changed items are embedded, and a crash costs one chunk.

A survey of the texts decides where the vector of each item comes from. The items are cut into
chunks. A chunk that the previous version has as a part shares that part; a worker makes the rows of
the others, one chunk after another.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sid_assets.core import schema
from sid_assets.core.embedders import Embedder
from sid_assets.core.embeddings.adopt import adopt
from sid_assets.core.embeddings.cuts import CHUNK_CHARACTERS, cut_chunks
from sid_assets.core.embeddings.making import EmbeddingsMaking
from sid_assets.core.embeddings.plan import Plan, measure_speed, plan_of
from sid_assets.core.embeddings.proof import ProvenEmbedder, check_adopted
from sid_assets.core.embeddings.survey import Survey, survey_items
from sid_assets.core.embeddings.worker import ChunkEmbedder, ChunkSummary, ItemChunk
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.vector_files import VectorFiles
from sid_assets.core.refresh import (
    Changes,
    RefreshPolicy,
    require_same_generation,
    require_small_change,
)
from sid_assets.core.store.chunks import IN_THIS_PROCESS, Backend, Chunk, once, run_chunks
from sid_assets.core.store.draft import Draft, UnfinishedRun
from sid_assets.core.store.parts import Part
from sid_assets.core.store.pid_ranges import SortedParts
from sid_assets.core.store.provenance import Provenance, derive
from sid_assets.core.store.sharing import PartSharer
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version

CHUNK_SECONDS = 120.0
"""How long embedding a chunk should take. A crash loses about this much work."""

SURVEYED_ROWS = 16_384
"""Texts that are read at once."""


@dataclass
class EmbeddingProgress:
    """The progress of a run; `rows` grows to `total_rows`.

    Attributes:
        total_rows: Items of the table.
        rows: Items done, from any source.
        embedded: Items that this run embedded.
        reused: Items whose vectors were reused from the store.
        adopted: Items whose vectors were adopted from files.
        resumed: Items in parts that an unfinished run of the same work had finished.
        tokens: Tokens computed by this run.
        padded_tokens: The same, including padding.
        truncated: Truncated texts, including those of resumed parts.
        seconds: Time spent embedding, of all actors together.
        started: When the first chunk was started, by the monotonic clock.
    """

    total_rows: int
    rows: int = 0
    embedded: int = 0
    reused: int = 0
    adopted: int = 0
    resumed: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    truncated: int = 0
    seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def add(self, chunk: Chunk, summary: "ChunkSummary", resumed: bool) -> None:
        """Count a chunk, made by this run or resumed from an earlier one."""
        self.rows += chunk.rows
        self.truncated += summary.truncated
        if resumed:
            self.resumed += chunk.rows
            return
        self.embedded += summary.embedded
        self.adopted += summary.adopted
        self.reused += chunk.rows - summary.embedded - summary.adopted
        self.tokens += summary.tokens
        self.padded_tokens += summary.padded_tokens
        self.seconds += summary.seconds

    def describe(self) -> str:
        """One line for the log: items done, speed and time left."""
        elapsed = max(time.monotonic() - self.started, 1e-9)
        done = self.rows - self.resumed
        left = (self.total_rows - self.rows) * elapsed / done if done else 0.0
        embedding = min(max(self.seconds, 1e-9), elapsed)  # actors embed at the same time
        return (
            f"{self.rows:,} of {self.total_rows:,} items, {done / elapsed:,.0f} items/s, "
            f"{self.tokens / embedding:,.0f} tokens/s, about {left / 60:,.1f} "
            "minutes left"
        )


def embed_items(
    store: Store,
    table: str,
    texts: Version,
    embedder: Embedder,
    policy: RefreshPolicy,
    log: Callable[[str], None],
    on_progress: Callable[[EmbeddingProgress], None],
    files: VectorFiles | None = None,
    backend: Backend = IN_THIS_PROCESS,
) -> tuple[Draft, Changes, EmbeddingProgress]:
    """Make the version of `item_embeddings` for these texts. The caller commits it.

    Args:
        store: Where the tables are.
        table: Asset key of `item_embeddings`.
        texts: The version of `item_texts`.
        embedder: Embeds the items whose vectors cannot be reused.
        policy: What the refresh may do.
        log: Receives warnings.
        on_progress: Called after every chunk.
        files: Existing vectors of the same space, for items that have none yet.
        backend: Where the chunks are computed.

    Raises:
        InputError: The policy forbids the refresh, the embedder no longer gives the same vectors,
            or the files are invalid.
        StoreError: Another run is writing the table, or the disk is full.
    """
    if not texts.rows:
        raise InputError(f"{texts.folder}: has no items; there is nothing to embed.")
    # Opened before the survey, so that nobody changes what it reads.
    with store.draft(table) as draft:
        plan, run = _prepare(store, draft, texts, embedder, policy, once(log), files, backend)
        parts, progress = run.embed(on_progress)
        draft.finish(parts, run.provenance)
    return draft, plan.changes, progress


def _prepare(
    store: Store,
    draft: Draft,
    texts: Version,
    embedder: Embedder,
    policy: RefreshPolicy,
    log: Callable[[str], None],
    files: VectorFiles | None,
    backend: Backend,
) -> tuple[Plan, "_Run"]:
    """Plan the run, check that it is allowed, and begin its draft."""
    table = draft.table
    rows = texts.stream(["pid", "text", "text_hash"], SURVEYED_ROWS)
    survey = survey_items(store, table, rows, embedder.space, files, log)
    plan = plan_of(store, table, survey, embedder)
    require_same_generation(plan.afresh, policy)
    require_small_change(plan.changes, policy, plan.describe())
    if plan.afresh or not plan.fits_disk:
        log(plan.describe())
    before = None if survey.afresh else store.current(table)
    adopted_key = ""
    if survey.files and survey.wanted and survey.adopted:
        adopted = adopt(draft, texts, survey.files, survey.wanted, log)
        survey, adopted_key = survey.with_adopted(adopted), adopted.key
    proven = ProvenEmbedder(embedder, _canary(before, survey.unfinished))
    if survey.texts:
        proven.prove()
        if vouched := _vouched(before, survey):
            check_adopted(vouched, SortedParts.of(texts), embedder, log)
    _begin(draft, texts, survey, proven, adopted_key)
    making = EmbeddingsMaking(draft.state["canary"], survey.adopted)
    provenance = derive(table, texts.provenance, space=embedder.space, details=making.details())
    sharer = PartSharer(before, draft.folder) if before else None
    return plan, _Run(draft, texts, survey, proven, provenance, sharer, log, backend)


@dataclass(frozen=True)
class _Run:
    """A run that has passed all checks.

    Attributes:
        draft: Where its parts go.
        texts: What to embed.
        survey: Where the vector of each item comes from.
        embedder: Embeds what no source has.
        provenance: Provenance of the new version.
        sharer: Shares parts with the previous version; None if its vectors cannot be reused.
        log: Receives warnings.
        backend: Where the chunks are computed.
    """

    draft: Draft
    texts: Version
    survey: Survey
    embedder: ProvenEmbedder
    provenance: Provenance
    sharer: PartSharer | None
    log: Callable[[str], None]
    backend: Backend

    def embed(
        self, on_progress: Callable[[EmbeddingProgress], None]
    ) -> tuple[tuple[Part, ...], EmbeddingProgress]:
        """Make all chunks that are not finished yet."""
        progress = EmbeddingProgress(total_rows=self.texts.rows)
        chunks, worker = self._chunks(), self._worker()

        def on_done(chunk: Chunk, summary: ChunkSummary, resumed: bool) -> None:
            progress.add(chunk, summary, resumed)
            for damage in () if resumed else summary.damage:
                self.log(damage)
            on_progress(progress)

        parts = run_chunks(
            self.draft,
            chunks,
            self.provenance.attach(schema.item_embeddings(self.texts.pid_type)),
            worker,
            on_done,
            ChunkSummary,
            worker.share,
            self.log,
            self.backend,
        )
        return parts, progress

    def _chunks(self) -> list[ItemChunk]:
        """The chunks as they were cut when the draft began, with the source of each item."""
        state = self.draft.state["chunks"]
        ends = np.cumsum([rows for rows, _, _ in state])
        return [
            ItemChunk(
                number,
                rows,
                first_pid,
                last_pid,
                origins=origins,
                is_unchanged=bool(self.survey.is_unchanged(origins).all()),
            )
            for number, ((rows, first_pid, last_pid), origins) in enumerate(
                zip(state, np.split(self.survey.origins, ends[:-1]), strict=True)
            )
        ]

    def _worker(self) -> ChunkEmbedder:
        """The worker that makes the rows of a chunk.

        A part in this run's own draft is either resumed as a whole or made again, so the draft is
        no longer a source.
        """
        sources = tuple(
            source.emptied() if source.folder == self.draft.folder else source
            for source in self.survey.sources
        )
        return ChunkEmbedder(SortedParts.of(self.texts), sources, self.embedder, self.sharer)


def _begin(
    draft: Draft,
    texts: Version,
    survey: Survey,
    embedder: ProvenEmbedder,
    adopted_key: str,
) -> None:
    """Begin the draft for these texts and this embedding space: a new one, or an unfinished one.

    It stores how the chunks are cut, so that the next run finds its parts again even if the
    sources have changed. What unfinished runs left does not affect the cut.
    """
    space = embedder.embedder.space
    draft.begin(
        key=f"{texts.provenance.version}-{space.digest}{adopted_key and f'-{adopted_key}'}",
        make_state=lambda: {
            "texts": texts.provenance.version,
            "space": space.digest,
            "pid_type": texts.pid_type,
            "chunks": [
                [chunk.rows, chunk.first_pid, chunk.last_pid]
                for chunk in cut_chunks(
                    texts,
                    survey.not_lasting(),
                    _characters_per_chunk(survey, embedder),
                    survey.unchanged,
                )
            ],
            "canary": embedder.canary,
        },
    )


def _canary(before: Version | None, unfinished: Iterable[UnfinishedRun]) -> dict[str, Any] | None:
    """The result of `probe` from the time when the existing vectors were made.

    A version whose vectors were all adopted has none, and neither does a run that did not get as
    far as embedding.
    """
    known = [EmbeddingsMaking.of(before.provenance).canary] if before else []
    known += [run.state["canary"] for run in unfinished]
    return next((canary for canary in known if canary), None)


def _vouched(before: Version | None, survey: Survey) -> SortedParts | None:
    """Adopted vectors that were never compared with the embedder's."""
    if adopted := next((s for s in survey.sources if s.kind == "adopted" and s.parts.rows), None):
        return adopted.parts
    if before and not EmbeddingsMaking.of(before.provenance).canary:
        return SortedParts.of(before)  # all vectors were adopted, and none embedded since
    return None


def _characters_per_chunk(survey: Survey, embedder: ProvenEmbedder) -> float:
    """Characters to embed per chunk. If there is nothing to embed, no weights are loaded."""
    if not survey.sample:
        return CHUNK_CHARACTERS
    few = survey.sample[: max(1, survey.texts // 100)]  # these are embedded twice
    return measure_speed(embedder.embed, few) * CHUNK_SECONDS
