"""The folder of a version is not read as input if some of its parts are in other folders."""

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

import sid_assets
from sid_assets.core.embeddings import cuts
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.vector_files import VectorFiles
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets_tests.core.drawn_vectors import FakeEmbedder, embed, item_texts


@pytest.fixture
def version_on_an_object_store(tmp_path, monkeypatch) -> Version:
    """A version of vectors in four parts, three of which are in the folder of another version."""
    monkeypatch.setattr(cuts, "CHUNK_ROWS", 7)
    store = Store(f"memory://{tmp_path.name}")
    embed(store, item_texts(range(20)), FakeEmbedder())
    return embed(store, item_texts(range(25)), FakeEmbedder()).version


@pytest.mark.parametrize("pattern", ["", "/*.parquet"])
def test_a_version_with_parts_in_other_folders_is_not_read_in_part(
    version_on_an_object_store, pattern
):
    folder = str(version_on_an_object_store.folder)
    with pytest.raises(InputError, match="3 of its 4 parts are in the folders of earlier versions"):
        _ = VectorFiles(folder + pattern).rows


def test_it_can_be_written_to_a_folder_of_its_own(version_on_an_object_store, tmp_path):
    data = sid_assets.load(str(version_on_an_object_store.folder.parent.parent.parent))
    rows = data["item_embeddings"].to_dataset()
    pads.write_dataset(rows, tmp_path / "vectors", format="parquet")
    assert VectorFiles(str(tmp_path / "vectors")).rows == 25


def test_a_manifest_of_another_program_is_no_obstacle(tmp_path):
    rows = pa.table({"pid": [1, 2], "embedding": [[1.0, 0.0], [0.0, 1.0]]})
    pq.write_table(rows, tmp_path / "part-0.parquet")
    (tmp_path / "_manifest.json").write_text("[1]")
    assert VectorFiles(str(tmp_path), width=2).rows == 2
