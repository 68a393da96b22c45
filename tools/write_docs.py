"""Write the generated parts of the docs: the help of every command, and the tables of settings and
of training data sets.

    python -m tools.write_docs

A part stands between two marks, `<!-- NAME:begin -->` and `<!-- NAME:end -->`.
"""

from pathlib import Path

import click

from sid_assets import cli, settings
from sid_assets.core.training.rows import training_data_table

DOCS = Path(__file__).parents[1] / "docs"
HELP_WIDTH = 90


def pages() -> dict[Path, str]:
    """The pages with generated parts, as they should be.

    Raises:
        ValueError: A page lacks a mark.
    """
    parts = {
        "commands": (DOCS / "commands.md", command_help()),
        "settings": (DOCS / "settings.md", settings.table()),
        "training-data": (DOCS / "training_data.md", training_data_table()),
    }
    return {
        file: _with_part(file.read_text(encoding="utf-8"), name, part)
        for name, (file, part) in parts.items()
    }


def command_help() -> str:
    """The help of `sid-assets` and of each of its commands, one section each."""
    sections = [_section("sid-assets", cli.main)]
    for name, command in cli.main.commands.items():
        sections.append(_section(f"sid-assets {name}", command))
    return "\n\n".join(sections)


def _section(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name, terminal_width=HELP_WIDTH)
    return f"## {name}\n\n```text\n{command.get_help(context)}\n```"


def _with_part(page: str, name: str, part: str) -> str:
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, rest = page.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{part.strip()}\n{end}{after}"


if __name__ == "__main__":
    for file, page in pages().items():
        file.write_text(page, encoding="utf-8")
