"""Variables of the environment and of a file `.env` in the working folder."""

import pytest

from sid_assets.core.environment import merged_environment
from sid_assets.core.errors import InputError


def test_the_environment_wins_over_the_file(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("A_VARIABLE=of the file\nANOTHER='two words'\nEMPTY=\nNONE\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_VARIABLE", "of the environment")
    merged = merged_environment()
    assert merged["A_VARIABLE"] == "of the environment"
    assert (merged["ANOTHER"], merged["EMPTY"]) == ("two words", "")
    assert "NONE" not in merged


def test_without_a_file_there_is_the_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_VARIABLE", "x")
    assert merged_environment()["A_VARIABLE"] == "x"


def test_a_file_that_is_not_text_is_refused(tmp_path, monkeypatch):
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"\.env: not UTF-8 text"):
        merged_environment()
