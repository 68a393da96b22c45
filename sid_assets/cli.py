"""The command `sid-assets`: names, options, output and exit codes of its commands.

The work is done by other modules. They are imported when a command runs, so that `--help` is fast.
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
    from datetime import date, datetime

    from sid_assets.settings import Settings

EXIT_CODES = """\b
Exit codes:
  0  done
  1  refused, or a problem was found; stderr says which
  2  the command line is wrong
"""


class Command(click.Command):
    """A command that reports errors as messages; its help ends with an example and exit codes."""

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        """Like click's, with an example: one or more command lines."""
        super().__init__(*args, epilog=f"{_example(example)}\n\n{EXIT_CODES}", **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of this package ends it with exit code 1."""
        try:
            return super().invoke(ctx)
        except (SidAssetsError, OSError) as error:
            raise click.ClickException(str(error)) from error
        except Exception as error:
            from sid_assets.core.store.places import store_trouble  # help needs no pyarrow

            if message := store_trouble(error):
                raise click.ClickException(message) from error
            raise


def _example(lines: str) -> str:
    """Lines that click does not join into a paragraph."""
    return "\b\nExample:\n" + textwrap.indent(lines, "  ")


class CommandGroup(click.Group):
    """A group of these commands, listed in the order of use."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which they were added."""
        return list(self.commands)


MATERIALIZE = "dagster asset materialize --select '*' -m sid_assets.definitions"


@click.group(cls=CommandGroup, epilog=f"{_example(MATERIALIZE)}\n\n{EXIT_CODES}")
@click.version_option(package_name="sid_assets", message="%(prog)s %(version)s")
def main() -> None:
    """OneRec semantic IDs and training data for your own catalog.

    Settings are SID_* environment variables, or lines in the file .env in the working folder.
    Dagster makes the tables: run `dagster dev` for the UI in a browser, or the example below.
    """


def run(name: str, arguments: Sequence[str], program: str) -> int:
    """Run one command for `python -m`; returns its exit code.

    Args:
        name: The command.
        arguments: Its arguments.
        program: The program name that the help shows.
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
    """Prepare a working folder.

    dagster.yaml keeps Dagster's history below the folder and turns its telemetry off,
    workspace.yaml names the asset graph, and .env lists every setting, commented out, with its
    default. FOLDER defaults to the current folder. Existing files are left unchanged.
    """
    from sid_assets.init import describe, write_files

    click.echo(describe(write_files(folder), folder))


@main.command(example="sid-assets demo /tmp/films")
@folder_argument
def demo(folder: Path) -> None:
    """Make all tables from the built-in sample.

    The sample is 17,472 films. The demo takes about a minute and needs no GPU, model or network.
    Tables are written to FOLDER/data, or to SID_DATA_DIR; dagster.yaml and workspace.yaml are
    written as `init` does. The demo has the default settings and refuses to start if others are
    set. For your own catalog, run `dagster asset materialize` (see `sid-assets --help`).
    """
    from sid_assets.console import console

    with console.never_silent("loading the graph"):
        console.say("demo", f"Making SIDs and training data of 17,472 films in {folder.resolve()}")
        from sid_assets.demo import run_demo

        made = run_demo(folder)
    click.echo(made)


@main.command(example="sid-assets plan\nsid-assets plan --json | jq '.domains[0].plan.texts'")
@json_option
def plan(as_json: bool) -> None:
    """Show what a refresh would do and cost.

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
            click.echo(one.describe())
        for problem in one.problems:
            click.echo(f"\n{problem}", err=True)
    if any(one.problems for one in plans):
        sys.exit(1)


@main.command(example="sid-assets show\nsid-assets show --json | jq '.items[0]'")
@json_option
def show(as_json: bool) -> None:
    """Show what was made.

    Prints the files, ten items with their SIDs, groups of items with the same first code, and the
    path of the report. The exit code is 1 if there are no semantic IDs yet.
    """
    from sid_assets.show import describe, summary

    made = summary(_settings())
    if as_json:
        _print_json(made)
    else:
        click.echo(describe(made))


@main.command(
    example="sid-assets compare current train:balanced:512 train:kmeans:512\n"
    "sid-assets compare current tokenizer.pt OpenOneRec/OneRec-tokenizer --json"
)
@click.argument("tokenizers", nargs=-1, required=True, metavar="TOKENIZER...")
@click.option(
    "--probe",
    "probe_minutes",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MINUTES",
    help="Also train small models on their SIDs, of as many as fit into this time.",
)
@json_option
def compare(tokenizers: tuple[str, ...], probe_minutes: float | None, as_json: bool) -> None:
    """Compare tokenizers on the vectors in the data folder.

    \b
    Each TOKENIZER is
      current                  the tokenizer in the data folder
      train                    one trained as the settings say; also train:METHOD, train:SIZE,
                               train:METHOD:SIZE (balanced or kmeans, centroids per layer)
      FILE.pt                  a file
      OWNER/NAME               a repository on the Hugging Face hub; also OWNER/NAME@REVISION

    All are checked before work starts. Each then encodes all items, and their codes are measured as
    sid_quality does. Prints a table and writes a page, sid_comparison.html in the data folder.
    Tables and SIDs stay as they are. Progress is shown on stderr.
    """  # noqa: D301 - click looks for the character, which a raw string does not have
    from sid_assets.compare import compare as measure
    from sid_assets.compare import write_page
    from sid_assets.core.quality.comparison import as_json as json_of
    from sid_assets.core.quality.comparison import as_text

    logging.basicConfig(format="%(message)s")
    logging.getLogger("sid_assets.core.quantise.train").setLevel(logging.INFO)  # layer by layer
    settings = _settings()
    found = measure(
        settings,
        tokenizers,
        lambda text: click.echo(text, err=True),
        probe_minutes=probe_minutes,
    )
    page = write_page(settings, found)
    if as_json:
        more = {"sizes": found.sizes, "notes": found.notes, "page": page}
        _print_json({**json_of(found.compared), **more})
    else:
        click.echo(as_text(found.compared, found.sizes, found.notes))
        click.echo(f"\nThe same as a page: {page}")


@main.command(example="sid-assets probe\nsid-assets probe other_sids.parquet --minutes 60 --json")
@click.argument("sids", nargs=-1, metavar="[SIDS.parquet]...")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=15,
    show_default=True,
    help="Time limit. What is not finished is compared with nothing.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Models trained for each set of SIDs; with fewer than 3, nothing is compared.",
)
@json_option
def probe(sids: tuple[str, ...], minutes: float, seeds: int, as_json: bool) -> None:
    """Train small models on the SIDs, and score what they recommend.

    Learns from interactions of split 0 and scores those of split 1: hit rate and NDCG, beside
    popularity, the last item's successors and nearest vectors, a model with one token an item, and
    the same SIDs dealt to the items at random. Each SIDS.parquet has other SIDs of the same items
    (`pid`, `sid`). Prints a table and writes sid_probe.json and sid_probe.png into the data folder.
    A probe that was killed, or ran out of time, goes on when it is run again. Progress is shown on
    stderr.
    """
    from sid_assets.core.probe.result import as_json as json_of
    from sid_assets.core.probe.table import as_text
    from sid_assets.probe import probe as measure

    settings = _settings()
    found = measure(
        settings,
        sids,
        minutes=minutes,
        seeds=seeds,
        progress=lambda text: click.echo(text, err=True),
    )
    if as_json:
        _print_json(json_of(found))
    else:
        click.echo(as_text(found))


