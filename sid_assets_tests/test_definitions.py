"""The wiring: what the graph holds, and what loading it costs."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from sid_assets.definitions import definitions, defs
from sid_assets.settings import Settings

DEFINED = defs.get_repository_def()  # resolved here, before a test has its own Dagster instance
REPOSITORY = Path(__file__).parents[1]
TRAINING_SETS = (
    *("video_rec", "user_profile", "item_understand", "sft_video_rec", "sft_interactive_rec"),
    *("sft_label_cond_rec", "sft_label_pred", "sft_ad_rec", "sft_product_rec"),
    *("sft_item_understand", "sft_rec_reason"),
)
CHECKS_OF_A_DOMAIN = {
    "item_texts": "files rows pids texts text_hashes pid_zero rejected",
    "item_embeddings": "files width finite unit_norm vector_hashes pids same_pids same_text_hash",
    "codes": "files three_codes codes_in_range pids same_pids same_vector_hash",
    "item_counts": "files pids users",
    "sid_registry": "files rows_in_order values one_sid same_items same_codes room unmoved",
    "sid_moves": "files pids equal_to_registry",
    "sid_refreshes": "files times last_refresh",
    "pid_map": "files pids numbers",
    "pid2sid": "files pids equal_to_registry",
    "sid2pid": "files sids_in_order inverts_pid2sid json_file",
    "sid_prefixes": "only_the_catalog",
    "sid_quality": "collisions utilisation reconstruction",
}
CHECKS = {
    **CHECKS_OF_A_DOMAIN,
    **{f"goods/{table}": names for table, names in CHECKS_OF_A_DOMAIN.items()},
    "tokenizer_checkpoint": "shape finite embedding_space scale",
    "sid_vocabulary": "files tokens ids",
    "interactions": "files rows order targets_after_history splits ids",
    **{
        f"{name}_dataset": "files contract free_texts rows_add_up coverage not_empty current_sids"
        for name in TRAINING_SETS
    },
}
"""The checks of every asset, as dashboards and alerts of users name them."""

CHECKS_THAT_WARN = {
    *("pid_zero", "rejected", "free_texts", "coverage", "not_empty", "current_sids"),
    *("collisions", "utilisation", "reconstruction", "same_codes", "room"),
}

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
        "post_failures",
    }


def test_the_inputs_stand_in_the_graph():
    graph = defs.resolve_asset_graph()
    keys = {key.to_user_string() for key in graph.external_asset_keys}
    assert keys == {"catalog", "events", "captions"}
    parents = {key.to_user_string() for key in graph.get(dg.AssetKey("item_texts")).parent_keys}
    assert parents == {"catalog"}


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


def test_the_names_of_the_checks_and_which_of_them_warn():
    settings = Settings.from_environment({"SID_GOODS_CATALOG": "goods.parquet"})
    graph = definitions(settings).resolve_asset_graph()
    found = {key.to_user_string(): set() for key in graph.materializable_asset_keys}
    for key in graph.asset_check_keys:
        found[key.asset_key.to_user_string()].add(key.name)
        spec = graph.get_check_spec(key)
        assert spec.description, key
        assert spec.blocking == (key.name not in CHECKS_THAT_WARN), key
    assert found == {asset: set(names.split()) for asset, names in CHECKS.items()}


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
