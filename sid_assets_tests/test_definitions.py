"""The wiring: what the graph holds, and what loading it costs."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from sid_assets.definitions import defs

DEFINED = defs.get_repository_def()  # here, before a test's own Dagster instance is about
REPOSITORY = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "faiss", "ray", "sklearn", "matplotlib", "plotly", "openai")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_the_keys_of_the_graph():
    keys = {key.to_user_string() for key in defs.resolve_all_asset_keys()}
    assert keys >= {
        "item_texts",
        "item_embeddings",
        "tokenizer_checkpoint",
        "codes",
        "pid2sid",
        "video_rec_dataset",
    }


def test_jobs_schedules_and_sensors():
    repository = DEFINED
    assert "refresh_semantic_ids" in {job.name for job in repository.get_all_jobs()}
    assert [schedule.name for schedule in repository.schedule_defs] == ["refresh_on_schedule"]
    assert {sensor.name for sensor in repository.sensor_defs} == {
        "refresh_on_new_catalog",
        "end_runs_that_were_killed",
    }


def test_every_asset_says_what_it_is_and_has_checks():
    graph = defs.resolve_asset_graph()
    checked = {key.asset_key for key in graph.asset_check_keys}
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert node.description, key
        assert node.group_name != "default", key
        assert node.kinds, key
        assert not node.is_partitioned, key
        assert key in checked, key


def test_steps_that_use_a_gpu_take_turns():
    graph = defs.resolve_asset_graph()
    for name in ("item_embeddings", "tokenizer_checkpoint", "codes"):
        assert graph.get(dg.AssetKey(name)).pools == {"gpu"}


def test_loading_the_definitions_imports_nothing_heavy():
    program = "import sys, sid_assets.definitions; print([m for m in HEAVY if m in sys.modules])"
    program = f"HEAVY = {HEAVY!r}; {program}"
    result = _run(sys.executable, "-c", program)
    assert result.stdout.strip() == "[]", result.stderr


def test_core_works_without_dagster():
    program = (
        "import sys, pkgutil, importlib; sys.modules['dagster'] = None\n"
        "import sid_assets.core as core\n"
        "names = [m.name for m in pkgutil.walk_packages(core.__path__, 'sid_assets.core.')]\n"
        "[importlib.import_module(name) for name in names]; print(len(names))"
    )
    result = _run(sys.executable, "-c", program)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 10


@pytest.mark.parametrize("deployment", ["demo", "onerec"])
def test_the_definitions_of_the_workspace_validate(deployment, monkeypatch):
    monkeypatch.setenv("SID_DEPLOYMENT", deployment)
    result = _run(str(Path(sys.executable).with_name("dagster")), "definitions", "validate")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "sid_assets.definitions" in result.stdout + result.stderr
