"""The survey decides once where the vector of each item comes from."""

import itertools
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sid_assets.core.embeddings.sources import EMBED
from sid_assets.core.embeddings.survey import Survey, decide, survey_items
from sid_assets.core.inputs.vector_files import VectorFiles
from sid_assets.core.store.store import Store
from sid_assets_tests.core.drawn_vectors import (
    FakeEmbedder,
    commit_texts,
    draft_embeddings,
    embed,
    expected_vectors,
    item_texts,
    text_table,
    vectors_by_pid,
)

SPACE = FakeEmbedder().space
CATALOG = st.dictionaries(st.integers(0, 9), st.sampled_from("abc"), min_size=1)
NUMBERS = itertools.count()


def survey(store: Store, texts: dict, files: VectorFiles | None = None) -> Survey:
    return survey_items(store, "item_embeddings", text_table(texts).to_reader(), SPACE, files)


def leave_unfinished(store: Store, texts: dict) -> None:
    """Run over these texts and stop before the commit."""
    draft, *_ = draft_embeddings(store, commit_texts(store, texts), FakeEmbedder())
    draft.close()


def kinds(found: Survey) -> list[str]:
    """For each item, the kind of its source, or `embed`."""
    names = [*(source.kind for source in found.sources), "embed"]
    return [names[origin] for origin in found.origins]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    before=st.none() | CATALOG,
    unfinished=st.lists(CATALOG, max_size=2),
    vectors=st.none() | st.sets(st.integers(0, 9), min_size=1),
    now=CATALOG,
)
def test_all_items_are_decided_as_if_one_by_one(tmp_path_factory, before, unfinished, vectors, now):
    store = Store(f"memory://survey-{next(NUMBERS)}")
    if before:
        embed(store, before, FakeEmbedder())
    for texts in unfinished:
        leave_unfinished(store, texts)
    files = None
    if vectors:
        path = tmp_path_factory.mktemp("vectors") / "vectors.parquet"
        rows = [FakeEmbedder().vector("any") for _ in vectors]
        pq.write_table(pa.table({"pid": sorted(vectors), "embedding": rows}), path)
        files = VectorFiles(str(path))
    found = survey(store, now, files)

    def source_of(pid: int, text: str) -> str:
        if before and before.get(pid) == text:
            return "before"
        if pid in (vectors or ()) and pid not in (before or ()):
            return "adopted"
        if any(texts.get(pid) == text for texts in unfinished):
            return "unfinished"
        return "embed"

    expected = [source_of(pid, text) for pid, text in sorted(now.items())]
    assert kinds(found) == expected
    assert found.changes.unchanged == expected.count("before")
    assert found.adopted == expected.count("adopted")
    assert found.in_draft == expected.count("unfinished")
    assert found.texts == expected.count("embed")
    assert list(found.sample) == [
        text
        for (_, text), kind in zip(sorted(now.items()), expected, strict=True)
        if kind == "embed"
    ]
    assert found.not_lasting().tolist() == [kind in ("unfinished", "embed") for kind in expected]


def test_a_run_that_starts_afresh_reuses_nothing_from_the_previous_version():
    store = Store(f"memory://survey-{next(NUMBERS)}")
    embed(store, item_texts(range(5)), FakeEmbedder(model="other"))
    found = survey(store, item_texts(range(5)))
    assert kinds(found) == ["embed"] * 5
    assert "embedding space" in found.afresh
    assert found.changes.moved == 5


def test_an_item_whose_source_failed_is_decided_again_among_later_sources():
    store = Store(f"memory://survey-{next(NUMBERS)}")
    embed(store, item_texts(range(6)), FakeEmbedder())
    leave_unfinished(store, item_texts(range(3, 9)))
    now = item_texts(range(9))
    found = survey(store, now)
    assert found.origins.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1]
    (texts,) = text_table(now).to_batches()
    again = decide(texts, found.sources, found.origins, on_damage=print)
    assert again.tolist() == [EMBED] * 3 + [1] * 3 + [EMBED] * 3


@pytest.mark.parametrize("column", ["embedding", "vector_hash"])
def test_damage_found_when_vectors_are_read_falls_back_to_the_next_source(tmp_path, column):
    """The unfinished run has the vectors, so nothing is embedded."""
    store, texts = Store(tmp_path), item_texts(range(1500))  # two row groups
    first = embed(store, texts, FakeEmbedder())
    leave_unfinished(store, texts | {2000: "one more"})
    path = Path(first.version.paths[0].path)
    group = pq.read_metadata(path).row_group(1)
    (chunk,) = (
        group.column(number)
        for number in range(group.num_columns)
        if group.column(number).path_in_schema.split(".")[0] == column
    )
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 1
    path.write_bytes(content)
    embedder = FakeEmbedder()
    run = embed(store, texts, embedder)
    assert vectors_by_pid(run.version) == expected_vectors(texts, embedder)
    assert (run.progress.embedded, run.progress.reused) == (0, 1500)
    assert any("row group 1 is damaged" in warning for warning in run.warnings)


def test_vectors_of_which_no_item_has_the_id_are_told(tmp_path: Path) -> None:
    """Also if only leading zeros are lost; a refresh without new items says nothing."""
    store = Store(f"memory://survey-{next(NUMBERS)}")
    path = tmp_path / "vectors.parquet"
    vectors = [FakeEmbedder().vector("any")] * 2

    def warnings(pids: list, texts: dict) -> list[str]:
        pq.write_table(pa.table({"pid": pids, "embedding": vectors}), path)
        told: list[str] = []
        reader = text_table(texts).to_reader()
        survey_items(store, "item_embeddings", reader, SPACE, VectorFiles(str(path)), told.append)
        return told

    assert warnings(["x", "y"], {"a": "a"}) == [f"{path}: none of the 2 ids is that of an item."]
    (told,) = warnings(["7", "8"], {"007": "a", "x": "b"})
    assert told.startswith(f"{path}: none of the 2 ids is that of an item. One side has lost")
    assert "such as 7 here and 007 in the catalog" in told
    assert warnings(["7", "x"], {"007": "a", "x": "b"}) == []
    embed(store, {"a": "a"}, FakeEmbedder())
    assert warnings(["x", "y"], {"a": "a"}) == []
