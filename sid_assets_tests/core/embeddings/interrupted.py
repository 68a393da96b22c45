"""Runs that fail halfway, damaged files, and counts of the work that was done."""

from collections import Counter
from pathlib import Path

from sid_assets.core.embeddings.survey import Survey, survey_items
from sid_assets.core.refresh import RefreshPolicy
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets_tests.core.drawn_vectors import (
    FakeEmbedder,
)

DENY = RefreshPolicy()


def work_of(embedder: FakeEmbedder, texts: dict) -> Counter:
    """How often each item's text was embedded, including calibration but not probes."""
    return Counter(text for text in embedder.embedded if text in set(texts.values()))


def flip_a_bit(path: Path, place: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


class FailingEmbedder(FakeEmbedder):
    """Raises when it gets a certain text."""

    def __init__(self, fails_at: str) -> None:
        super().__init__()
        self.fails_at = fails_at

    def embed(self, texts):
        if self.fails_at in texts and len(self.calls) > 2:  # not for probes and calibration
            raise ZeroDivisionError
        return super().embed(texts)


def survey_of(store: Store, texts: Version) -> Survey:
    rows = texts.stream(["pid", "text", "text_hash"])
    return survey_items(store, "item_embeddings", rows, FakeEmbedder().space)
