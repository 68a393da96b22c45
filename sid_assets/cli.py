"""The command `sid-assets`: what its commands are called, take, print and return.

What they do is in the module that is named after each. Those are imported when a command runs, so
that `--help` answers at once.
"""

import json
import logging
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sid_assets.core.errors import SidAssetsError

if TYPE_CHECKING:
    from sid_assets.settings import Settings

EXIT_CODES = """\b
Exit codes:
  0  done
  1  refused, or a problem was found; stderr says which
  2  the command line is wrong
"""


class Command(click.Command):
    """A command whose refusals are messages; its help ends with an example and the exit codes."""

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        """As click's; the example is one or more command lines."""
        super().__init__(*args, epilog=f"{_example(example)}\n\n{EXIT_CODES}", **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; what the package refuses ends it with exit code 1."""
        try:
            return super().invoke(ctx)
        except (SidAssetsError, OSError) as error:
            raise click.ClickException(str(error)) from error


def _example(lines: str) -> str:
    """Lines that click does not fill into a paragraph."""
    return "\b\nExample:\n" + textwrap.indent(lines, "  ")


class CommandGroup(click.Group):
    """A group of these commands, listed in the order in which one needs them."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, as they were added."""
        return list(self.commands)


MATERIALIZE = "dagster asset materialize --select '*' -m sid_assets.definitions"


@click.group(cls=CommandGroup, epilog=f"{_example(MATERIALIZE)}\n\n{EXIT_CODES}")
@click.version_option(package_name="sid_assets", message="%(prog)s %(version)s")
def main() -> None:
    """OneRec semantic IDs and training data for your own catalog.

    Settings are SID_* variables of the environment, or lines in a file .env in the working folder.
    Dagster makes the tables: `dagster dev` in a browser, or as in the example below.
    """


def run(name: str, arguments: Sequence[str], program: str) -> int:
    """Run one command for `python -m`; returns its exit code.

    Args:
        name: The command.
        arguments: Its arguments.
        program: What the help calls it.
    """
    try:
        main.commands[name].main(list(arguments), prog_name=program)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


folder_argument = click.argument(
    "folder", type=click.Path(file_okay=False, path_type=Path), default=".", metavar="[FOLDER]"
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object to stdout, and nothing else."
)


@main.command(example="sid-assets init films && cd films && dagster dev")
@folder_argument
def init(folder: Path) -> None:
    """Prepare a folder to work in.

    dagster.yaml keeps Dagster's history below the folder and turns its telemetry off,
    workspace.yaml names the asset graph, and .env lists every setting, commented out, with its
    default. FOLDER is the current one if you name none. A file that exists is left as it is.
    """
    from sid_assets.init import describe, write_files

    click.echo(describe(write_files(folder), folder))


@main.command(example="sid-assets demo /tmp/films")
@folder_argument
def demo(folder: Path) -> None:
    """Make all tables from the built-in sample.

    The sample is 17,472 films. The demo takes about a minute and needs no GPU, model or network.
    Tables go to FOLDER/data; dagster.yaml and workspace.yaml are written as by `init`. Your
    settings apply, but SID_DEPLOYMENT is always demo.
    """
    from sid_assets.demo import run_demo

    click.echo(run_demo(folder))


@main.command(example="sid-assets plan\nsid-assets plan --json | jq '.domains[0].plan.texts'")
@json_option
def plan(as_json: bool) -> None:
    """Tell what a refresh would do and cost.

    Reads the catalog, compares it with the vectors that exist, and embeds a few texts to measure
    the time. Writes nothing. The exit code is 1 if the refresh would stop, for example at bad rows
    or because too many items change.
    """
    from sid_assets.plan import plan_domains

    logging.basicConfig(format="%(message)s")
    plans = plan_domains(_settings())
    if as_json:
        _print_json({"domains": [one.as_json() for one in plans]})
    for one in plans:
        if not as_json and len(plans) > 1:
            click.echo(f"{one.domain.capitalize()}:")
        if not as_json and one.plan:
            click.echo(one.plan.describe())
        for problem in one.problems:
            click.echo(f"\n{problem}", err=True)
    if any(one.problems for one in plans):
        sys.exit(1)


@main.command(example="sid-assets show\nsid-assets show --json | jq '.items[0]'")
@json_option
def show(as_json: bool) -> None:
    """Show what was made.

    That is: the files, ten items with their SIDs, groups of items with the same first code, and
    where the report is. The exit code is 1 if there are no semantic IDs yet.
    """
    from sid_assets.show import describe, summary

    made = summary(_settings())
    if as_json:
        _print_json(made)
    else:
        click.echo(describe(made))


@main.command(example="sid-assets purge\nsid-assets purge --yes")
@click.option("--yes", is_flag=True, help="Remove what is listed.")
@json_option
def purge(yes: bool, as_json: bool) -> None:
    """List what can be removed, or remove it.

    What can be removed from the data folder: older versions of tables, what unfinished runs left,
    and rejected rows. The current version of a table stays, and so does what a run is writing. The
    exit code is 1 if a table had to be left alone.
    """
    from sid_assets.purge import describe
    from sid_assets.purge import purge as find

    store = _settings().store()
    found, problems = find(store, remove=yes)
    if as_json:
        folders = [
            {"table": one.table, "what": one.what, "folder": str(one.folder), "bytes": one.bytes}
            for one in found
        ]
        _print_json({"removed": yes, "folders": folders, "left_alone": problems})
    else:
        click.echo(describe(found, store.root, removed=yes))
    for problem in problems:
        click.echo(f"Left alone: {problem}", err=True)
    if problems:
        sys.exit(1)


@main.command(
    example="sid-assets quantise --model_path tokenizer.pt \\\n"
    "  --emb_path embeddings.parquet --output_path codes.parquet"
)
@click.option("--model_path", required=True, metavar="FILE", help="The tokenizer, a .pt file.")
@click.option(
    "--emb_path",
    required=True,
    metavar="FILE",
    help="Vectors: parquet with pid and embedding, a file or a folder.",
)
@click.option(
    "--output_path", required=True, metavar="FILE", help="Parquet to write: pid and codes."
)
@click.option(
    "--batch_size", type=click.IntRange(min=1), metavar="ROWS", help="Rows that are read at a time."
)
@click.option("--device", help="cpu, cuda, cuda:1, ...  [default: cuda if there is one]")
@click.option("--n_layers", type=int, metavar="LAYERS", help="Use the first layers only.")
def quantise(output_path: str, batch_size: int | None, **options: Any) -> None:
    """Compute the codes of a file of vectors.

    Takes the flags of OneRec's infer_res_kmeans.py and reads no settings. The codes depend neither
    on the batch size nor on the device, and memory does not grow with the rows.
    """
    from sid_assets.infer_res_kmeans import BATCH, infer

    batch_size = batch_size or BATCH
    rows = infer(output_path=output_path, batch_size=batch_size, progress=True, **options)
    click.echo(f"{output_path}: codes of {rows:,} items")


def _settings() -> "Settings":
    from sid_assets.settings import Settings

    return Settings.from_environment()


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))
