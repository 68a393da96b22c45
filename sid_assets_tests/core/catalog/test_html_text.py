"""The text of values that are HTML."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.catalog.html_text import MOST_TAGS, text_of_html
from sid_assets_tests.core.catalog.read_catalogs import Read, Write


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("<p>Soft &amp; warm.</p><p>100% wool</p>", "Soft & warm. 100% wool"),
        ("A <b>bold</b>er<br>line", "A bolder line"),
        ("Has: <ul><li>Wifi</li><li> Bluetooth </li></ul>Cheap", "Has: Wifi, Bluetooth Cheap"),
        ("<ol><li>First.</li>\n<li>Second.</li></ol>", "First. Second."),
        ("<li>one<li>two", "one two"),
        ("Caf&eacute; &#8211; &#x4e2d;&nbsp;x", "Café – 中 x"),
        ("<!DOCTYPE html><html><body>A</body></html>", "A"),
        ("<![CDATA[x]]> <!x>", "<![CDATA[x]]> <!x>"),
        ("<style>p{color:red}</style><script>alert('<b>')</script>Lamp<!-- <b>old</b> -->", "Lamp"),
        ('<img src="a.png" alt="x > y"/>Picture', "Picture"),
        ("<P CLASS='a'>Upper</P>", "Upper"),
        ("List<String> and <Beta>", "List<String> and <Beta>"),
        ("I <3 R&D, 1 < 2 > 0", "I <3 R&D, 1 < 2 > 0"),
        ("&lt;|endoftext|&gt;", "<|endoftext|>"),
        ("<p> </p>", ""),
        ("  no markup,\n  two lines ", "  no markup,\n  two lines "),
    ],
)
def test_the_text_is_that_of_a_browser(value: str, text: str) -> None:
    assert text_of_html(value) == text


@pytest.mark.parametrize("piece", ["<", "<!--", "<![", "<a ", "<a b='", "</", "&#", "<script>"])
def test_a_hostile_value_costs_little_and_raises_nothing(piece: str) -> None:
    assert isinstance(text_of_html(piece * 2_000), str)
    many = piece.replace("&", "<") * (MOST_TAGS + 1)
    assert text_of_html(many) == many


@given(st.text(alphabet="<>/!-&;#xab lipsctr\"'= ", max_size=60))
def test_any_value_gives_a_text(value: str) -> None:
    assert isinstance(text_of_html(value), str)


def test_only_the_rules_for_html_clean_a_catalog(parquet: Write) -> None:
    titles = ["<b>Red</b> &amp; <i>blue</i>", "plain", "<p> </p>", None]
    catalog = parquet(pid=[1, 2, 3, 4], title=titles, list=[["<b>a</b>", "b"], [], [], []])
    template = "{title}\nOf: {list}"
    plain = Read(catalog, template, on_bad_rows="drop").text_of
    assert plain == {1: f"{titles[0]}\nOf: <b>a</b>, b", 2: "plain", 3: "<p> </p>"}
    cleaned = Read(catalog, template, on_bad_rows="drop", text_rules="2-html").text_of
    assert cleaned == {1: "Red & blue\nOf: a, b", 2: "plain"}
