"""Texts of real catalogs for the benchmarks."""

import random
import tempfile

from sid_assets.core.catalog.item_texts import CatalogSource, read_item_texts


def read_texts(catalog: str, template: str, items: int) -> list[str]:
    """The texts of a catalog; at most `items` of them, drawn with a seed."""
    with tempfile.TemporaryDirectory() as scratch:
        source = CatalogSource(catalog, template, on_bad_rows="drop")
        reader = read_item_texts(source, scratch_dir=scratch).reader
        texts = reader.read_all().column("text").to_pylist()
    if len(texts) > items:
        texts = random.Random(0).sample(texts, items)  # noqa: S311 - not for secrets
    return texts
