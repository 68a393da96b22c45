"""JSON files with a digest: what was written is read, or the damage is noticed."""

import json

import pytest
from upath import UPath

from sid_assets.core.store.sealed import read_sealed, write_sealed

FIELDS = {"text": "ä", "list": [1, 2.5, None, {"a": True}], "not a number": float("inf")}


def test_what_was_written_is_read(tmp_path):
    path = UPath(tmp_path, "file.json")
    write_sealed(path, FIELDS)
    assert read_sealed(path) == FIELDS


def test_a_file_without_a_digest_is_read(tmp_path):
    path = UPath(tmp_path, "file.json")
    path.write_text(json.dumps(FIELDS))
    assert read_sealed(path) == FIELDS


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", '"x"'])
def test_what_is_no_object_is_refused(tmp_path, text):
    path = UPath(tmp_path, "file.json")
    path.write_text(text)
    with pytest.raises(ValueError, match=r"JSON|Expecting|delimiter|Unterminated"):
        read_sealed(path)


def test_every_changed_character_is_noticed(tmp_path):
    path = UPath(tmp_path, "file.json")
    write_sealed(path, FIELDS)
    text = path.read_text()
    for place in range(len(text)):
        path.write_text(f"{text[:place]}~{text[place + 1 :]}")
        try:
            found = read_sealed(path)
        except ValueError:
            continue
        assert found["digest" if "digest" in found else "text"] == "ä" or len(found) == 4
