"""A template names columns and nothing else."""

import pytest

from sid_assets.core.catalog.template import Field, parse_template
from sid_assets.core.errors import InputError


def test_lines_fields_and_literal_braces() -> None:
    template = parse_template("Title: {title}\n\n{{{brand}}} and {title}{日本 x}")
    assert template.lines == (
        ("Title: ", Field("title")),
        (),
        ("{", Field("brand"), "}", " and ", Field("title"), Field("日本 x")),
    )
    assert template.fields == ("title", "brand", "日本 x")


def test_surrounding_newlines_and_those_of_windows() -> None:
    assert parse_template("\n{a}\r\n{b}\n").lines == ((Field("a"),), (Field("b"),))


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("Title: {title.__class__}", "reaches into a value"),
        ("{title[0]}", "reaches into a value"),
        ("{title!r}", "conversions"),
        ("{title:>10}", "formats"),
        ("{title:{width}}", "formats"),
        ("{}", "names no column"),
        ("{title", "for braces"),
        ("title}", "for braces"),
        ("{title\n}", "for braces"),
    ],
)
def test_anything_else_is_refused(template: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as raised:
        parse_template("First: {a}\n" + template)
    assert repr(template.splitlines()[0]) in str(raised.value)


@pytest.mark.parametrize("template", ["", "Product", "{{title}}"])
def test_a_template_without_columns_is_refused(template: str) -> None:
    with pytest.raises(InputError, match="names no column, so every item"):
        parse_template(template)
