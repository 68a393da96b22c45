"""What the page about your own Dagster project shows works as it is shown."""

import re
import shlex
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from dagster._cli import cli
from dagster.components.testing.utils import component_defs

import sid_assets
from sid_assets_tests.dagster_project import REPOSITORY, Project
from sid_assets_tests.graph import write_catalog

PAGE = (REPOSITORY / "docs" / "your_dagster_project.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


COMMANDS, POOL = ([shlex.split(line) for line in block.splitlines()] for block in blocks("sh"))
SCAFFOLDED, UPSTREAM, PERMISSION, MONITORING = map(yaml.safe_load, blocks("yaml"))
IN_PYTHON, EXECUTORS, IO_MANAGER = blocks("python")


def execute(code: str) -> dict[str, Any]:
    """The names that a block of Python defines."""
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - our own page
    return names


def component(shown: dict[str, Any]) -> dg.Definitions:
    """The definitions of a `defs.yaml`."""
    attributes = yaml.safe_dump(shown["attributes"])
    return component_defs(component=sid_assets.SemanticIds.resolve_from_yaml(attributes))


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    """The project in Python, in a folder with the file that it reads."""
    monkeypatch.chdir(tmp_path)
    write_catalog(tmp_path / "shop_us.csv")
    return execute(IN_PYTHON)["defs"]


def test_the_component_is_made_as_shown(tmp_path):
    scaffold, check, launch = COMMANDS
    project = Project(tmp_path, "sid_project_of_the_page")
    assert project.run(*scaffold).returncode == 0
    assert yaml.safe_load((project.defs / "us" / "defs.yaml").read_text()) == SCAFFOLDED
    project.component("de", **UPSTREAM["attributes"])
    checked = project.run(*check)
    assert checked.returncode == 0, checked.stdout

    write_catalog(project.folder / "items.parquet")
    assert launch[:3] == ["dg", "launch", "--assets"]
    with project.loaded() as definitions, dg.instance_for_test() as instance:
        graph = definitions.resolve_asset_graph()
        selected = dg.AssetSelection.from_string(launch[3]).resolve(graph)
        assert {key.path[0] for key in selected} == {"us"}
        texts = dg.AssetKey(["us", "item_texts"])
        assert texts in selected
        job = definitions.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=instance, asset_selection=[texts]).success
    assert sid_assets.load(str(project.folder / "data" / "us")).tables == ["item_texts"]


def test_the_project_in_python_runs(example, tmp_path, capsys):
    stages = ("item_texts", "item_embeddings", "tokenizer_checkpoint", "codes", "item_counts")
    tables = ("catalog", *stages, "sid_registry", "pid2sid")
    selected = [dg.AssetKey("raw_us"), dg.AssetKey("shelves")]
    selected += [dg.AssetKey(["us", table]) for table in tables]
    with dg.instance_for_test() as instance:
        job = example.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=instance, asset_selection=selected).success
    pids = pd.read_csv(tmp_path / "shop_us.csv").pid.tolist()
    assert sid_assets.load("data/us")["pid2sid"].to_pandas().pid.tolist() == pids
    assert (tmp_path / "data" / "us" / "inputs" / "catalog.parquet").exists()
    assert "sid" in capsys.readouterr().out


def test_all_arguments_and_attributes_are_named():
    named = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`[^|]+) \|", PAGE, re.M))))
    assert set(sid_assets.SemanticIds.model_fields) == named


def test_the_names_are_those_of_the_component():
    definitions = component(SCAFFOLDED)
    repository = definitions.get_repository_def()
    graph = definitions.resolve_asset_graph()
    keys = graph.get_all_asset_keys()
    named = re.search(r"\| what \| name \|\n.*?\n\n", PAGE, re.DOTALL)
    assert named
    names = set(re.findall(r"`([^`]+)`", named[0]))
    assert names - {"data/us/pid2sid.parquet"} <= {
        *(key.to_user_string() for key in keys),
        *(str(graph.get(key).group_name) for key in keys),
        *(definitions.resources or {}),
        *(job.name for job in repository.get_all_jobs()),
        *(schedule.name for schedule in repository.schedule_defs),
        *(sensor.name for sensor in repository.sensor_defs),
    }
    on = {
        sensor.name
        for sensor in repository.sensor_defs
        if sensor.default_status == dg.DefaultSensorStatus.RUNNING
    }
    assert on == {"us_end_runs_that_were_killed", "us_post_failures"}


def test_the_attributes_do_what_is_said_of_them():
    definitions = component(UPSTREAM)
    graph = definitions.resolve_asset_graph()
    sids = graph.get(dg.AssetKey(["de", "pid2sid"]))
    assert sids.freshness_policy
    assert (sids.owners, sids.tags["tier"]) == (["ann@example.com", "team:recsys"], "1")
    names = {sensor.name for sensor in definitions.get_repository_def().sensor_defs}
    assert "de_refresh_by_conditions" in names
    assert "de_refresh_on_new_catalog" not in names


def test_the_permission_is_run_config_of_the_job(example):
    dg.validate_run_config(example.resolve_job_def("refresh_us"), PERMISSION)


def test_a_second_run_is_told_what_is_shown(example, tmp_path):
    texts = [dg.AssetKey(["us", "catalog"]), dg.AssetKey("raw_us")]
    with dg.instance_for_test() as instance:
        job = example.resolve_implicit_global_asset_job_def()
        other = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        (tmp_path / "data" / "us").mkdir(parents=True)
        (tmp_path / "data" / "us" / ".taken_by.json").write_text(f'{{"run": "{other.run_id}"}}')
        result = job.execute_in_process(
            instance=instance, asset_selection=texts, raise_on_error=False
        )
    failure = result.failure_data_for_node("us__catalog")
    assert failure
    assert failure.error
    (shown,) = re.findall(r"```\n(data/us: run .*?)```", PAGE, flags=re.DOTALL)
    run = f"run {other.run_id} ({other.job_name})"
    words = " ".join(shown.split()).replace("run 65ca262c (refresh_us)", run)
    said = failure.error.message
    assert words in said


def test_the_pool_is_limited_by_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    ((dagster, *arguments),) = POOL
    assert dagster == "dagster"
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        (limit,) = instance.event_log_storage.get_pool_limits()
    assert (limit.name, limit.limit) == ("gpu", 1)


def test_run_monitoring_is_turned_on_by_the_config():
    with dg.instance_for_test(overrides=MONITORING) as instance:
        assert instance.run_monitoring_enabled


def test_the_executors_can_run_the_job(example):
    names = execute(EXECUTORS)
    for name in ("small", "large"):
        job = dg.Definitions.merge(example, names[name]).resolve_job_def("refresh_us")
        assert job.executor_def is names[name].executor
    outcome = names["large"].executor.config_schema.resolve_config({})
    assert outcome.success
    assert "forkserver" in str(outcome.value)


def test_the_io_manager_alone_stores_frames(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with dg.instance_for_test() as instance:
        job = execute(IO_MANAGER)["defs"].resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=instance).success
    assert pd.read_parquet(tmp_path / "data/ours/cheap.parquet").pid.tolist() == [1]
