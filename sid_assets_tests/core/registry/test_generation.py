"""The id of a generation: the same for the same making, another for any difference."""

from dataclasses import replace

import pytest

from sid_assets.core.registry.generation import Generation
from sid_assets.core.store.provenance import EmbeddingSpace

ONE = Generation(EmbeddingSpace("qwen3", "Qwen/Qwen3-Embedding-8B"), "t" * 64, "{title}", 2)


def test_a_return_to_earlier_settings_is_the_same_generation():
    assert replace(ONE, template="{brand}").id != ONE.id
    assert replace(replace(ONE, template="{brand}"), template="{title}").id == ONE.id


@pytest.mark.parametrize(
    "change",
    [
        {"space": EmbeddingSpace("qwen3", "Qwen/Qwen3-Embedding-8B", revision="main")},
        {"tokenizer": "u" * 64},
        {"template": "{title}\n"},
        {"rules": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_difference_is_another_generation(change):
    assert replace(ONE, **change).id != ONE.id
