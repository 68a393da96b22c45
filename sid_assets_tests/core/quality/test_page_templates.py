"""The templates of the pages."""

import jinja2
import pytest

from sid_assets.core.quality.page_templates import page_environment, page_source


def test_text_is_escaped_and_a_missing_name_raises():
    page = page_environment().from_string("<b>{{ text }}</b>")
    assert page.render(text="<script>") == "<b>&lt;script&gt;</b>"
    with pytest.raises(jinja2.UndefinedError):
        page.render()


def test_sources_have_the_line_ends_that_a_browser_hashes():
    environment = page_environment()
    environment.loader = jinja2.DictLoader({"a.js": "one\r\ntwo\n"})
    assert page_source(environment, "a.js") == "one\ntwo\n"
