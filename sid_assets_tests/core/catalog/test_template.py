r"""A template names columns and nothing else, and `\n` in it is a new line."""

import re

import pytest

from sid_assets.core.catalog.template import Field, parse_template
from sid_assets.core.errors import InputError


def test_lines_fields_and_literal_braces() -> None:
    template = parse_template("Title: {title}\n\n{{{brand}}} and {title}{日本 x}")
    assert template.lines == (
        ("Title: ", Field("title")),
        (),
        ("{", Field("brand"), "} and ", Field("title"), Field("日本 x")),
    )
    assert template.fields == ("title", "brand", "日本 x")


def test_surrounding_newlines_and_those_of_windows() -> None:
    assert parse_template("\n{a}\r\n{b}\n").lines == ((Field("a"),), (Field("b"),))


def test_a_backslash_and_an_n_are_a_new_line() -> None:
    written = parse_template(r"\nTitle: {title}\n\n{brand}\n")
    assert written == parse_template("Title: {title}\n\n{brand}")
    assert parse_template(r"{a}\r\n{b}").lines == ((Field("a"), r"\r"), (Field("b"),))


@pytest.mark.parametrize(
    ("template", "text"),
    [(r"\\n", r"\n"), (r"\\", "\\"), (r"\\\\n", r"\\n"), (r"C:\temp", r"C:\temp"), ("\\", "\\")],
)
def test_two_backslashes_are_one_and_any_other_is_itself(template: str, text: str) -> None:
    assert parse_template("{a}" + template).lines == ((Field("a"), text),)


@pytest.mark.parametrize(
    "name",
    [
        *("meta.brand", "title.__class__", "title[0]", "title!r", "title:>10", "dc:title", "0"),
        *(" a ", "a'b", 'a"b', "*", "select", r"C:\new", "$", "日本.x"),
    ],
)
def test_a_name_is_whatever_stands_between_the_braces(name: str) -> None:
    assert parse_template(f"x {{{name}}}").lines == (("x ", Field(name)),)


@pytest.mark.parametrize("name", ["{", "}", "{a}", "a}}", "\\", "\\{", "a\\", r"\\server{1}"])
def test_a_backslash_before_a_brace_or_a_backslash_in_a_name(name: str) -> None:
    escaped = re.sub(r"([{}\\])", r"\\\1", name)
    assert parse_template(f"{{{escaped}}}{{b}}").fields == (name, "b")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{}", "names no column"),
        ("{title", "single {"),
        ("title}", "single }"),
        ("{title\n}", "single {"),
        ("{title:{width}}", "single {"),
        ("{{title}", "single }"),
        ("{title\\}", "single {"),
        ("{" + "\\" * 10_001, "single {"),
    ],
)
def test_single_braces_are_refused_with_their_line(template: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as raised:
        parse_template("First: {a}\n" + template)
    assert repr(template.splitlines()[0]) in str(raised.value)


@pytest.mark.parametrize("template", ["", "Product", "{{title}}", r"\n"])
def test_a_template_without_columns_is_refused(template: str) -> None:
    with pytest.raises(InputError, match="names no column, so every item"):
        parse_template(template)


@pytest.mark.parametrize("template", [r"$'Title: {title}\n{brand}'", r'$"Title: {title}"'])
def test_quotation_marks_of_the_shell_are_refused_with_the_reason(template: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_template(template)
    assert f"begins with {template[:2]}, which only a shell reads" in str(raised.value)
    assert r"\n in a text template is a new line" in str(raised.value)
