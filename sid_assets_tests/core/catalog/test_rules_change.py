"""How many texts change because of the rules, and not because of the catalog."""

from pathlib import Path
from typing import Any

import pytest

from sid_assets.core.catalog.item_texts import CatalogSource, read_item_texts
from sid_assets.core.catalog.making import TextsMaking
from sid_assets.core.catalog.rules_change import RulesChange, count_rules_change
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.write import draft_rows
from sid_assets_tests.core.catalog.read_catalogs import Write


def refresh(folder: Path, catalog: str, **source: Any) -> tuple[dict[Any, str], RulesChange | None]:
    """Make and commit `item_texts`; its texts, and the change."""
    store = Store(str(folder / "data"))
    runs = folder / f"scratch{len(list(folder.iterdir()))}"
    for name in ("one", "two"):
        (runs / name).mkdir(parents=True)
    asked = CatalogSource(catalog, "{title}", on_bad_rows="drop", **source)
    texts = read_item_texts(asked, scratch_dir=runs / "one")
    before = store.current("item_texts")
    reader, change = count_rules_change(asked, texts, before, scratch_dir=runs / "two")
    making = TextsMaking("{title}", texts.fingerprint, texts.pid_column, asked.text_rules)
    with draft_rows(
        store, "item_texts", reader, Provenance("item_texts", details=making.details())
    ) as draft:
        made = draft.as_version().stream(["pid", "text"]).read_all().to_pydict()
        store.commit(draft)
    return dict(zip(made["pid"], made["text"], strict=True)), change


def test_texts_that_only_the_rules_change_are_counted(tmp_path: Path, parquet: Write) -> None:
    titles = [{"a": "x", "b": None}, {"a": "y", "b": "z"}, {"a": "gone", "b": None}]
    catalog = parquet(pid=[1, 2, 3], title=titles)
    _, change = refresh(tmp_path, catalog, text_rules=1)
    assert change is None
    # Item 1 changes by the rules, item 3 in the catalog; item 4 is new.
    titles = [*titles[:2], {"a": "other", "b": None}, {"a": "new", "b": None}]
    catalog = parquet(pid=[1, 2, 3, 4], title=titles)
    texts, change = refresh(tmp_path, catalog)
    assert texts == {1: '{"a":"x"}', 2: '{"a":"y","b":"z"}', 3: '{"a":"other"}', 4: '{"a":"new"}'}
    assert change is not None
    assert change.metadata() == {"texts_changed_by_rules": 1}
    assert change.describe().startswith("1 texts change because values become text by rules 2;")
    assert "Set SID_TEXT_RULES=1 to keep" in change.describe()
    assert refresh(tmp_path, catalog)[1] is None  # counted once


def test_plain_texts_do_not_change(tmp_path: Path, parquet: Write) -> None:
    catalog = parquet(pid=[1, 2], title=["a", "b"])
    before, _ = refresh(tmp_path, catalog, text_rules=1)
    after, change = refresh(tmp_path, catalog)
    assert after == before
    assert change is not None
    assert (change.texts, change.describe()) == (0, "")


def test_lines_that_version_01_swallowed(tmp_path: Path, text_file: Write) -> None:
    catalog = text_file("a.tsv", 'pid\ttitle\n1\ta\n2\t"Al\n3\tb\n4\tc"\n5\td\n')
    assert len(refresh(tmp_path, catalog, text_rules=1)[0]) == 3
    texts, change = refresh(tmp_path, catalog)
    assert len(texts) == 5
    assert change is not None
    assert change.texts == 1


def test_what_cannot_be_counted_is_said(tmp_path: Path, text_file: Write) -> None:
    refresh(tmp_path, text_file("a.tsv", "pid\ttitle\n1\ta\n"), text_rules=1)
    catalog = text_file("a.tsv", 'pid\ttitle\n1\t"a" b\n2\tc\n')
    texts, change = refresh(tmp_path, catalog)
    assert texts == {1: '"a" b', 2: "c"}
    assert change is not None
    assert change.metadata() == {}
    assert "Unknown how many texts change" in change.describe()
    assert "line 2 is malformed" in change.describe()


@pytest.mark.parametrize("pid", ["x", "007"])
def test_ids_of_another_type_are_another_generation(
    tmp_path: Path, text_file: Write, pid: str
) -> None:
    refresh(tmp_path, text_file("a.csv", "pid,title\n1,a\n"), text_rules=1)
    catalog = text_file("a.csv", f"pid,title\n1,a\n{pid},b\n")
    assert refresh(tmp_path, catalog)[1] is None


def test_texts_that_change_because_html_is_cleaned_are_counted(
    tmp_path: Path, parquet: Write
) -> None:
    catalog = parquet(pid=[1, 2], title=["<b>a</b>", "b"])
    assert refresh(tmp_path, catalog)[1] is None
    texts, change = refresh(tmp_path, catalog, text_rules="2-html")
    assert texts == {1: "a", 2: "b"}
    assert change is not None
    assert change.describe().startswith("1 texts change because values become text by rules 2-html")
    assert "Set SID_TEXT_RULES=2 to keep" in change.describe()
    assert refresh(tmp_path, catalog, text_rules="2-html")[1] is None
