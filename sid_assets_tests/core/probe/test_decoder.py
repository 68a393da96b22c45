"""The decoder: its size, its seed, and the logits of the codes of one place."""

import numpy as np
import torch

from sid_assets.core.probe.decoder import code_logits, new_decoder
from sid_assets.core.probe.words import START, Spelling

SPELLING = Spelling.of_sids(np.random.default_rng(0).integers(0, 256, (2_000, 3)))


def weights(decoder) -> list[np.ndarray]:
    return [value.detach().numpy() for value in decoder.parameters()]


def test_it_has_a_few_hundred_thousand_parameters_and_no_token_but_codes():
    decoder = new_decoder(SPELLING, seed=0)
    assert 200_000 < sum(value.numel() for value in decoder.parameters()) < 600_000
    assert decoder.lm_head.weight.shape[0] == 2 + 3 * 256


def test_weights_follow_from_the_seed_and_leave_the_callers_draws_alone():
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    first = weights(new_decoder(SPELLING, seed=0))
    assert torch.equal(torch.rand(3), wanted)
    again, other = (weights(new_decoder(SPELLING, seed=seed)) for seed in (0, 1))
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(np.array_equal(one, two) for one, two in zip(first, other, strict=True))


def test_logits_of_a_place_are_those_of_its_codes():
    decoder = new_decoder(SPELLING, seed=0).eval()
    tokens = torch.tensor([[START, *SPELLING.tokens()[5].tolist()]])
    with torch.inference_mode():
        everything = decoder(tokens).logits[0]
        hidden = decoder.model(tokens).last_hidden_state[0]
        for place, (start, size) in enumerate(zip(SPELLING.starts, SPELLING.sizes, strict=True)):
            found = code_logits(decoder, hidden, SPELLING, place)
            assert torch.allclose(found, everything[:, start : start + size], atol=1e-5)
