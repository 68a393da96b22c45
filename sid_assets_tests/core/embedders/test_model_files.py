"""The files of a model in a folder and on the hub, and the version they belong to."""

import json
import os
import shutil
from pathlib import Path

import pytest

from sid_assets.core.embedders.qwen3 import Qwen3Embedder
from sid_assets.core.errors import InputError
from sid_assets_tests.core.embedders.mixed_texts import run_program


def test_the_space_of_a_folder_depends_on_its_files_not_its_path(
    small_model: Path, tmp_path: Path
) -> None:
    space = Qwen3Embedder(str(small_model)).space
    moved = shutil.copytree(small_model, tmp_path / "elsewhere" / small_model.name)
    assert Qwen3Embedder(str(moved)).space == space
    assert Qwen3Embedder(str(moved), max_length=16).space != space
    weights = moved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert Qwen3Embedder(str(moved)).space.revision != space.revision
    assert Qwen3Embedder(str(moved)).space.tokenizer_revision == space.tokenizer_revision


def test_whether_weights_are_on_this_machine(small_model: Path, tmp_path: Path) -> None:
    assert Qwen3Embedder(str(small_model)).has_weights()
    shards = {f"layer.{n}": f"model-{n}-of-2.safetensors" for n in (1, 2)}
    shutil.copy(small_model / "config.json", tmp_path)
    embedder = Qwen3Embedder(str(tmp_path))
    assert not embedder.has_weights()
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    (tmp_path / "model-1-of-2.safetensors").touch()
    assert not embedder.has_weights()
    (tmp_path / "model-2-of-2.safetensors").touch()
    assert embedder.has_weights()


def test_a_folder_has_no_revision(small_model: Path) -> None:
    with pytest.raises(InputError, match="a folder has no revision 'v2'"):
        _ = Qwen3Embedder(str(small_model), revision="v2").space


@pytest.fixture
def hub_cache(small_model: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a machine without a network whose hub cache contains the model at v1."""
    repository = tmp_path / "hub" / "models--org--small"
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(small_model, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "v1").write_text(commit)
    return os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}


def test_a_revision_of_a_hub_model_is_resolved_to_its_commit(hub_cache: dict[str, str]) -> None:
    program = (
        "from sid_assets.core.embedders.qwen3 import Qwen3Embedder;"
        "embedder = Qwen3Embedder('org/small', revision='v1'); space = embedder.space;"
        "print(space.model, space.revision, space.tokenizer_revision,"
        " len(embedder.embed(['a']).vectors))"
    )
    run = run_program(program, env=hub_cache)
    assert run.returncode == 0, run.stderr
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert run.stdout.split() == ["org/small", commit, commit, "1"]


def test_a_model_that_cannot_be_downloaded_is_an_error(hub_cache: dict[str, str]) -> None:
    program = (
        "from sid_assets.core.embedders.qwen3 import Qwen3Embedder;"
        "from sid_assets.core.errors import InputError\n"
        "try: Qwen3Embedder('org/small', revision='v2').space\n"
        "except InputError as error: print(error)"
    )
    run = run_program(program, env=hub_cache)
    assert run.stdout.startswith("org/small at revision 'v2': config.json cannot be found")