@main.command(
    example="sid-assets purge\nsid-assets purge --yes\n"
    "sid-assets purge --sids-left-before 2026-01-31"
)
@click.option("--yes", is_flag=True, help="Do what is listed.")
@click.option(
    "--sids-left-before",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DATE",
    help="Instead, free the SIDs that items left before this date (UTC).",
)
@json_option
def purge(yes: bool, sids_left_before: "datetime | None", as_json: bool) -> None:
    """List data that can be removed, or remove it.

    Older versions of tables, leftovers of unfinished runs, rejected rows, and kept runs of the
    probe can be removed from the data folder. The current version of a table stays, and so does
    what a run is writing. The previous version of sid_registry stays, too, because the registry
    cannot be made again. The exit code is 1 if a table had to be left alone.

    With --sids-left-before nothing is removed: SIDs of items that were removed, or whose text
    changed, are no longer reserved for them. Models that were trained before may then take new
    items for old ones.
    """
    if sids_left_before is None:
        problems = _purge_folders(yes, as_json)
    else:
        problems = _free_sids(sids_left_before.date(), yes, as_json)
    for problem in problems:
        click.echo(f"Left alone: {problem}", err=True)
    if problems:
        sys.exit(1)


def _purge_folders(yes: bool, as_json: bool) -> list[str]:
    """List or remove folders; returns why tables were left alone."""
    from sid_assets.purge import describe, kept_registries
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
        click.echo(describe(found, store.root, yes, kept_registries(store)))
    return problems


def _free_sids(before: "date", yes: bool, as_json: bool) -> list[str]:
    """List or free SIDs that items left; returns why registries were left alone."""
    from sid_assets.purge import describe_freed, free_sids_left_before

    found, problems = free_sids_left_before(_settings().store(), before, free=yes)
    if as_json:
        registries = [
            {
                "table": table,
                "current_generation": reserved.current,
                "generations": [
                    {"generation": generation, "sids": sids}
                    for generation, sids in reserved.by_generation.items()
                ],
                "first_pids": reserved.pids,
            }
            for table, reserved in found.items()
        ]
        _print_json({"freed": yes, "registries": registries, "left_alone": problems})
    elif found:
        click.echo(describe_freed(found, before, freed=yes))
    return problems


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
    "--batch_size", type=click.IntRange(min=1), metavar="ROWS", help="Rows read at a time."
)
@click.option("--device", help="cpu, cuda, cuda:1, ...  [default: cuda if available]")
@click.option("--n_layers", type=int, metavar="LAYERS", help="Use only the first LAYERS layers.")
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
