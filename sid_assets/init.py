"""The files that `sid-assets init` writes into a working folder."""

import shlex
import textwrap
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from pydantic.fields import FieldInfo

from sid_assets.settings import Settings, defaults_of, shown_default
from sid_assets.variables import SECRETS, variable

DAGSTER_FILES = ("dagster.yaml", "workspace.yaml")
"""Dagster's files: where it keeps its history, and which module has the graph."""

WIDTH = 100

ENV_HEADER = """\
# Settings of sid_assets: remove the # before a name to set it. An empty value leaves the default,
# except where the comment says that empty means none. Dagster and sid-assets read the .env of the
# folder they are started in; it takes precedence over environment variables.
"""

SECRETS_HEADER = """\
# Secrets. They are not settings: they are never shown, logged or stored with a run.
"""

NEXT = """\
Next{where}:
  sid-assets plan                  what a refresh would do and cost; settings are in .env
  dagster asset materialize --select '*' -m sid_assets.definitions
  sid-assets show                  what was made
  DAGSTER_HOME=$PWD dagster dev    the graph in a browser, at http://127.0.0.1:3000"""


@dataclass(frozen=True)
class Written:
    """Names of the files that were written, and of existing files that were left unchanged."""

    written: list[str]
    kept: list[str]


def write_files(folder: Path, *, with_env: bool = True) -> Written:
    """Write the files that do not exist yet; the folder is created if it does not exist.

    Args:
        folder: The folder to write to.
        with_env: Write `.env` too, not only Dagster's files.

    Raises:
        OSError: A file cannot be written.
    """
    templates = files("sid_assets") / "templates"
    texts = {name: (templates / name).read_text(encoding="utf-8") for name in DAGSTER_FILES}
    if with_env:
        texts[".env"] = env_text()
    folder.mkdir(parents=True, exist_ok=True)
    result = Written([], [])
    for name, text in texts.items():
        try:
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
            result.written.append(name)
        except FileExistsError:
            result.kept.append(name)
    return result


def describe(result: Written, folder: Path) -> str:
    """What was written, and what to do next."""
    lines = []
    if result.written:
        lines.append(f"Wrote {', '.join(result.written)} in {folder.resolve()}.")
    if result.kept:
        lines.append(f"Already there, left unchanged: {', '.join(result.kept)}.")
    return "\n".join([*lines, "", NEXT.format(where=after_cd(folder))])


def after_cd(folder: Path) -> str:
    """The `cd` command that leads to a folder, in words; "" if it is the current folder."""
    same = folder.resolve() == Path.cwd()
    return "" if same else f", after `cd {shlex.quote(str(folder))}`"


def env_text() -> str:
    """A `.env` with every setting commented out."""
    settings = (_env_lines(name, field) for name, field in Settings.model_fields.items())
    secrets = (_commented(f"#{name}=", what) for name, what in SECRETS.items())
    return "\n".join([ENV_HEADER, *settings, SECRETS_HEADER, *secrets])


def _env_lines(name: str, field: FieldInfo) -> str:
    comment = f"{field.description} Default: {shown_default(field) or 'empty'}."
    return _commented(f"#{variable(name)}={_env_value(field)}", comment)


def _commented(line: str, comment: str) -> str:
    lines = textwrap.wrap(comment, WIDTH, initial_indent="# ", subsequent_indent="# ")
    return "\n".join([*lines, line, ""])


def _env_value(field: FieldInfo) -> str:
    """The default in the syntax of `.env`; "" where it depends on the deployment."""
    defaults = defaults_of(field)
    if defaults["demo"] != defaults["onerec"]:
        return ""
    value = str(defaults["demo"])
    return '"' + value.replace("\n", "\\n") + '"' if {" ", "\n"} & set(value) else value
