"""The templates of the pages, and the files that stand in them."""

from typing import Any


def page_environment() -> Any:
    """A jinja2 environment with the templates: text is escaped, and a missing name raises."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("sid_assets", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page_source(environment: Any, name: str) -> str:
    """A style sheet or script of the templates, with the line ends that a browser hashes."""
    return environment.loader.get_source(environment, name)[0].replace("\r\n", "\n")
