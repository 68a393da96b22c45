"""A new tokenizer that speaks the vocabulary of the one before: its centroids are renumbered.

The number of a centroid means nothing to a tokenizer, but a model has learnt what each code stands
for. After training, each layer is therefore renumbered so that as many items as possible keep their
code: an assignment of new numbers to old ones with the largest total weight, where the weight of a
pair is the number of items that had the old code and have the new centroid. The layers follow each
other, and a layer counts only the items whose codes agree in the layers before it. So each layer is
maximised in turn, not whole prefixes jointly.

Centroids change places and nothing else, so every item keeps its nearest centroids.
"""

import numpy as np


def renumbered(before: np.ndarray, after: np.ndarray, codebook_size: int) -> np.ndarray:
    """New numbers of the centroids of each layer, so that items keep their codes.

    Between equally good numberings, the one that leaves more numbers unchanged is chosen.

    Args:
        before: Integers, shape (n, layers): the published codes of items.
        after: Integers, shape (n, layers): their codes by the new tokenizer.
        codebook_size: Centroids per layer of the new tokenizer. Published codes beyond it count for
            nothing.

    Returns:
        int64, shape (layers, codebook_size): the new number of each centroid.
    """
    from scipy.optimize import linear_sum_assignment

    numbers = np.empty((before.shape[1], codebook_size), np.int64)
    agree = np.ones(len(before), bool)
    for layer, of_layer in enumerate(numbers):
        counted = agree & (before[:, layer] < codebook_size)
        weights = np.zeros((codebook_size, codebook_size))
        pairs = after[counted, layer], before[counted, layer]
        np.add.at(weights, pairs, codebook_size + 1)  # an item outweighs all unchanged numbers
        np.einsum("ii->i", weights)[:] += 1
        new, old = linear_sum_assignment(weights, maximize=True)
        of_layer[new] = old
        agree &= before[:, layer] == of_layer[after[:, layer]]
    return numbers


def with_numbers(centroids: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The centroids with new numbers.

    Args:
        centroids: float32, shape (layers, codebook_size, dim).
        numbers: int64, shape (layers, codebook_size): the new number of each centroid.
    """
    made = np.empty_like(centroids)
    for layer, of_layer in enumerate(numbers):
        made[layer, of_layer] = centroids[layer]
    return made
