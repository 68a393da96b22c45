"""Several tokenizers on the vectors that are there: `sid-assets compare`.

Everything is checked before the first tokenizer is trained or encodes. Codes are written to a
scratch folder; no table is changed.
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import pyarrow as pa
from upath import UPath

from sid_assets import cli
from sid_assets.assets.catalog import catalog_source
from sid_assets.assets.domains import ITEMS
from sid_assets.assets.inputs import interactions_of
from sid_assets.candidates import TRAIN, Candidate, find_candidates
from sid_assets.core import schema
from sid_assets.core.arrow.columns import codes_array
from sid_assets.core.catalog.column_values import column_values
from sid_assets.core.catalog.making import TextsMaking
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.ids import PidTypeSetting
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.quality.comparison import Compared, as_page
from sid_assets.core.quality.interactions import measure_interactions
from sid_assets.core.quality.items import Items, read_items
from sid_assets.core.quality.measure import measure_sids
from sid_assets.core.quality.next_items import next_items
from sid_assets.core.quality.of_vectors import VectorMeasures
from sid_assets.core.quality.sample import TABLE as SAMPLE
from sid_assets.core.quality.sample import choose, read_sample
from sid_assets.core.quality.subjects import measure_subjects
from sid_assets.core.quality.use import Use, counted_use, id_lists
from sid_assets.core.quantise.checkpoint import centroid_hash
from sid_assets.core.quantise.residual_kmeans import Encoder
from sid_assets.core.quantise.stream import quantise
from sid_assets.core.store.parts import PartWriter, read_part
from sid_assets.core.store.places import write_text
from sid_assets.core.store.provenance import require_space
from sid_assets.core.store.scratch import scratch_folder
from sid_assets.core.store.versions import Version
from sid_assets.probe import read_data, with_probe
from sid_assets.settings import Settings

PAGE = "sid_comparison.html"
BATCH_ROWS = 65_536
SECONDS_BETWEEN = 5
"""Seconds between two messages of the progress of encoding."""

Progress = Callable[[str], None]
"""Called with what is being done."""


@dataclass(frozen=True)
class Comparison:
    """The result.

    Attributes:
        compared: The tokenizers, in the order in which they were named.
        sizes: One line: what was measured.
        facts: What the figures are about, by name.
        notes: Which differences of a probe are more than chance.
    """

    compared: tuple[Compared, ...]
    sizes: str
    facts: Mapping[str, str]
    notes: tuple[str, ...] = ()


def main(arguments: Sequence[str] = ()) -> int:
    """`python -m sid_assets.compare`, which is `sid-assets compare`; the exit code."""
    return cli.run("compare", arguments, "python -m sid_assets.compare")


def compare(
    settings: Settings,
    names: Sequence[str],
    progress: Progress,
    *,
    probe_minutes: float | None = None,
) -> Comparison:
    """Measure several tokenizers on the vectors in the data folder.

    Args:
        settings: The settings.
        names: Each is `current`, `train` (also `train:METHOD`, `train:SIZE`,
            `train:METHOD:SIZE`), a `.pt` file, or a repository on the hub (`owner/name`, also
            `owner/name@revision`).
        progress: Called with what is being done.
        probe_minutes: If given, models are trained on the SIDs of as many tokenizers as fit into
            this time, the first ones named.

    Raises:
        InputError: A tokenizer cannot be used with these vectors, or an input file is wrong. All
            tokenizers are checked before work starts.
        StoreError: There are no vectors yet, or a table is damaged.
    """
    store = settings.store()
    embeddings = store.require(ITEMS.table("item_embeddings"))
    candidates = find_candidates(settings, names, embeddings)
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder(store.root))
        catalog = _Catalog.of(settings, embeddings, scratch, stack)
        if catalog.interactions and catalog.use and catalog.use.warning:
            progress(f"{catalog.interactions.path}: {catalog.use.warning}")
        for candidate in candidates:
            for note in candidate.notes:
                progress(f"{candidate.name}: {note}")
        progress(f"nearest items of {len(catalog.sample_pids):,} by vector")
        vectors = catalog.vectors()
        data = None
        if probe_minutes is not None:
            pids = embeddings.stream(["pid"]).read_all()["pid"].combine_chunks()
            data = read_data(settings, pids, progress)
        compared, codes = [], {}
        for number, candidate in enumerate(candidates, 1):
            step = f"{number} of {len(candidates)}: {candidate.name}"
            measured, stream = _measure(
                settings,
                catalog,
                vectors,
                candidate,
                lambda what, step=step: progress(f"{step}: {what}"),
            )
            compared.append(measured)
            if data:
                codes[candidate.name] = np.concatenate(
                    [codes_array(batch["codes"]) for batch in stream()]
                )
        notes = ()
        if data and probe_minutes is not None:
            compared, notes = with_probe(settings, compared, codes, data, probe_minutes, progress)
    space = require_space(embeddings.provenance)
    sizes = f"{embeddings.rows:,} items. Neighbours and margins: {len(vectors.queries):,} queries "
    sizes += f"against {len(vectors.vectors):,} items."
    facts = {
        "Embedding model": " ".join(filter(None, (space.model, space.revision))),
        "Vectors": str(store.path(ITEMS.table("item_embeddings"))),
        "Made": embeddings.created,
        "Interactions": settings.of_catalog("events")
        or settings.of_catalog("interactions")
        or "none",
    }
    return Comparison(tuple(compared), sizes, facts, tuple(notes))


def write_page(settings: Settings, found: Comparison) -> str:
    """Write the comparison as a page into the data folder; returns its path.

    Raises:
        StoreError: The folder cannot be written.
    """
    page = settings.store().root / PAGE
    write_text(page, as_page(found.compared, found.sizes, found.facts, found.notes))
    return str(page)


class _Catalog:
    """What is read once for all tokenizers: vectors of the sample, use of items, a column."""

    def __init__(
        self,
        settings: Settings,
        embeddings: Version,
        scratch: str,
        use: Use | None,
        values: Iterable[pa.RecordBatch] | None,
        interactions: ParquetInput | None,
        lists: Sequence[str],
        making: TextsMaking,
    ) -> None:
        """Use `of`."""
        self.embeddings, self.scratch, self.use = embeddings, UPath(scratch), use
        self.interactions, self._lists, self._making = interactions, lists, making
        self._settings, self._values = settings, values
        self._read: Items | None = None
        self._chosen = choose(embeddings.stream(["pid", "vector_hash"], BATCH_ROWS))
        self.sample_pids = self._chosen.pids
        if len(self.sample_pids) < 2:
            raise InputError(
                f"{embeddings.folder}: one item. Tokenizers are compared on at least two."
            )

    @classmethod
    def of(
        cls, settings: Settings, embeddings: Version, scratch: str, stack: ExitStack
    ) -> "_Catalog":
        """Check the interactions and the column, before work starts."""
        making = TextsMaking.of(settings.store().require(ITEMS.table("item_texts")).provenance)
        setting = _pid_type_setting(settings)
        interactions = stack.enter_context(interactions_of(settings))
        use, values, lists = None, None, []
        if interactions and set(ITEMS.interacted) & set(interactions.columns):
            lists = id_lists(interactions, ITEMS.interacted, making.pids, setting)
            use = stack.enter_context(
                counted_use(interactions, lists, embeddings.pid_type, setting)
            )
        else:
            interactions = None
        if settings.quality_column:
            source = catalog_source(settings, ITEMS, on_bad_rows="drop")
            values = stack.enter_context(
                column_values(
                    source, settings.quality_column, embeddings.pid_type, scratch_dir=scratch
                )
            )
        return cls(settings, embeddings, scratch, use, values, interactions, lists, making)

    def vectors(self) -> VectorMeasures:
        """What the measures of vectors need."""
        store = self._settings.store()
        kept = store.current(ITEMS.table(SAMPLE))
        sample = read_sample(self._chosen, [kept, self.embeddings] if kept else [self.embeddings])
        pairs = None
        if self.interactions:
            pairs = next_items(
                self.interactions,
                self._lists,
                sample.pids,
                self.embeddings.pid_type,
                _pid_type_setting(self._settings),
            )
        return VectorMeasures.of(sample, pairs)

    def items(self, codes: Iterable[pa.RecordBatch], codebook_size: int) -> Items:
        """The numbers of all items with these codes; use and values are read the first time."""
        if self._read is None:
            use = self.use and self.use.batches
            self._read = read_items(codes, codebook_size, use, self._values)
            return self._read
        fresh = read_items(codes, codebook_size)
        return replace(self._read, sids=fresh.sids, errors=fresh.errors)

    def weighted_figures(
        self, codes: pa.RecordBatchReader, codebook_size: int
    ) -> dict[str, int | float]:
        """The figures weighted by interactions; none without interactions."""
        if not self.interactions:
            return {}
        setting = _pid_type_setting(self._settings)
        return measure_interactions(
            codes,
            codebook_size,
            self.interactions,
            ITEMS.interacted,
            setting,
            catalog=self._making.pids,
        ).figures()


def _pid_type_setting(settings: Settings) -> PidTypeSetting:
    return settings.choice("pid_type", get_args(PidTypeSetting))


def _measure(
    settings: Settings,
    catalog: _Catalog,
    vectors: VectorMeasures,
    candidate: Candidate,
    progress: Progress,
) -> tuple[Compared, Callable[[], pa.RecordBatchReader]]:
    """Train or load a tokenizer, encode all items, and measure the codes; they can be read."""
    progress("training" if candidate.kind == TRAIN else "loading")
    loaded = candidate.load()
    size = loaded.centroids.shape[1]
    stream, seconds = _encode(settings, catalog, loaded.centroids, progress)
    progress("measuring")
    figures: dict[str, int | float] = {"codebook_size": size, "encoding_seconds": seconds}
    if loaded.seconds is not None and loaded.held_out_error is not None:
        figures |= {
            "training_seconds": loaded.seconds,
            "held_out_error": loaded.held_out_error,
        }
    figures |= measure_sids(stream(), size).figures()
    figures |= catalog.weighted_figures(stream(), size)
    items = catalog.items(stream(), size)
    subjects = measure_subjects(items, size, catalog.use, settings.quality_column)
    codes = codes_array(choose(stream()).columns["codes"].combine_chunks())
    for subject in (*subjects, *vectors.subjects(codes, loaded.centroids)):
        figures |= subject.figures()
    about = {"kind": candidate.kind, "centroid_hash": centroid_hash(loaded.centroids)}
    return Compared(candidate.name, about, figures), stream


def _encode(
    settings: Settings, catalog: _Catalog, centroids: np.ndarray, progress: Progress
) -> tuple[Callable[[], pa.RecordBatchReader], float]:
    """Encode all items: a function that reads the codes, and how long encoding took (s)."""
    embeddings = catalog.embeddings
    columns = schema.codes(embeddings.pid_type)
    encoder = Encoder(centroids, settings.device or None)
    done, told = 0, time.perf_counter()
    started = told
    with PartWriter(catalog.scratch / "codes.parquet", columns) as writer:
        rows = embeddings.stream(["pid", "embedding", "vector_hash"])
        for batch in quantise(rows, encoder):
            writer.write(batch)
            done += batch.num_rows
            if time.perf_counter() - told > SECONDS_BETWEEN:
                told = time.perf_counter()
                progress(f"encoding, {done:,} of {embeddings.rows:,} items")
    seconds = time.perf_counter() - started

    def stream() -> pa.RecordBatchReader:
        batches = read_part(catalog.scratch, writer.part, batch_rows=BATCH_ROWS)
        return pa.RecordBatchReader.from_batches(columns, batches)

    return stream, seconds


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
