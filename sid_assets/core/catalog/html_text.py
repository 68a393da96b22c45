"""HTML in the values of a catalog, as the text that a person reads in a browser.

Values without a tag or a character reference stay as they are, byte for byte.
"""

import re
from html.parser import HTMLParser

MOST_TAGS = 10_000
"""A value with more `<` than this is no description, and stays as it is."""

_BLOCKS = """
address article aside blockquote br caption center dd details div dl dt fieldset figcaption figure
footer form h1 h2 h3 h4 h5 h6 header hr legend li main nav ol optgroup option p pre section summary
table tbody td tfoot th thead title tr ul
"""
_INLINE = """
a abbr acronym audio b bdi bdo big body button canvas cite code data del dfn dir em embed font head
html i iframe img input ins kbd label link map mark meta noscript object output picture q rp rt ruby
s samp select small source span strike strong sub sup svg textarea time tt u var video wbr
"""

BLOCKS = frozenset(_BLOCKS.split())
"""Elements that stand on lines of their own; the text before and after them is no one word."""

INLINE = frozenset(_INLINE.split())

UNSEEN = frozenset({"script", "style", "template"})
"""Elements whose content a browser does not show."""

ENDS_A_SENTENCE = (".", ",", ";", ":", "!", "?", "。", "，", "；", "：", "！", "？", "、")

_MARKUP = re.compile(r"[<&]")
_DOCTYPE = re.compile(r"<!doctype[^<>]*>", re.IGNORECASE)
_DECLARATION = re.compile(r"<!(?!--)")


def text_of_html(value: str) -> str:
    """The text of a value that may be HTML.

    Tags, comments, scripts and styles are left out, character references are replaced, and runs of
    white space become one space. The items of a list are joined with `, `, unless one ends with a
    punctuation mark. What looks like a tag and is none of HTML's, as in `List<String>`, stays.
    """
    if not _MARKUP.search(value) or value.count("<") > MOST_TAGS:
        return value
    reader = _Reader()
    # Of declarations, Python's versions think differently, and some raise AssertionError.
    reader.feed(_DECLARATION.sub("&lt;!", _DOCTYPE.sub(" ", value)))
    reader.close()
    return reader.text()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._pieces: list[str] = []
        self._unseen = 0
        self._between_items = False

    def text(self) -> str:
        return " ".join("".join(self._pieces).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in UNSEEN:
            self._unseen += 1
        elif tag in BLOCKS:
            self._pieces.append(" ")
        elif tag not in INLINE:
            self.handle_data(self.get_starttag_text() or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in UNSEEN:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag in BLOCKS:
            self._pieces.append(" ")
            self._between_items = tag == "li" or (self._between_items and tag not in ("ul", "ol"))
        elif tag not in INLINE:
            self.handle_data(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self._unseen:
            return
        if self._between_items and data.strip():
            self._between_items = False
            so_far = "".join(self._pieces).rstrip()
            if so_far and not so_far.endswith(ENDS_A_SENTENCE):
                self._pieces = [so_far, ", "]
        self._pieces.append(data)
