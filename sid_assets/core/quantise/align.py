"""The numbers of centroids, chosen so that items keep the codes that are published.

Training numbers centroids by chance. Where items have published SIDs, the centroids of a layer are
numbered by a matching: each new code gets the number of one published code so that the most items
have the same code as before. Only items whose codes before that layer are kept count, because an
item keeps its second code only where it keeps its first. Each layer is maximised in turn, given the
layers before it; the number of whole SIDs that are kept may not be the largest possible.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sid_assets.core.arrow.columns import codes_array, is_valid
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.errors import InputError, StoreError
from sid_assets.core.quantise.train import Trained
from sid_assets.core.registry.kept_codes import kept_codes
from sid_assets.core.schema import CODES, pid_type_of
from sid_assets.core.store.versions import Version

PUBLISHED = "pid2sid"
"""The table of the published SIDs."""


@dataclass(frozen=True)
class Alignment:
    """How the centroids of a tokenizer were numbered.

    Attributes:
        centroids: float32, shape (layers, codebook_size, dim): those of the tokenizer, each layer
            in another order.
        items: The items that it was found on.
        before: How many of them had the first code, the first two, .. of their published SIDs.
        after: How many of them have now.
        chance: How many would have if the new codes were dealt to them at random.
    """

    centroids: np.ndarray
    items: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    chance: tuple[float, ...]

    def figures(self) -> dict[str, object]:
        """The shares of the items that keep the first code, the first two, .., for JSON."""
        counts = {"matched": self.after, "alone": self.before, "chance": self.chance}
        shares = {
            name: [kept / max(self.items, 1) for kept in numbers]
            for name, numbers in counts.items()
        }
        return {"items": self.items, **shares}

    def sentence(self) -> str:
        """What was gained, for the log."""
        if not self.items:
            return "Centroids are numbered anew: no item of the sample has a published SID."
        before, after, chance = (
            " / ".join(f"{100 * kept / self.items:.0f}" for kept in counts)
            for counts in (self.before, self.after, self.chance)
        )
        return (
            f"Centroids are numbered by the published SIDs: of {self.items:,} items of the sample, "
            f"{after} % keep 1 / 2 / 3 codes ({before} % as they were trained, {chance} % by "
            "chance)."
        )


def align_to_published(
    trained: Trained, embeddings: Version, before: Version, published: Version
) -> Alignment | str:
    """Number the centroids of a new tokenizer by the SIDs of the items that it was trained on.

    Args:
        trained: The new tokenizer.
        embeddings: The version of `item_embeddings` that it was trained on.
        before: The version of `tokenizer_checkpoint` that it replaces.
        published: The current version of `pid2sid`.

    Returns:
        The tokenizer with other numbers; or why there are none, as a sentence.
    """
    if published.provenance.tokenizer != before.provenance.tokenizer:
        return f"{published.folder} was not made with the tokenizer that is replaced."
    if pid_type_of(published.schema()) != pid_type_of(embeddings.schema()):
        return f"the pids in {published.folder} are of another type."
    try:
        codes, sids = _of_sample(trained, embeddings, published)
    except (InputError, StoreError) as error:  # after hours of training, this is no reason to stop
        return str(error)
    return align(trained.centroids, codes, sids)


def align(centroids: np.ndarray, codes: np.ndarray, published: np.ndarray) -> Alignment:
    """Number the centroids of a tokenizer so that items keep their published codes.

    Deterministic. Memory holds one float64 matrix of codebook_size x codebook_size at a time.

    Args:
        centroids: float32, shape (layers, codebook_size, dim).
        codes: The codes that some items have with these centroids: integers, shape (n, layers).
        published: The published codes of the same items: integers, shape (n, layers). They may come
            from another codebook size: codes that this one has no number for are not kept.
    """
    size = centroids.shape[1]
    ordered = np.empty_like(centroids)
    before = _prefixes_kept(codes, published)
    agree = np.ones(len(codes), bool)
    numbered, after = np.empty_like(codes), []
    for layer, codebook in enumerate(centroids):
        numbers = matching(codes[agree, layer], published[agree, layer], size)
        ordered[layer][numbers] = codebook
        numbers = _lowest_of_equal(codebook, numbers)
        numbered[:, layer] = numbers[codes[:, layer]]
        agree &= numbered[:, layer] == published[:, layer]
        after.append(int(agree.sum()))
    return Alignment(ordered, len(codes), before, tuple(after), _by_chance(numbered, published))


def matching(new: np.ndarray, old: np.ndarray, size: int) -> np.ndarray:
    """The numbers of new codes with which the most items have their old code.

    Among the best, one that leaves the most codes their number: a code starts from the old centroid
    of its number, so this also suits codes that no item of the sample has.

    Args:
        new: Integers below `size`, shape (n,).
        old: Integers, shape (n,); those of `size` or more cannot be kept.
        size: The number of codes.

    Returns:
        A permutation, int64, shape (size,): the number of each new code.
    """
    from scipy.optimize import linear_sum_assignment

    possible = old < size
    pairs = new[possible].astype(np.int64) * size + old[possible]
    pairs, counts = np.unique(pairs, return_counts=True)
    cost = np.zeros((size, size))  # float64: what scipy computes with, so that it makes no copy
    cost.reshape(-1)[pairs] = -counts
    # Together less than one item, and exact in binary.
    cost[np.diag_indices(size)] -= 2.0 ** -(size.bit_length() + 1)
    return linear_sum_assignment(cost)[1].astype(np.int64)


def _lowest_of_equal(codebook: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The code that encoding gives for each centroid: of equal centroids, the lowest number."""
    lowest: dict[bytes, int] = {}
    rows = [(row + np.float32(0)).tobytes() for row in codebook]  # -0 equals 0
    for row, number in zip(rows, numbers.tolist(), strict=True):
        lowest[row] = min(number, lowest.get(row, number))
    return np.array([lowest[row] for row in rows], np.int64)


def _prefixes_kept(codes: np.ndarray, published: np.ndarray) -> tuple[int, ...]:
    agree = np.logical_and.accumulate(codes == published, axis=1)
    return tuple(int(kept) for kept in agree.sum(axis=0))


def _by_chance(codes: np.ndarray, published: np.ndarray) -> tuple[float, ...]:
    """How many items would keep their codes if these were dealt to them at random."""
    dealt = kept_codes(published.astype(np.uint16), codes.astype(np.uint16)).chance
    return tuple(share * len(codes) for share in dealt)


def _of_sample(
    trained: Trained, embeddings: Version, published: Version
) -> tuple[np.ndarray, np.ndarray]:
    """The codes and the published SIDs of the items of the sample that have one: shape (m, 3)."""
    order = np.argsort(trained.sample_rows)
    rows = trained.sample_rows[order]
    chosen, sids = [np.empty(0, np.int64)], [np.empty((0, trained.sample_codes.shape[1]), np.int64)]
    start = 0
    columns = pa.schema([("sid", CODES)])
    for batch in joined(embeddings.stream(["pid"]), published.stream(), columns):
        low, high = np.searchsorted(rows, [start, start + batch.num_rows])
        some = batch["sid"].take(pa.array(rows[low:high] - start))
        chosen.append(order[low + np.flatnonzero(is_valid(some))])
        sids.append(codes_array(some.drop_null()))
        start += batch.num_rows
    return trained.sample_codes[np.concatenate(chosen)], np.concatenate(sids)
