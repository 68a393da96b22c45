"""README and docs: what they name exists, what they show runs, the site loads nothing external."""

import importlib
import io
import json
import re
import subprocess
from pathlib import Path

import dagster as dg
import dotenv
import mkdocs.commands.build
import mkdocs.config
import numpy as np
import pandas as pd
import pytest

from sid_assets.core.catalog.template import parse_template
from sid_assets.core.embedders.qwen3 import MAX_LENGTH, MODEL
from sid_assets.core.embeddings.adopt import declared_space
from sid_assets.core.store.provenance import EmbeddingSpace
from sid_assets.core.training.prompts import load_prompts
from sid_assets.definitions import definitions, defs
from sid_assets.settings import Settings, variable
from sid_assets.variables import NO_SETTINGS, SECRETS
from tools.file_map import FOLDERS, PAGE, file_map, with_file_map

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text("utf-8") for page in PAGES}
ALL = "\n".join(TEXTS.values())

GRAPH = definitions(Settings.from_environment({"SID_GOODS_CATALOG": "goods.parquet"}))
ASSETS = {key.to_user_string() for key in GRAPH.resolve_asset_graph().get_all_asset_keys()}
CHECKS = {key.name for key in GRAPH.resolve_asset_graph().asset_check_keys}


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def prose(text: str) -> str:
    """The text without fenced blocks."""
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def first_cells(header: str) -> set[str]:
    """The names in the first column of all tables whose first column has this header."""
    names = set()
    for table in re.findall(rf"^\| {header} \|.*\n\|[-|]+\n((?:\|.*\n?)+)", ALL, flags=re.M):
        for row in table.splitlines():
            names |= set(re.findall(r"`([^`]+)`", row.split("|")[1]))
    return names


def test_the_readme_is_short():
    assert 120 <= len(TEXTS["README.md"].splitlines()) <= 160


@pytest.mark.parametrize("page", TEXTS)
def test_links_and_images_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(TEXTS[page]))
    local = [target.split("#")[0] for target in targets if "://" not in target]
    folder = (ROOT / page).parent
    missing = [target for target in local if target and not (folder / target).exists()]
    assert missing == []


