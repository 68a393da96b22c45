"""Variables of the environment and of a file `.env` in the working folder."""

import pytest

from sid_assets.core.environment import merged_environment, refuse_shell_quotes
from sid_assets.core.errors import InputError


def test_the_file_wins_over_the_environment_as_in_dagsters_commands(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("A_VARIABLE=of the file\nANOTHER='two words'\nEMPTY=\nNONE\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_VARIABLE", "of the environment")
    merged = merged_environment()
    assert merged["A_VARIABLE"] == "of the file"
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


@pytest.mark.parametrize(
    ("text", "line"), [("A=1\nnot a setting\n", 2), ("\n\nA='sesame\n", 3), ("A=1\n= 2\n", 2)]
)
def test_a_line_that_cannot_be_parsed_is_named_without_its_content(
    tmp_path, monkeypatch, text, line
):
    (tmp_path / ".env").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"\.env, line {line}: cannot be parsed") as refused:
        merged_environment()
    assert "sesame" not in str(refused.value)


def test_references_are_replaced_and_those_to_nothing_stay(tmp_path, monkeypatch):
    lines = (
        "ROOT=/data",
        "A_FOLDER=${ROOT}/${OF_THE_SHELL}/x",
        "A_TEMPLATE='Price: ${no_such_price}'",
        "WITH_DEFAULT=${NO_SUCH_VARIABLE:-y}",
    )
    (tmp_path / ".env").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OF_THE_SHELL", "s")
    monkeypatch.setenv("ROOT", "another")
    merged = merged_environment()
    assert merged["A_FOLDER"] == "/data/s/x"
    assert merged["A_TEMPLATE"] == "Price: ${no_such_price}"
    assert merged["WITH_DEFAULT"] == "y"


@pytest.mark.parametrize("value", ["$'sesame\\n'", '$"sesame"'])
def test_quotation_marks_of_the_shell_are_refused_without_the_value(value):
    with pytest.raises(InputError) as refused:
        refuse_shell_quotes("SID_X", value)
    assert f"SID_X begins with {value[:2]}, which only a shell reads" in str(refused.value)
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize("value", ["", "$", "$HOME/x", "'$'", "x$'y'"])
def test_other_values_with_a_dollar_are_accepted(value):
    refuse_shell_quotes("SID_X", value)
