"""Every JSON file of a data folder, damaged in many ways: an error names the file, or all is right.

The remedy in the error must not lose anything: the damaged folder is only read here.
"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from upath import UPath

from sid_assets.core.errors import SidAssetsError
from sid_assets.core.store.chunks import Chunk, Say, run_chunks
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.places import remove_folder
from sid_assets.core.store.provenance import EmbeddingSpace, Provenance
from sid_assets.core.store.store import Store
from sid_assets.purge import purge

COLUMNS = pa.schema([pa.field("pid", pa.int64(), nullable=False)])
REPLACEMENTS = ([], {}, None, 0, "", "../x")
TABLE = "codes"


class _Counts:
    """The summary of a chunk."""

    def __init__(self, rows: int = 0) -> None:
        self.rows = rows


def _work(chunk: Chunk, say: Say) -> tuple[list[pa.RecordBatch], _Counts]:
    pids = range(chunk.first_pid, chunk.first_pid + chunk.rows)
    return [pa.record_batch([pids], schema=COLUMNS)], _Counts(chunk.rows)


def _draft(store: Store, first: int, key: str) -> Draft:
    """A finished draft of one part."""
    provenance = Provenance(TABLE, inputs={"item_embeddings": "v1"}, space=_SPACE, tokenizer="t")
    with store.draft(TABLE) as draft:
        draft.begin(key, lambda: {"chunks": [1, 2], "space": "s"})
        chunks = [Chunk(0, 5, first, first + 4)]
        done = run_chunks(draft, chunks, COLUMNS, _work, lambda *told: None, _Counts)
        draft.finish(done, provenance)
    return draft


_SPACE = EmbeddingSpace("hashing", "words")


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path: Path) -> Store:
    """Two versions of a table, and a draft that a run left."""
    store = Store(tmp_path / "data" if request.param == "local" else f"memory://{tmp_path.name}")
    for first in (1, 11):
        store.commit(_draft(store, first, ""))
    _draft(store, 21, "key").close()
    return store


def _looked_at(store: Store) -> tuple[Any, ...]:
    """What a reader, `sid-assets purge` and the next run find; damage they have to notice."""
    version = store.require(TABLE)
    previous = version.previous()
    assert previous
    rows = [one.stream().read_all()["pid"].to_pylist() for one in (version, previous)]
    purge(store, remove=False)
    provenance = version.provenance
    return (*rows, version.bytes, version.pid_type, version.created, provenance, store.tables())


def _resumed(store: Store) -> list[int]:
    """The rows of a run that resumes the draft."""
    draft = _draft(store, 21, "key")
    draft.close()
    return draft.as_version().stream().read_all()["pid"].to_pylist()


def _files(store: Store) -> list[UPath]:
    return sorted(store.root.rglob("*.json"), key=str)


def _damaged(value: Any) -> Iterator[Any]:
    """The value with each value in it, and the whole, replaced or removed."""
    yield from (replacement for replacement in REPLACEMENTS if replacement != value)
    if not isinstance(value, dict | list):
        return
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        changed = copy.deepcopy(value)
        for inner in _damaged(value[key]):
            changed[key] = inner
            yield changed
        if key != "digest":  # without it, the file looks like one of the version before
            del changed[key]
            yield changed


def test_readers_notice_every_damage(store):
    right, tried = _looked_at(store), 0
    for path in _files(store):
        whole = path.read_text()
        for damaged in _damaged(json.loads(whole)):
            path.write_text(json.dumps(damaged))
            tried += 1
            try:
                assert _looked_at(store) == right, (path, damaged)
            except SidAssetsError as error:
                if str(path) not in str(error):
                    raise
        path.write_text(whole)
    assert tried > 300


def test_a_run_resumes_or_begins_anew(store):
    folder = store.unfinished(TABLE)[0].folder
    kept = {path.name for path in folder.parent.iterdir()}
    for path in [path for path in _files(store) if path.parent == folder]:
        whole = path.read_text()
        for damaged in _damaged(json.loads(whole)):
            path.write_text(json.dumps(damaged))
            assert _resumed(store) == [21, 22, 23, 24, 25], (path, damaged)
            path.write_text(whole)
            for other in [other for other in folder.parent.iterdir() if other.name not in kept]:
                remove_folder(other)


def test_manifests_of_the_version_before_have_no_digest(store):
    """Types and names are still checked."""
    path = store.require(TABLE).folder / "_manifest.json"
    fields = json.loads(path.read_text())
    del fields["digest"]
    path.write_text(json.dumps(fields))
    right = _looked_at(store)
    wrong = (
        {"parts": []},
        {"parts": [{**fields["parts"][0], "name": "../x.parquet"}]},
        {"parts": [{**fields["parts"][0], "rows": "3"}]},
        {"before": "../.."},
        {"created": 7},
        {"provenance": []},
        {"provenance": {**fields["provenance"], "space": {}}},
        {"provenance": {**fields["provenance"], "inputs": {"item_embeddings": None}}},
    )
    for change in wrong:
        path.write_text(json.dumps(fields | change))
        with pytest.raises(SidAssetsError, match=r"_manifest\.json: is damaged"):
            store.current(TABLE)
    path.write_text(json.dumps(fields))
    assert _looked_at(store) == right


@pytest.mark.parametrize("target", ["..", "../..", "/", "../pid2sid/20200101T000000-00000000", "x"])
def test_current_that_points_elsewhere(tmp_path, target):
    store = Store(tmp_path)
    version = store.commit(_draft(store, 1, ""))
    link = tmp_path / ".versions" / TABLE / "current"
    link.unlink()
    link.symlink_to(target)
    with pytest.raises(SidAssetsError) as caught:
        store.current(TABLE)
    assert f"{link}: is damaged" in str(caught.value)
    assert f"ln -sfn {version.folder.name} {link}" in str(caught.value)
    assert "move" not in str(caught.value)
    with pytest.raises(SidAssetsError):
        store.commit(_draft(store, 1, ""))
    link.unlink()
    link.symlink_to(version.folder.name)
    assert store.current(TABLE) == version


def test_a_data_folder_that_was_copied_without_its_symlinks(tmp_path):
    store = Store(tmp_path)
    version = store.commit(_draft(store, 1, ""))
    link = tmp_path / ".versions" / TABLE / "current"
    visible = tmp_path / f"{TABLE}.parquet"
    for one in (visible, link):
        one.unlink()
        one.mkdir()
        with pytest.raises(SidAssetsError, match=r"copy it again with its symlinks"):
            store.current(TABLE)
        if one == visible:
            one.rmdir()
    with pytest.raises(SidAssetsError, match=r"copy it again with its symlinks"):
        store.commit(_draft(store, 1, ""))
    assert version.stream().read_all().num_rows == 5
