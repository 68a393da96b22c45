"""What `import sid_assets` offers, and the page about it."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import sid_assets
from sid_assets_tests.core.sids.test_prefixes import small_model, word_tokenizer

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
HEAVY = ("torch", "transformers", "faiss", "dagster", "duckdb", "pandas", "pyarrow", "numpy")


def test_importing_it_loads_nothing_heavy():
    code = f"import sys, sid_assets; print([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


def test_all_names_exist_and_no_others():
    for name in sid_assets.__all__:
        assert getattr(sid_assets, name) is not None
    assert dir(sid_assets) == sorted(sid_assets.__all__)
    assert sid_assets.__version__ == version("sid_assets")
    assert len(sid_assets.vocabulary()) == 24_578
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = sid_assets.nothing  # pyright: ignore[reportAttributeAccessIssue]


def test_the_page_names_the_whole_api():
    page = PAGE.read_text("utf-8")
    public = [name for name in vars(sid_assets.DataFolder) if name.isidentifier()]
    for name in [*sid_assets.__all__, *public]:
        if not name.startswith("_") and name != "DataFolder":
            assert re.search(rf"\b{name}\b", page), name


def test_the_page_runs(films: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(films.parent)
    names: dict[str, Any] = {"model": small_model(), "tokenizer": word_tokenizer()}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL):
        if "generate" in block:
            names["text"] = "w1 w2"
        exec(block, names)  # noqa: S102 - our own page
    own = names["data"].codes_of(names["items"])
    assert sid_assets.to_text(own) == names["sids"]
    assert len(set(names["sids"])) == 8
    assert len(names["codes"]) == 1
    assert names["films"].sid.notna().all()