def test_every_page_is_in_the_readmes_map_and_in_the_sites_navigation():
    pages = {Path(page).name for page in TEXTS if page.startswith("docs/")} - {"index.md"}
    linked = set(re.findall(r"\(docs/(\w+\.md)\)", TEXTS["README.md"]))
    navigation = set(re.findall(r"^ {2}- .*: (\w+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    assert linked == pages
    assert navigation == pages | {"index.md"}


def test_settings_that_are_named_exist():
    known = {variable(name) for name in Settings.model_fields} | NO_SETTINGS | {*SECRETS}
    assert set(re.findall(r"\bSID_[A-Z_]*[A-Z]\b", ALL)) <= known


def test_assets_that_are_named_exist_and_all_are_named():
    named = first_cells("asset") | set(re.findall(r"`((?:goods/)?\w+_dataset)`", ALL))
    named -= {"..._dataset"}
    items = {name for name in ASSETS if not name.startswith("goods/")}
    assert named <= ASSETS
    assert items <= named


def test_selections_select_something():
    graph = GRAPH.resolve_asset_graph()
    selections = set(re.findall(r"--select '([^']+)'", ALL))
    assert {"*", "codes*"} < selections
    for selection in selections:  # taken apart as `dagster asset materialize` does
        assert dg.AssetSelection.from_coercible(selection.split(",")).resolve(graph)


def test_checks_that_are_named_exist():
    named = re.findall(r"\bchecks? ((?:`\w+`(?:, | and )?)+)", ALL)
    names = {name for listed in named for name in re.findall(r"\w+", listed)} - {"and"}
    assert {"unmoved", "coverage"} <= names <= CHECKS


def test_what_the_schedule_page_names_exists():
    repository = definitions(Settings(automation="conditions")).get_repository_def()
    automation = {
        *(job.name for job in repository.get_all_jobs()),
        *(schedule.name for schedule in repository.schedule_defs),
        *(sensor.name for sensor in repository.sensor_defs),
    }
    named = set(re.findall(r"`((?:refresh_|end_runs_|post_)\w+)`", TEXTS["docs/operations.md"]))
    assert named
    assert named <= automation


def test_make_targets_that_are_named_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)\b", ALL, flags=re.MULTILINE))
    assert {"demo", "ui", "test"} <= named <= targets


def test_commands_that_are_named_exist():
    main = importlib.import_module("sid_assets.cli").main
    named = set(re.findall(r"\bsid-assets ([a-z]+)\b", ALL))
    assert {"demo", "init", "plan", "show", "purge", "quantise"} <= named
    assert named <= set(main.commands)


def test_modules_and_files_that_are_named_exist():
    modules = set(re.findall(r"python -m ((?:sid_assets|benchmarks)\.[\w.]*\w)", ALL))
    paths = set(re.findall(r"`(?:python )?((?:sid_assets\w*|benchmarks|tools)/[\w/]+\.\w+)`", ALL))
    wanted = [module.replace(".", "/") + ".py" for module in modules] + sorted(paths)
    assert [path for path in wanted if not (ROOT / path).exists()] == []


def test_run_configs_are_valid():
    job = defs.resolve_implicit_global_asset_job_def()
    configs = re.findall(r"--config-json '([^']+)'", ALL)
    assert configs
    for config in configs:
        dg.validate_run_config(job, json.loads(config))


def shown_settings(page: str) -> list[dict[str, str]]:
    """The settings of each block, as a shell reads them or, without `export`, dotenv."""
    found = []
    for block in blocks(TEXTS[page], "sh"):
        lines = [line for line in block.splitlines() if re.match(r"(export )?SID_", line)]
        if lines and lines[0].startswith("export"):
            script = "\n".join([*lines, "env -0"])
            shell = subprocess.run(
                ["bash", "-c", script], env={}, capture_output=True, text=True, check=True
            )
            variables = dict(line.split("=", 1) for line in shell.stdout.split("\0") if line)
            found.append({name: variables[name] for name in variables if name.startswith("SID_")})
        elif lines:
            values = dotenv.dotenv_values(stream=io.StringIO("\n".join(lines)))
            found.append({name: value or "" for name, value in values.items()})
    return found


@pytest.mark.parametrize("page", TEXTS)
def test_settings_are_shown_with_values_they_can_have(page):
    for values in shown_settings(page):
        Settings.from_environment(values)


def test_a_template_of_three_lines_is_shown_for_a_shell_and_for_dotenv():
    (dotenv_values,), (exported, *_) = (
        shown_settings("README.md"),
        shown_settings("docs/catalog.md"),
    )
    template = parse_template("Title: {title}\nBrand: {brand}\nDescription: {description}")
    for values in (dotenv_values, exported):
        assert parse_template(values["SID_TEXT_TEMPLATE"]) == template


def test_the_embedding_space_that_is_shown_can_be_declared():
    (values,) = [v for v in shown_settings("docs/embedding.md") if "SID_EMBEDDINGS_SPACE" in v]
    space = EmbeddingSpace("qwen3", MODEL, pooling="last_token", max_length=MAX_LENGTH)
    declared_space(values["SID_EMBEDDINGS_SPACE"], space)


def test_the_prompts_that_are_shown_can_be_read(tmp_path):
    (prompts,) = blocks(TEXTS["docs/training_data.md"], "yaml")
    (tmp_path / "prompts.yaml").write_text(prompts)
    load_prompts(tmp_path / "prompts.yaml")


def test_the_readmes_python_gives_plain_arrays(tmp_path, monkeypatch):
    (code,) = blocks(TEXTS["README.md"], "python")
    (tmp_path / "data").mkdir()
    sids = pd.DataFrame({"pid": [7, 9], "sid": [[206, 95, 168], [206, 95, 155]]})
    sids.to_parquet(tmp_path / "data" / "pid2sid.parquet")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)  # noqa: S102 - our own README
    np.testing.assert_array_equal(names["codes"], [[206, 95, 168], [206, 95, 155]])
    assert names["codes"].dtype == np.int64


@pytest.mark.parametrize("page", ["commands.md", "settings.md"])
def test_generated_parts_are_current(page):
    """`make docs-generated` writes them."""
    pages = importlib.import_module("tools.write_docs").pages()
    ((file, text),) = ((file, text) for file, text in pages.items() if file.name == page)
    assert file.read_text("utf-8") == text


def test_the_file_map_is_the_package_as_it_is():
    page = PAGE.read_text("utf-8")
    missing = set(file_map().splitlines()) - set(page.splitlines())
    assert sorted(missing) == [], "not in the map: run `python -m tools.file_map`"
    assert with_file_map(page) == page, "the map is old: run `python -m tools.file_map`"


def test_the_file_map_knows_its_folders():
    folders = {path.parent for path in (ROOT / "sid_assets" / "core").rglob("*.py")}
    names = {folder.relative_to(ROOT / "sid_assets").as_posix() for folder in folders}
    assert names == {folder for folder in FOLDERS if folder.startswith("core")}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built without a warning."""
    folder = tmp_path_factory.mktemp("site")
    config = mkdocs.config.load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    mkdocs.commands.build.build(config)
    return folder


def test_the_site_loads_nothing_from_elsewhere(site):
    pages = list(site.glob("*.html"))
    assert len(pages) >= len(TEXTS)
    for page in pages:
        html = page.read_text("utf-8")
        tags = r"<(?:script|img|iframe|source|link)\b[^>]*"
        loads = re.findall(rf"{tags}\b(?:src|href)=\"([^\"]+)", html)
        assert [url for url in loads if "://" in url or url.startswith("//")] == []
        # What the theme's script would fetch for: diagrams, and figures of a repository.
        assert "mermaid" not in html
        assert 'data-md-component="source"' not in html
    for sheet in site.rglob("*.css"):
        css = re.sub(r"url\(\"data:.*?\"\)", "", sheet.read_text("utf-8"), flags=re.DOTALL)
        assert not re.search(r"@import|url\([\"']?(https?:)?//", css)
