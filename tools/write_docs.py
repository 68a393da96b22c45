"""Write the generated parts of the docs: the help of every command, and the tables of settings, of
training data sets and of the keys of a plan.

    python -m tools.write_docs

A part stands between two marks, `<!-- NAME:begin -->` and `<!-- NAME:end -->`.
"""

import inspect
import re
from pathlib import Path

import click

from sid_assets import cli, settings
from sid_assets.core.embedders import Memory
from sid_assets.core.embeddings.plan import Plan
from sid_assets.core.refresh import Changes
from sid_assets.core.training.rows import training_data_table

DOCS = Path(__file__).parents[1] / "docs"
HELP_WIDTH = 90
PARTS_OF_A_PLAN = {"changes": Changes, "memory": Memory}


def pages() -> dict[Path, str]:
    """The pages with generated parts, as they should be.

    Raises:
        ValueError: A page lacks a mark.
    """
    parts = {
        "commands.md": {"plan": plan_keys(), "commands": command_help()},
        "settings.md": {"settings": settings.table()},
        "training_data.md": {"training-data": training_data_table()},
    }
    made = {}
    for file, parts_of_page in parts.items():
        page = (DOCS / file).read_text(encoding="utf-8")
        for name, part in parts_of_page.items():
            page = _with_part(page, name, part)
        made[DOCS / file] = page
    return made


def plan_keys() -> str:
    """The keys of a plan in the JSON of `sid-assets plan`, as a Markdown table."""
    keys = attributes(Plan)
    del keys["sample"]  # texts of the catalog; not in the JSON
    lines = ["| key of `plan` | what it is |", "|---|---|"]
    for name, meaning in keys.items():
        lines.append(f"| `{name}` | {meaning} |")
        for inner, inner_meaning in attributes(PARTS_OF_A_PLAN.get(name)).items():
            lines.append(f"| `{name}.{inner}` | {inner_meaning} |")
    return "\n".join(lines).replace("None", "null")


def attributes(described: type | None) -> dict[str, str]:
    """The attributes of a class and what its docstring says about each."""
    text = inspect.getdoc(described) or "" if described else ""
    _, _, listed = text.partition("Attributes:\n")
    found = re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", listed, flags=re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in found}


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
