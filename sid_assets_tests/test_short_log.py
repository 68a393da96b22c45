"""Short lines of a run, in a terminal."""

import logging

import dagster as dg
import pytest

from sid_assets import definitions
from sid_assets.graph import semantic_ids
from sid_assets.settings import Settings
from sid_assets.short_log import NAME, short_log


@dg.asset
def good(context: dg.AssetExecutionContext) -> None:
    context.log.info("good: three rows")
    context.log.warning("one row is odd")
    context.log.debug("not for a person")


@dg.asset
def bad(context: dg.AssetExecutionContext) -> None:
    try:
        raise ValueError("told")
    except ValueError:
        context.log.exception("goes on")
    raise ValueError("this is why")


@dg.asset(deps=[bad])
def after(context: dg.AssetExecutionContext) -> None: ...


@pytest.fixture
def lines(capsys):
    """What a run with these assets prints; `bad` fails."""
    graph = dg.Definitions([good, bad, after], loggers={NAME: short_log})
    job = graph.resolve_implicit_global_asset_job_def()
    config = {"loggers": {NAME: {}}}
    assert not job.execute_in_process(run_config=config, raise_on_error=False).success
    return capsys.readouterr().err.splitlines()


def about(lines: list[str], asset: str) -> list[str]:
    return [" ".join(line.split()[2:]) for line in lines if line[8:].split()[:1] == [asset]]


def test_a_step_speaks_for_itself(lines):
    assert about(lines, "good") == ["three rows", "WARNING: one row is odd"]


def test_no_line_has_the_name_of_the_job_or_the_id_of_the_run(lines):
    assert not [line for line in lines if "dagster - " in line or line.count("-") > 8]


def test_errors_are_shown_whole(lines):
    assert about(lines, "bad")[0] == "ERROR: goes on"
    text = "\n".join(lines)
    assert "ValueError: told" in text
    assert "ValueError: this is why" in text


def test_other_loggers_are_left_alone(lines):
    assert "sid_assets.short_log" not in logging.Logger.manager.loggerDict


def test_the_graph_of_this_program_has_it_and_one_that_includes_ours_does_not():
    assert definitions.defs.loggers == {NAME: short_log}
    assert not semantic_ids(Settings()).loggers
