"""The map of the package's files in the architecture page, made from the modules' docstrings.

    python -m tools.file_map

It writes the map between the marks in `docs/architecture.md`. A module's line is the first sentence
of its docstring, so that is where to change it.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- files:begin -->", "<!-- files:end -->"

FOLDERS = (
    "",
    "assets",
    "core",
    "core/inputs",
    "core/catalog",
    "core/embedders",
    "core/embeddings",
    "core/quantise",
    "core/registry",
    "core/sids",
    "core/quality",
    "core/probe",
    "core/events",
    "core/training",
    "core/contracts",
    "core/store",
    "core/arrow",
)
"""In the order in which data flows, then the shared ones; others follow by name."""


def file_map() -> str:
    """The map: the purpose of each folder, and a line for each of its modules."""
    package = ROOT / "sid_assets"
    modules: dict[str, list[Path]] = {}
    for path in sorted(package.rglob("*.py")):
        folder = path.parent.relative_to(package).as_posix().removeprefix(".")
        modules.setdefault(folder, []).append(path)
    folders = [folder for folder in FOLDERS if folder in modules]
    folders += sorted(modules.keys() - set(folders))
    return "\n\n".join(_folder(folder, modules[folder]) for folder in folders)


def _folder(name: str, paths: list[Path]) -> str:
    about = next((first_sentence(path) for path in paths if path.name == "__init__.py"), "")
    lines = [f"**`sid_assets/{name}{'/' if name else ''}`** {about}"]
    files = [path for path in paths if path.name != "__init__.py"]
    if files:
        lines += ["", *(f"- `{path.name}` – {first_sentence(path)}" for path in files)]
    return "\n".join(lines)


def first_sentence(path: Path) -> str:
    """The first sentence of a module's docstring, on one line."""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) (?=[A-Z])", paragraph)[0]


def with_file_map(page: str) -> str:
    """The page with the current map.

    Raises:
        ValueError: The page lacks a mark.
    """
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{file_map()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_file_map(PAGE.read_text("utf-8")), "utf-8")
