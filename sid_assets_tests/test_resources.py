"""Embedders and policies, made from the settings."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from sid_assets.assets.placement import Placement
from sid_assets.core.embedders.openai_server import OpenAIServerEmbedder
from sid_assets.core.embedders.qwen3 import Qwen3Embedder
from sid_assets.core.errors import InputError
from sid_assets.resources import (
    AUTOMATION_TAGS,
    backend_of,
    make_embedder,
    planning_embedder,
    policy_of,
)
from sid_assets.settings import Refresh
from sid_assets_tests.graph import settings_for


@pytest.mark.parametrize(
    ("values", "revision"),
    [
        ({}, "main"),
        ({"embedding_revision": "a1"}, "a1"),
        ({"embedding_revision": "a1", "embedding_tokenizer_revision": "b2"}, "b2"),
        ({"embedding_revision": "a1", "embedding_tokenizer": "org/other"}, "main"),
        ({"embedding_tokenizer": "org/other", "embedding_tokenizer_revision": "b2"}, "b2"),
    ],
)
def test_the_tokenizer_of_a_server_can_be_pinned(
    tmp_path: Path, values: dict[str, str], revision: str
) -> None:
    values = {"embedder": "openai", "embedding_url": "http://a/v1"} | values
    embedder = make_embedder(settings_for(tmp_path, **values))
    assert isinstance(embedder, OpenAIServerEmbedder)
    assert embedder.tokenizer_revision == revision
    assert embedder.revision == values.get("embedding_revision", "main")


def test_the_servers_own_tokenizer_cannot_be_pinned(tmp_path: Path) -> None:
    values = {"embedder": "openai", "embedding_url": "http://a/v1", "embedding_tokenizer": "server"}
    make_embedder(settings_for(tmp_path, **values))
    with pytest.raises(InputError, match="SID_EMBEDDING_TOKENIZER_REVISION=b2 has no effect"):
        make_embedder(settings_for(tmp_path, **values, embedding_tokenizer_revision="b2"))


def test_settings_decide_the_size_of_batches_and_the_number_of_requests(tmp_path: Path) -> None:
    server = {"embedder": "openai", "embedding_url": "http://a/v1"}
    sizes = {"batch_tokens": "300", "embedding_requests": "3"}
    usual = make_embedder(settings_for(tmp_path, **server))
    asked = make_embedder(settings_for(tmp_path, **server, **sizes))
    assert isinstance(usual, OpenAIServerEmbedder)
    assert isinstance(asked, OpenAIServerEmbedder)
    assert (usual.batch_tokens, usual.requests) == (16384, 8)
    assert (asked.batch_tokens, asked.requests) == (300, 3)
    in_process = make_embedder(settings_for(tmp_path, embedder="qwen3", batch_tokens="300"))
    device_decides = make_embedder(settings_for(tmp_path, embedder="qwen3"))
    assert isinstance(in_process, Qwen3Embedder)
    assert isinstance(device_decides, Qwen3Embedder)
    assert (in_process.batch_tokens, device_decides.batch_tokens) == (300, None)


def run_with(tags: dict[str, str]) -> SimpleNamespace:
    """The part of a context that says who started the run."""
    return SimpleNamespace(run=SimpleNamespace(tags=tags))


@pytest.mark.parametrize("tag", AUTOMATION_TAGS)
@pytest.mark.parametrize("asked", ["new_generation", "allow_large_change"])
def test_what_only_people_may_allow_is_refused_to_schedules_and_sensors(
    tmp_path: Path, tag: str, asked: str
) -> None:
    settings, refresh = settings_for(tmp_path), Refresh(**{asked: True})
    with pytest.raises(InputError, match="A run of nightly may not set new_generation"):
        policy_of(run_with({tag: "nightly"}), settings, refresh, Placement())
    assert getattr(policy_of(run_with({}), settings, refresh, Placement()), asked)
    assert (
        policy_of(run_with({tag: "nightly"}), settings, Refresh(), Placement()).max_changed_share
        == 0.3
    )


def test_a_plan_waits_for_a_server_only_briefly(tmp_path: Path) -> None:
    server = settings_for(tmp_path, embedder="openai", embedding_url="http://a/v1")
    patient, brief = make_embedder(server), planning_embedder(server)
    assert isinstance(patient, OpenAIServerEmbedder)
    assert isinstance(brief, OpenAIServerEmbedder)
    assert brief.patience < patient.patience
    assert brief.timeout < patient.timeout
    assert brief.url == patient.url


def test_an_unknown_embedder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="SID_EMBEDDER=word2vec"):
        make_embedder(settings_for(tmp_path, embedder="word2vec"))


def test_a_device_that_does_not_exist_is_refused_before_anything_is_embedded(tmp_path: Path):
    """Vectors of hashed words need no device, but codes do."""
    with pytest.raises(InputError, match=r"Device 'gpu' cannot be used: .*SID_DEVICE"):
        make_embedder(settings_for(tmp_path, device="gpu"))


def test_an_actor_cannot_be_told_which_gpu_is_its_own(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, backend="ray", device="cuda:1")
    with (
        pytest.raises(InputError, match="Use cuda, or leave it empty"),
        backend_of(settings, print),
    ):
        pass
