"""Every way of writing a template that the docs show gives the same texts."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from sid_assets.assets.catalog import texts_provenance
from sid_assets.assets.domains import ITEMS
from sid_assets.core.catalog.item_texts import CatalogSource, read_item_texts
from sid_assets.core.errors import InputError
from sid_assets.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "catalog.md").read_text("utf-8")
README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
SHELL = re.findall(r"^export SID_TEXT_TEMPLATE=.*", PAGE, re.M)
ENV_FILE = re.findall(r"^SID_TEXT_TEMPLATE=.*", PAGE + README, re.M)
LAUNCHPAD = re.findall(r"^resources: .*text_template.*", PAGE, re.M)


def texts(folder: Path, settings: Settings) -> list[str]:
    """The texts of two items, read with the template of the settings."""
    (folder / "items.csv").write_text(
        "pid,title,brand,description\n1,mug,Acme,\n2,pen,,\n", encoding="utf-8"
    )
    source = CatalogSource(str(folder / "items.csv"), settings.text_template)
    (folder / "scratch").mkdir()
    read = read_item_texts(source, scratch_dir=folder / "scratch")
    return read.reader.read_all()["text"].to_pylist()


RIGHT = ["Title: mug\nBrand: Acme", "Title: pen"]


def test_the_docs_show_every_way() -> None:
    assert [len(ways) for ways in (ENV_FILE, SHELL, LAUNCHPAD)] == [4, 4, 2]
    first_characters = {line.partition("=")[2][0] for line in ENV_FILE}
    assert first_characters == {"T", "'", '"'}
    assert {line.partition("=")[2][:2] for line in SHELL} == {"'T", '"T', "$'"}


@pytest.mark.parametrize("line", ENV_FILE)
@pytest.mark.parametrize("start", ["", "export "])
def test_a_line_in_dotenv(
    line: str, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(f"SID_SEED=1\n{start}{line}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert texts(tmp_path, Settings.from_environment()) == RIGHT


def test_the_lines_in_a_shell(tmp_path: Path) -> None:
    """Bash runs them; each is followed by a program that prints what it was given."""
    program = 'import json, os; print(json.dumps(os.environ["SID_TEXT_TEMPLATE"]))'
    show = f"{sys.executable} -c '{program}'"
    script = "\n".join(f"{line}\n{show}" for line in SHELL)
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    given = list(map(json.loads, ran.stdout.splitlines()))
    assert len(given) == len(SHELL)
    for number, template in enumerate(given):
        (tmp_path / str(number)).mkdir()
        settings = Settings.from_environment({"SID_TEXT_TEMPLATE": template})
        assert texts(tmp_path / str(number), settings) == RIGHT


@pytest.mark.parametrize("line", LAUNCHPAD)
def test_run_config_as_the_launchpad_sends_it(line: str, tmp_path: Path) -> None:
    seen: list[Any] = []

    @dg.asset
    def look(settings: Settings) -> None:
        seen.extend(texts(tmp_path, settings))

    dg.materialize(
        [look],
        resources={"settings": Settings.from_environment({})},
        run_config=yaml.safe_load(line),
    )
    assert seen == RIGHT


def test_the_shells_quotation_marks_in_dotenv_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("export SID_TEXT_TEMPLATE=$'Title: {title}\\nBrand: {brand}'\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"SID_TEXT_TEMPLATE begins with \$', which only a shell"):
        Settings.from_environment()


def test_a_template_with_new_lines_is_recorded_as_it_was_given(tmp_path: Path) -> None:
    """A data folder of an earlier version has the same provenance, byte for byte."""
    (tmp_path / "items.csv").write_text("pid,title,brand\n1,mug,Acme\n")
    for template in ("Title: {title}\nBrand: {brand}", r"Title: {title}\nBrand: {brand}"):
        settings = Settings.from_environment({"SID_TEXT_TEMPLATE": template})
        source = CatalogSource(str(tmp_path / "items.csv"), template)
        with tempfile.TemporaryDirectory() as scratch:
            read = read_item_texts(source, scratch_dir=scratch)
            assert texts_provenance(settings, ITEMS, read).details["template"] == template
