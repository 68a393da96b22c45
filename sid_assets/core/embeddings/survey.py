"""The survey decides, once for each item, where its vector comes from.

Texts and the hashes of all sources are joined only here. The plan counts these decisions, chunks
are cut by them, and the workers carry them out. An item is decided again only if its source turns
out to be damaged while vectors are read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core import schema
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.embeddings.adopt import Adopted
from sid_assets.core.embeddings.cuts import Stretch, UnchangedParts
from sid_assets.core.embeddings.sources import EMBED, Source, beside, first_of_same_text
from sid_assets.core.inputs.ids import zeros_lost
from sid_assets.core.inputs.vector_files import ROW, VectorFiles, WantedRows
from sid_assets.core.refresh import Changes, why_afresh
from sid_assets.core.schema import Pid, PidType
from sid_assets.core.store.draft import UnfinishedRun
from sid_assets.core.store.pid_ranges import DamageError, SortedParts
from sid_assets.core.store.provenance import EmbeddingSpace, Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version

SAMPLE_TEXTS = 512
"""Texts for counting tokens and measuring speed."""


@dataclass(frozen=True)
class Survey:
    """Where the vector of each item comes from, and the totals.

    Attributes:
        origins: For each item, in pid order, the index of its source, or `EMBED`: int16, shape
            (items,). It takes two bytes of memory per item.
        sources: Where vectors are reused from. The source of adopted vectors is empty until they
            are adopted.
        afresh: Why no vector of the previous version can be reused; "" if they can.
        changes: Items that are new, changed, removed and unchanged.
        in_draft: New and changed items whose vectors are in an unfinished draft.
        adopted: New items whose vectors are adopted from files.
        texts: Texts to embed.
        characters: Characters of these texts.
        sample: Some of these texts, spread over all of them.
        texts_version: The version of `item_texts`; "" if the texts do not come from a version.
        files: Existing vectors to adopt; None if there are none.
        wanted: Which rows of the files are adopted; None without files.
        unfinished: The unfinished runs that left vectors.
        unchanged: The parts of the previous version that this one can share.
    """

    origins: np.ndarray = field(repr=False)
    sources: tuple[Source, ...]
    afresh: str
    changes: Changes
    in_draft: int
    adopted: int
    texts: int
    characters: int
    sample: tuple[str, ...] = field(repr=False)
    texts_version: str
    files: VectorFiles | None
    wanted: WantedRows | None = field(repr=False)
    unfinished: tuple[UnfinishedRun, ...] = field(repr=False)
    unchanged: tuple[Stretch, ...] = field(repr=False)

    def is_unchanged(self, origins: np.ndarray) -> np.ndarray:
        """Which items reuse the vector of the previous version: bool, shape (n,).

        Args:
            origins: Some of the origins: int16, shape (n,).
        """
        before = np.array([source.kind == "before" for source in self.sources], bool)
        # `EMBED` is -1 and selects the last element.
        return np.append(before, False)[origins]

    def with_adopted(self, adopted: Adopted) -> "Survey":
        """The same survey, now that the adopted vectors can be read."""
        there = Source.adopted(adopted)
        sources = (there if source.kind == "adopted" else source for source in self.sources)
        return replace(self, sources=tuple(sources))

    def not_lasting(self) -> np.ndarray:
        """Which items have no vector that outlasts a commit: bool, shape (items,).

        They are embedded, or reused from an unfinished draft. Both count as work when chunks are
        cut, so the cut does not depend on how far an earlier run got.
        """
        lasts = np.array([source.kind != "unfinished" for source in self.sources], bool)
        # `EMBED` is -1 and selects the last element.
        return ~np.append(lasts, False)[self.origins]


def survey_items(
    store: Store,
    table: str,
    texts: pa.RecordBatchReader,
    space: EmbeddingSpace,
    files: VectorFiles | None = None,
    log: Callable[[str], None] = lambda message: None,
) -> Survey:
    """Decide where the vector of each item comes from. Nothing is written, no vector is read.

    An item reuses the vector that the previous version has for the same text. If that version does
    not contain the item, it adopts the vector that the files have for its pid. Otherwise it reuses
    the vector that an unfinished run left for the same text, the latest run first. All other items
    are embedded. Texts and hashes are read once, as a stream.

    Args:
        store: Where the tables are.
        table: Asset key of `item_embeddings`.
        texts: Rows of `item_texts`, sorted by pid. Their schema may name the version of the table.
        space: The embedding space of this run.
        files: Existing vectors to adopt; only their ids are read.
        log: Receives warnings.

    Raises:
        InputError: The files cannot be read.
        StoreError: The texts cannot be read.
    """
    before = store.current(table)
    pid_type = schema.pid_type_of(texts.schema)
    afresh = why_afresh(before, space, pid_type) if before else ""
    if before and before.pid_type != pid_type:
        before = None  # its pids cannot be compared with these
    unfinished = unfinished_runs(store, table, space, pid_type)
    sources = [Source.before(before)] if before else []
    if files:
        sources.append(Source("adopted", store.history(table), SortedParts(store.root, ())))
    sources += [Source.unfinished(run) for run in unfinished]
    surveyor = _Surveyor(before, sources, log, files, afresh=bool(afresh))
    rows = beside(texts, sources, ["text_hash"], surveyor.lose)
    if files:
        rows = joined(rows, files.sorted_rows(pid_type), ROW)
    for batch in rows:
        surveyor.add(batch)
    provenance = Provenance.of(texts.schema)
    survey = surveyor.survey(afresh, provenance.version if provenance else "", unfinished)
    known = survey.changes.unchanged + survey.changes.changed
    if files and files.rows and not survey.adopted + known:
        zeros = zeros_lost(files.first_ids(pid_type), surveyor.first_pids)
        log(f"{files.setting}: none of the {files.rows:,} ids is that of an item. {zeros}".rstrip())
    return survey


def decide(
    texts: pa.RecordBatch,
    sources: Sequence[Source],
    after: np.ndarray,
    on_damage: Callable[[DamageError], None],
) -> np.ndarray:
    """Decide again where the vectors of a few items come from, after their sources failed.

    Args:
        texts: Rows of `item_texts`, sorted by pid; at least one.
        sources: The sources of the survey.
        after: The index of the source that failed each item: int16, shape (n,).
        on_damage: Called for what cannot be read, which counts as missing.

    Returns:
        The index of a later source with a vector for the same text, or `EMBED`: int16, shape (n,).
    """
    pids = texts["pid"][0].as_py(), texts["pid"][-1].as_py()
    (rows,) = beside([texts], sources, ["text_hash"], on_damage, pids)
    return first_of_same_text(rows, len(sources), after)


def unfinished_runs(
    store: Store, table: str, space: EmbeddingSpace, pid_type: PidType
) -> tuple[UnfinishedRun, ...]:
    """The unfinished runs whose vectors this run can reuse, latest first."""
    wanted = {"space": space.digest, "pid_type": pid_type}
    return tuple(run for run in store.unfinished(table) if wanted.items() <= run.state.items())


def embedded_again(damage: DamageError) -> str:
    """The warning about damaged rows of a source."""
    return f"{damage} Its items are embedded again, unless another source has their vectors."


class _Surveyor:
    """Decides and counts, given the rows of `beside`, joined with `ROW` if there are files.

    When a run starts afresh, the previous version shows which items are gone, but its vectors are
    not used.
    """

    def __init__(
        self,
        before: Version | None,
        sources: Sequence[Source],
        log: Callable[[str], None],
        files: VectorFiles | None,
        *,
        afresh: bool,
    ) -> None:
        self._before = before
        self._afresh = afresh
        self._sources = sources
        self._log = log
        self._files = files
        self._wanted = WantedRows(files.rows) if files else None
        kinds = [source.kind for source in sources]
        self._adopted = kinds.index("adopted") if files else EMBED
        self._origins = bytearray()
        self._unchanged = UnchangedParts(before.parts if before and not afresh else ())
        self._counts = np.zeros(len(sources) + 1, np.int64)
        """Items by origin: those to embed, then those of each source."""
        self._known = self._lost = self._texts = self._characters = 0
        self._lost_pids: list[tuple[Pid, Pid]] = []
        self._sample = SpreadSample(SAMPLE_TEXTS)
        self.first_pids = pa.array([], pa.string())

    def lose(self, damage: DamageError) -> None:
        """Note rows of a source that cannot be read."""
        self._log(embedded_again(damage))
        if self._before and damage.folder == self._before.folder:
            self._lost += damage.rows
            if not self._afresh:
                self._lost_pids.append(damage.pids)

    def add(self, rows: pa.RecordBatch) -> None:
        """Decide for the rows of a batch."""
        if not len(self.first_pids):
            self.first_pids = rows["pid"]
        known = np.zeros(rows.num_rows, bool)
        passed_over = np.full(rows.num_rows, EMBED, np.int16)
        if self._before:
            known = rows["text_hash_0"].is_valid().to_numpy(zero_copy_only=False)
            passed_over[:] = 0 if self._afresh else EMBED
        self._known += int(known.sum())
        origins = first_of_same_text(rows, len(self._sources), passed_over)
        if self._wanted is not None:
            adopted = self._adopt(rows, known & (not self._afresh), self._wanted)
            origins[adopted] = self._adopted
        self._origins += origins.tobytes()
        # Without a previous version there are no parts, whatever the first source is.
        self._unchanged.add(rows["pid"], origins == 0)
        self._counts += np.bincount(origins + 1, minlength=len(self._counts))
        to_embed = rows["text"].filter(pa.array(origins == EMBED))
        self._texts += len(to_embed)
        self._characters += pc.sum(pc.utf8_length(to_embed)).as_py() or 0
        self._sample.add(to_embed)

    def _adopt(self, rows: pa.RecordBatch, known: np.ndarray, wanted: WantedRows) -> np.ndarray:
        """Select the items whose vectors are adopted: bool, shape (n,).

        These are the items that the previous version does not contain. Items of an unfinished run
        are included, so that the next run selects the same ones. Items that may have been in lost
        rows are excluded, because an adopted vector may be that of an older text.
        """
        known = known | self._may_be_lost(rows["pid"])
        there = rows["adopted_row"].is_valid().to_numpy(zero_copy_only=False) & ~known
        wanted.add(rows["adopted_row"].filter(pa.array(there)).to_numpy())
        return there

    def _may_be_lost(self, pids: pa.Array) -> np.ndarray:
        """Which pids may belong to lost rows of the previous version: bool, shape (n,).

        Damage is reported before any row that follows it, so before any of these pids.
        """
        first, last = pids[0].as_py(), pids[-1].as_py()
        lost = np.zeros(len(pids), bool)
        for smallest, largest in self._lost_pids:
            if smallest <= last and largest >= first:
                within = pc.and_(pc.greater_equal(pids, smallest), pc.less_equal(pids, largest))
                lost |= within.to_numpy(zero_copy_only=False)
        return lost

    def survey(
        self, afresh: str, texts_version: str, unfinished: tuple[UnfinishedRun, ...]
    ) -> Survey:
        """The decisions, after all rows were added."""
        origins = np.frombuffer(self._origins, np.int16)
        by_kind = {"before": 0, "adopted": 0, "unfinished": 0}
        for source, count in zip(self._sources, self._counts[1:].tolist(), strict=True):
            by_kind[source.kind] += count
        moved = self._known if self._afresh else 0
        kept = self._known - moved
        changes = Changes(
            new=len(origins) - kept,
            changed=kept - by_kind["before"],
            unchanged=by_kind["before"],
            removed=(self._before.rows if self._before else 0) - self._known - self._lost,
            moved=moved,
        )
        return Survey(
            origins=origins,
            sources=tuple(self._sources),
            afresh=afresh,
            changes=changes,
            in_draft=by_kind["unfinished"],
            adopted=by_kind["adopted"],
            texts=self._texts,
            characters=self._characters,
            sample=tuple(self._sample.texts),
            texts_version=texts_version,
            files=self._files,
            wanted=self._wanted,
            unfinished=unfinished,
            unchanged=self._unchanged.found(),
        )


class SpreadSample:
    """At most `most` texts of a stream, evenly spread over it; the same for the same stream."""

    def __init__(self, most: int) -> None:
        """Start without texts."""
        self._most = most
        self._every = 1
        self._seen = 0
        self.texts: list[str] = []

    def add(self, texts: pa.Array) -> None:
        """Offer texts to the sample."""
        first = -self._seen % self._every
        self._seen += len(texts)
        self.texts += texts.take(np.arange(first, len(texts), self._every)).to_pylist()
        while len(self.texts) > self._most:
            self.texts = self.texts[::2]
            self._every *= 2
