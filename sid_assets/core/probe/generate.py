"""What the decoder recommends: the words with the largest probability, by beam search."""

from typing import TYPE_CHECKING

import numpy as np

from sid_assets.core.probe.decoder import code_logits
from sid_assets.core.probe.rows import Lists
from sid_assets.core.probe.words import START, Spelling, Tree

if TYPE_CHECKING:
    import torch
    import transformers

BEAMS = 20
ROWS_AT_ONCE = 256


def recommend(
    decoder: "transformers.Qwen3ForCausalLM",
    spelling: Spelling,
    tree: Tree,
    histories: Lists,
    beams: int = BEAMS,
) -> np.ndarray:
    """The words that follow histories with the largest probability.

    Each step keeps the most probable prefixes among those that the tree has.

    Args:
        decoder: The trained decoder.
        spelling: How it spells items.
        tree: The words of the catalog.
        histories: What users did, the earliest first.
        beams: How many words to find.

    Returns:
        Integers (n, beams): positions in the tree's words, the most probable first; -1 where there
        are not as many.
    """
    import torch

    found = np.full((len(histories.lengths), beams), -1)
    tokens = spelling.tokens()
    device = decoder.device
    decoder.eval()
    with torch.inference_mode():
        # Rows of one length need no padding, so a row's result does not depend on its neighbours.
        for length in np.unique(histories.lengths):
            rows = np.flatnonzero(histories.lengths == length)
            for some in np.array_split(rows, -(-len(rows) // ROWS_AT_ONCE)):
                words = tokens[histories.take(some).items].reshape(len(some), -1)
                start = np.full((len(some), 1), START)
                prompts = torch.from_numpy(np.hstack([start, words]).astype(np.int64))
                found[some] = _search(decoder, spelling, tree, prompts.to(device), beams)
    return found


def _search(
    decoder: "transformers.Qwen3ForCausalLM",
    spelling: Spelling,
    tree: Tree,
    prompts: "torch.Tensor",
    beams: int,
) -> np.ndarray:
    import torch

    out = decoder.model(prompts, use_cache=True)
    hidden, cache = out.last_hidden_state[:, -1:], out.past_key_values
    count, device = len(prompts), prompts.device
    scores = torch.zeros((count, 1), device=device)
    prefixes = np.zeros((count, 1, 0), np.int64)
    for place in range(spelling.depth):
        logits = code_logits(decoder, hidden.flatten(0, 1), spelling, place).log_softmax(1)
        allowed = torch.full_like(logits, -torch.inf)
        if prefixes.shape[2]:
            rows, codes = tree.following(prefixes.reshape(-1, place))
        else:  # all rows begin alike
            _, codes = tree.following(prefixes[0])
            rows, codes = np.repeat(np.arange(count), len(codes)), np.tile(codes, count)
        at = torch.from_numpy(rows).to(device), torch.from_numpy(codes).to(device)
        allowed[at] = logits[at]
        width = allowed.shape[1]
        total = (scores.reshape(-1, 1) + allowed).reshape(count, -1)
        best = total.topk(min(beams, total.shape[1]))
        earlier, scores = scores.shape[1], best.values
        parents, chosen = (best.indices // width).cpu().numpy(), (best.indices % width)
        before = np.take_along_axis(prefixes, parents[:, :, None], axis=1)
        prefixes = np.concatenate([before, chosen.cpu().numpy()[:, :, None]], axis=2)
        if place + 1 == spelling.depth:
            break
        # A prefix with no probability leads nowhere; any node stands in for it.
        dead = torch.isinf(scores).cpu().numpy()
        prefixes[dead] = tree.words[0, : place + 1]
        flat = parents + np.arange(count)[:, None] * earlier
        cache.reorder_cache(torch.from_numpy(flat.reshape(-1)).to(device))
        following = torch.from_numpy(prefixes[:, :, -1] + spelling.starts[place]).to(device)
        step = decoder.model(following.reshape(-1, 1), past_key_values=cache, use_cache=True)
        hidden = step.last_hidden_state.reshape(count, -1, step.last_hidden_state.shape[-1])
    usable = torch.isfinite(scores).cpu().numpy()
    words = np.full((count, beams), -1)
    words[:, : usable.shape[1]][usable] = tree.find(prefixes[usable])
    return words
