"""All measures of vectors: neighbours, behaviour and margins, on the same sample of items."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from sid_assets.core.quality.behaviour import measure_behaviour
from sid_assets.core.quality.margins import measure_margins
from sid_assets.core.quality.nearest import nearest_items
from sid_assets.core.quality.neighbours import measure_neighbours
from sid_assets.core.quality.next_items import NextItems
from sid_assets.core.quality.sample import Sample
from sid_assets.core.quality.section import Subject


@dataclass(frozen=True, eq=False)
class VectorMeasures:
    """What the measures need of vectors and behaviour; it does not depend on the tokenizer.

    Attributes:
        vectors: float32, shape (n, dim): of the items of the sample.
        queries: int64 (q,): positions of the queries of neighbours and margins, ascending.
        pairs: Pairs of item and next item; None without interactions.
        asked: int64: positions of the items whose nearest items were found, ascending: `queries`
            and the first 2,000 items with a next item.
        nearest: int64, shape (asked, k): positions of their nearest items.
        following: int64: the positions of the items with a next item that count.
    """

    vectors: np.ndarray
    queries: np.ndarray
    pairs: NextItems | None
    asked: np.ndarray
    nearest: np.ndarray
    following: np.ndarray

    @classmethod
    def of(cls, sample: Sample, pairs: NextItems | None) -> Self:
        """Find the nearest items of all queries: 5 s on two cores for a full sample.

        Args:
            sample: At least two items.
            pairs: Pairs of item and next item in the sample, if there are interactions.
        """
        queries = sample.queries()
        following = np.empty(0, np.int64)
        if pairs is not None:
            following = sample.queries(np.unique(pairs.items))
        asked = np.union1d(queries, following)
        nearest = nearest_items(sample.vectors, asked)
        return cls(sample.vectors, queries, pairs, asked, nearest, following)

    def subjects(
        self,
        codes: np.ndarray,
        centroids: np.ndarray | None,
        quantised: np.ndarray | None = None,
    ) -> list[Subject]:
        """Measure a tokenizer, in the order of the report.

        Args:
            codes: Integers, shape (n, 3): its codes of the sample.
            centroids: float32, shape (3, codebook_size, dim): the tokenizer; None if it is not at
                hand, which leaves the margins out.
            quantised: The codes as the tokenizer gave them, for margins, if SIDs may differ.
        """
        of_queries = np.searchsorted(self.asked, self.queries)
        subjects: list[Subject] = [
            measure_neighbours(codes, self.queries, self.nearest[of_queries])
        ]
        if self.pairs is not None:
            nearest = self.nearest[np.searchsorted(self.asked, self.following)]
            behaviour = measure_behaviour(codes, self.pairs, self.following, nearest)
            if behaviour:
                subjects.append(behaviour)
        if centroids is not None:
            chosen = codes if quantised is None else quantised
            subjects.append(measure_margins(self.vectors, chosen, self.queries, centroids))
        return subjects
