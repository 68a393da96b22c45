"""How the steps of a run are executed."""

import os
import sys

import dagster as dg
import pytest

from sid_assets.executors import executor


@dg.op
def where() -> tuple[int, bool]:
    """The process of the step, and whether it had the graph when it started."""
    return os.getpid(), "sid_assets.definitions" in sys.modules


def forking_job() -> dg.JobDefinition:
    """A job of one step."""

    @dg.job(name="forking", executor_def=executor(own_processes=True))
    def forking() -> None:
        where()

    return forking


@pytest.fixture
def instance():
    with dg.instance_for_test() as made:
        yield made


def _where(instance: dg.DagsterInstance, config: dict) -> tuple[int, bool]:
    job = dg.reconstructable(forking_job)
    with dg.execute_job(
        job, instance=instance, run_config={"execution": {"config": config}}
    ) as ran:
        assert ran.success
        return ran.output_for_node("where")


def test_a_step_is_forked_from_a_process_that_has_loaded_the_graph(instance):
    process, had_the_graph = _where(instance, {})
    assert process != os.getpid()
    assert had_the_graph


def test_a_run_config_may_start_new_processes(instance):
    process, had_the_graph = _where(instance, {"start_method": {"spawn": {}}, "max_concurrent": 1})
    assert process != os.getpid()
    assert not had_the_graph


def test_the_demo_runs_in_one_process():
    assert executor(own_processes=False).name == "in_process"
