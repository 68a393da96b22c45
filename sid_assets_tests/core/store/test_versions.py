"""Versions: what a manifest says, and what is read from the files it names."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from sid_assets.core.errors import InputError, StoreError
from sid_assets.core.store import versions
from sid_assets.core.store.parts import PartWriter
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.write import draft_file
from sid_assets_tests.core.store.drafts import COLUMNS, commit


def test_the_version_names_the_content(store):
    one, other, again = commit(store, [1]), commit(store, [2]), commit(store, [1])
    assert one.provenance.version == again.provenance.version != other.provenance.version


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"parts": 1}'])
def test_a_damaged_manifest_says_what_to_do(store, damage):
    version = commit(store, [1])
    (version.folder / versions.MANIFEST).write_text(damage)
    message = r"_manifest\.json: is damaged or missing .* leave the others .* move .*t to a place"
    with pytest.raises(StoreError, match=message):
        store.current("t")


def test_a_newer_format_is_refused(local):
    version = commit(local, [1])
    manifest = version.folder / versions.MANIFEST
    fields = json.loads(manifest.read_text())
    fields["provenance"]["format_version"] = 99
    manifest.write_text(json.dumps(fields))
    with pytest.raises(InputError, match=r"written in format 99.*Update sid_assets"):
        local.current("t")


def test_other_columns_in_one_part_are_reported(local):
    wider = pa.schema([*COLUMNS, ("n", pa.int64())])
    parts = []
    with local.draft("t") as draft:
        draft.begin()
        for name, columns in (("part-0.parquet", wider), ("part-1.parquet", COLUMNS)):
            with PartWriter(draft.folder / name, columns) as writer:
                start = 10 * len(parts)
                values = [[start + 1]] * len(columns)
                writer.write(pa.table(values, schema=columns))
            parts.append(writer.part)
        draft.finish(parts, Provenance("t"))
    local.commit(draft)
    with pytest.raises(StoreError, match=r"part-1\.parquet: the columns differ from the table's"):
        local.require("t").stream().read_all()


def test_a_file_without_rows_is_loaded_from_a_local_path(store):
    def save(path: Path) -> None:
        path.write_bytes(b"five arrays")

    version = store.commit(
        draft_file(store, "goods/sid_prefixes", save, Provenance("goods/sid_prefixes"))
    )
    assert version.load_file(Path.read_bytes) == b"five arrays"
    assert (version.rows, version.bytes) == (0, 11)
    assert store.path("goods/sid_prefixes").name == "sid_prefixes.safetensors"


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".", 1, None])
@pytest.mark.parametrize("field", ["name", "folder"])
def test_a_manifest_cannot_name_files_outside_the_folders_of_versions(local, field, name):
    manifest = commit(local, [1]).folder / versions.MANIFEST
    fields = json.loads(manifest.read_text())
    fields["parts"][0][field] = name
    manifest.write_text(json.dumps(fields))
    with pytest.raises(StoreError, match=r"_manifest\.json: "):
        local.current("t")
