"""The tests mirror the package: a test is found beside the path of its module."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PACKAGE = TESTS.with_name("sid_assets")
MOST_LINES = 600

WHOLE_PROGRAM = TESTS / "program"
"""Tests of everything together, which belong to no module."""

WITHOUT_A_TEST = {
    "__main__": "calls the command",
    "core/embeddings/making": "only the fields of a provenance",
    "core/events/log": "only the fields of a log",
    "core/events/rules": "only the fields of rules and counts",
    "core/registry/making": "only the fields of a provenance",
    "core/registry/tables": "only the names of tables",
}
"""Modules without behaviour of their own."""

TESTED_ELSEWHERE = {
    "demo": "test_cli.py",
    "init": "test_cli.py",
    "core/registry/counting": "core/registry/test_run.py",
    "core/registry/earlier": "core/registry/test_publish.py",
    "core/registry/generation_guard": "core/registry/test_publish.py",
    "core/registry/new_sids": "core/registry/test_publish.py",
    "core/registry/refreshes": "core/registry/test_publish.py",
    "core/registry/unfinished": "assets/test_tokenizer_new_generation.py",
}
"""Modules whose tests are in a file of another name, and that file."""

PUBLIC_API = "test_public_api"
"""Tests of `sid_assets` itself: what a user imports from it."""


def modules() -> set[str]:
    """All modules, as paths without an ending; packages are folders of them."""
    paths = (path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    return {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in paths}


def files_of_tests() -> list[Path]:
    """All files of tests below the top level, except those of the whole program."""
    return [p for p in sorted(TESTS.rglob("test_*.py")) if WHOLE_PROGRAM not in p.parents]


@pytest.mark.parametrize("file", files_of_tests(), ids=lambda p: p.relative_to(TESTS).as_posix())
def test_a_test_file_names_its_module(file):
    """After the module's name, an aspect may follow: `test_run_killed.py` is of `run`."""
    folder = PACKAGE / file.relative_to(TESTS).parent
    packages = {path.parent.name for path in folder.glob("*/__init__.py")}
    names = {path.stem for path in folder.glob("*.py")} | packages
    words = file.stem.removeprefix("test_").split("_")
    beginnings = {"_".join(words[:end]) for end in range(1, len(words) + 1)}
    assert file.stem == PUBLIC_API or names & beginnings


@pytest.mark.parametrize("module", sorted(modules() - WITHOUT_A_TEST.keys()))
def test_a_module_has_a_test_file(module):
    folder, _, name = module.rpartition("/")
    mirrored = TESTS / folder / f"test_{name}.py"
    assert mirrored.exists() or (TESTS / TESTED_ELSEWHERE.get(module, "nowhere")).exists()


@pytest.mark.parametrize("module", sorted(WITHOUT_A_TEST.keys() | TESTED_ELSEWHERE.keys()))
def test_an_exception_is_a_module_that_still_needs_one(module):
    assert module in modules()
    folder, _, name = module.rpartition("/")
    assert not (TESTS / folder / f"test_{name}.py").exists()


def test_no_test_file_is_too_long():
    files = sorted(TESTS.rglob("*.py"))
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}
