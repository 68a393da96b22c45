"""Fixtures that many tests share."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from botocore.retries.standard import ExponentialBackoff
from dagster._core.storage.defs_state.base import set_defs_state_storage
from s3fs import S3FileSystem

from sid_assets_tests.films import make_films
from sid_assets_tests.graph import (
    failure_message,
    materialize,
    settings_with_interactions,
    write_catalog,
    write_interactions,
)
from sid_assets_tests.s3 import environment, new_bucket, started_s3
from sid_assets_tests.s3_proxy import Faults, faulty_s3
from tools.small_qwen3 import qwen_vocabulary, save_model, save_tokenizer, small_tokenizer

# Tokenizers warn, and may hang, where a process that used them in threads forks.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings must not reach the tests."""
    for name in list(os.environ):
        if name.startswith("SID_") and name != "SID_TEST_DATA":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_instance_from_other_tests() -> Iterator[None]:
    """Contexts of schedules and sensors leave their closed instance in a context variable."""
    with set_defs_state_storage(None):
        yield


@pytest.fixture(scope="session")
def office() -> Path:
    """A real catalog of office products; the test is skipped if it is not available."""
    folder = os.environ.get("SID_TEST_DATA")
    if not folder:
        pytest.skip("SID_TEST_DATA is not set: it names the folder with the real catalogs")
    return Path(folder, "amazon_office")


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of some films and goods; tests only read it."""
    return make_films(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dg.ExecuteInProcessResult]:
    """A folder with sixty items, interactions with them and all tables, and the run; for reading.

    The settings are those of `settings_with_interactions`.
    """
    folder = tmp_path_factory.mktemp("made")
    frame = write_catalog(folder / "catalog.parquet")
    write_interactions(folder / "interactions.parquet", frame.pid.tolist())
    result = materialize(settings_with_interactions(folder), checks=True)
    assert result.success, failure_message(result)
    return folder, result


@pytest.fixture
def made_folder(made: tuple[Path, dg.ExecuteInProcessResult], tmp_path: Path) -> Path:
    """A copy of that folder, which a test may change."""
    return shutil.copytree(made[0], tmp_path / "copy", symlinks=True)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of Qwen3-Embedding-8B's width, with a small vocabulary."""
    tokenizer = small_tokenizer()
    folder = save_tokenizer(tokenizer, tmp_path_factory.mktemp("models") / "small-qwen3")
    return save_model(folder, tokenizer)


@pytest.fixture(scope="session")
def real_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokenizer of Qwen3-Embedding-8B, without a model."""
    if importlib.util.find_spec("dashscope") is None:
        pytest.skip("needs the vocabulary in the dashscope package (pip install --no-deps)")
    return save_tokenizer(qwen_vocabulary(), tmp_path_factory.mktemp("models") / "qwen-tokenizer")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of a server that speaks S3's protocol, on loopback."""
    with started_s3() as url:
        yield url


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a new bucket. The environment leads to its server."""
    for name, value in environment(s3_server).items():
        monkeypatch.setenv(name, value)
    return new_bucket()


@pytest.fixture
def faulty_bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Faults]]:
    """The URL of a new bucket behind a proxy, and the faults of the proxy."""
    # The client's pauses between tries, shorter.
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda backoff, context: 0.01)
    with faulty_s3(s3_server) as faults:
        for name, value in environment(faults.url).items():
            monkeypatch.setenv(name, value)
        S3FileSystem.clear_instance_cache()  # clients keep the server that they found first
        yield new_bucket(), faults
        S3FileSystem.clear_instance_cache()
