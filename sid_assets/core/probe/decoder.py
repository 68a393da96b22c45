"""The decoder: a Qwen3 model of a few hundred thousand parameters, with random weights."""

from typing import TYPE_CHECKING

from sid_assets.core.probe.rows import MOST_HISTORY
from sid_assets.core.probe.words import PAD, START, Spelling

if TYPE_CHECKING:
    import torch
    import transformers

WIDTH = 128
LAYERS = 2
HEADS = 4
INNER_WIDTH = 256
MOST_TARGETS = 10


def new_decoder(
    spelling: Spelling, seed: int, device: str = "cpu"
) -> "transformers.Qwen3ForCausalLM":
    """A decoder whose vocabulary is the codes of a spelling, and two tokens that are no code.

    Args:
        spelling: The words of the items.
        seed: The weights follow from it, whatever the device.
        device: Where it computes.
    """
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=spelling.vocabulary_size,
        hidden_size=WIDTH,
        intermediate_size=INNER_WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=WIDTH // HEADS,
        max_position_embeddings=1 + (MOST_HISTORY + MOST_TARGETS) * spelling.depth,
        attention_dropout=0.1,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=START,
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = Qwen3ForCausalLM(config)
    torch.nn.Module.to(decoder, torch.device(device))
    return decoder


def code_logits(
    decoder: "transformers.Qwen3ForCausalLM", hidden: "torch.Tensor", spelling: Spelling, place: int
) -> "torch.Tensor":
    """Logits of the codes that may stand at one place of a word.

    Args:
        decoder: The decoder.
        hidden: Floats (n, WIDTH): its last hidden state at the token before.
        spelling: The words of the items.
        place: The place, from 0.

    Returns:
        Floats (n, sizes[place]).
    """
    start = spelling.starts[place]
    codes = decoder.lm_head.weight[start : start + spelling.sizes[place]]
    return hidden @ codes.T
