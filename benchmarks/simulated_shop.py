"""A simulated shop of any size: a catalog, a log of events, and captions.

Items have a topic, from which most of their words are drawn, so that vectors have clusters as those
of real texts. There are three events and one caption an item, and a user for every ten items.
Everything is drawn from one seed; a larger shop is not an extension of a smaller one.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WORDS = 20_000
TOPICS = 500
WORDS_PER_TOPIC = 60
TITLE_WORDS = 4
DESCRIPTION_WORDS = 24
SHARE_OF_TOPIC = 0.7
"""Words of a description that are of its topic; the others are of all words."""

EVENTS_PER_ITEM = 3
ITEMS_PER_USER = 10
SITTINGS = 8
"""Sittings of a user, days apart; events of one are seconds apart."""

START = 1_704_067_200
DAY = 86_400
ROWS = 50_000
"""Items that are drawn at once."""

SYLLABLES = np.array([c + v for c in "bdfgklmnprst" for v in ("a", "e", "i", "o", "u", "ai")])


@dataclass(frozen=True)
class Shop:
    """The files of a shop.

    Attributes:
        catalog: Items: `pid`, `title`, `description`, `category`.
        events: Events: `user_id`, `item_id`, `timestamp`, `watched`, `liked`.
        captions: Captions: `pid`, `dense_caption`.
    """

    catalog: Path
    events: Path
    captions: Path

    def settings(self) -> dict[str, str]:
        """The environment variables that make the graph use these files."""
        return {
            "SID_CATALOG": str(self.catalog),
            "SID_EVENTS": str(self.events),
            "SID_EVENT_LABELS": "longview: watched >= 70; like: liked == 1",
            "SID_EVENT_KEYWORDS": "category",
            "SID_CAPTIONS": str(self.captions),
        }


def make_shop(folder: Path, items: int, seed: int = 0) -> Shop:
    """Write the files of a shop with pids from 1 to `items`."""
    shop = Shop(*(folder / f"{name}.parquet" for name in ("catalog", "events", "captions")))
    rng = np.random.default_rng(seed)
    _write_items(shop, items, rng)
    _write_events(shop.events, items, rng)
    return shop


def _write_items(shop: Shop, items: int, rng: np.random.Generator) -> None:
    words = _words(rng)
    topics = rng.integers(0, WORDS, (TOPICS, WORDS_PER_TOPIC))
    catalog = pa.schema(
        [("pid", pa.int64())] + [(n, pa.string()) for n in ("title", "description", "category")]
    )
    captions = pa.schema([("pid", pa.int64()), ("dense_caption", pa.string())])
    with (
        pq.ParquetWriter(shop.catalog, catalog) as to_catalog,
        pq.ParquetWriter(shop.captions, captions) as to_captions,
    ):
        for start in range(0, items, ROWS):
            count = min(ROWS, items - start)
            pids = pa.array(np.arange(start + 1, start + count + 1))
            topic = rng.integers(0, TOPICS, count)
            title = _texts(words, topics[topic], TITLE_WORDS, rng)
            text = _texts(words, topics[topic], DESCRIPTION_WORDS, rng)
            category = pa.array([f"topic {number}" for number in topic])
            to_catalog.write_batch(pa.record_batch([pids, title, text, category], schema=catalog))
            to_captions.write_batch(pa.record_batch([pids, text], schema=captions))


def _texts(
    words: np.ndarray, of_topic: np.ndarray, length: int, rng: np.random.Generator
) -> pa.Array:
    """A text of `length` words for each row of `of_topic`, the words of its topic."""
    count = len(of_topic)
    drawn = np.take_along_axis(of_topic, rng.integers(0, WORDS_PER_TOPIC, (count, length)), axis=1)
    # Squared, so that some of the other words are frequent.
    others = (rng.random((count, length)) ** 2 * WORDS).astype(np.int64)
    drawn = np.where(rng.random((count, length)) < SHARE_OF_TOPIC, drawn, others)
    return pa.array([" ".join(row) for row in words[drawn].tolist()])


def _words(rng: np.random.Generator) -> np.ndarray:
    """Distinct words: the syllables of a number in base 72."""
    base = len(SYLLABLES)
    numbers = rng.permutation(base**3)[:WORDS]
    parts = [SYLLABLES[numbers // base**place % base] for place in range(3)]
    return np.array(["".join(syllables) for syllables in zip(*parts, strict=True)], object)


def _write_events(path: Path, items: int, rng: np.random.Generator) -> None:
    events, users = items * EVENTS_PER_ITEM, max(20, items // ITEMS_PER_USER)
    user = np.sort(rng.integers(0, users, events))
    sitting = rng.integers(0, SITTINGS, events)
    time = START + sitting * 9 * DAY + user % DAY + rng.integers(0, 1_200, events)
    table = pa.table(
        {
            "user_id": user + 1,
            # Squared: some items are popular.
            "item_id": (rng.random(events) ** 2 * items).astype(np.int64) + 1,
            "timestamp": time,
            "watched": rng.integers(1, 101, events),
            "liked": rng.integers(0, 2, events),
        }
    )
    pq.write_table(table.take(np.argsort(time, kind="stable")), path)
