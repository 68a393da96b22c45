"""A server with the OpenAI API gives the same vectors as the model in this process."""

import pickle
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sid_assets.core.embedders import openai_server
from sid_assets.core.embedders.openai_server import KEY_VARIABLE, OpenAIServerEmbedder
from sid_assets.core.embedders.qwen3 import Qwen3Embedder
from sid_assets.core.embedders.text_tokenizer import DocumentTokenizer
from sid_assets.core.errors import InputError
from sid_assets_tests.embedding_server import KEY, EmbeddingServer, served
from tools.small_qwen3 import ENDOFTEXT

TEXTS = [
    "Title: The Third Man",
    "千与千寻",
    "pen",
    "🎬",
    "ink " * 40,
    "pen",
    "of the binder",
    *(f"ink cartridge {i}" for i in range(30)),
]


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)  # not the developer's .env


@pytest.fixture(scope="module")
def in_process(small_model: Path) -> Qwen3Embedder:
    return Qwen3Embedder(str(small_model), device="cpu")


@pytest.fixture(scope="module")
def expected(in_process: Qwen3Embedder) -> np.ndarray:
    return in_process.embed(TEXTS).vectors


@pytest.fixture(scope="module")
def model(in_process: Qwen3Embedder) -> Callable[[Sequence[Any]], np.ndarray]:
    return served(in_process)


def client(server: EmbeddingServer, small_model: Path, **settings: Any) -> OpenAIServerEmbedder:
    settings = {"tokenizer": str(small_model), "batch_texts": 4} | settings
    return OpenAIServerEmbedder(server.url, "small", **settings)


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left * right).sum(axis=1)


@pytest.mark.parametrize("base64", [True, False])
@pytest.mark.parametrize("tokenise_here", [True, False])
def test_gives_the_vectors_of_the_model_in_process(
    small_model: Path,
    model: Callable[[Sequence[Any]], np.ndarray],
    expected: np.ndarray,
    tokenise_here: bool,
    base64: bool,
) -> None:
    with EmbeddingServer(model, base64=base64) as server:
        embedder = client(server, small_model, tokenizer=str(small_model) if tokenise_here else "")
        embedded = embedder.embed(TEXTS)
        embedder.close()
    assert embedded.vectors.dtype == np.float32
    assert embedded.vectors.flags.c_contiguous
    assert cosines(embedded.vectors, expected).min() >= 0.9999
    sent = [text for request in server.requests for text in request["input"]]
    assert len(sent) == len(set(TEXTS))
    assert all(isinstance(text, list if tokenise_here else str) for text in sent)
    assert max(len(request["input"]) for request in server.requests) == 4
    assert server.most_at_once > 1


@pytest.mark.parametrize("fault", ["429", "500", "cut", "cut in the body", "stall"])
def test_temporary_faults_change_nothing(
    small_model: Path,
    model: Callable[[Sequence[Any]], np.ndarray],
    expected: np.ndarray,
    fault: Any,
) -> None:
    faults = [fault] * (1 if fault == "stall" else 3)
    with EmbeddingServer(model, faults=faults) as server:
        embedder = client(server, small_model, timeout=0.8 if fault == "stall" else 60.0)
        embedded = embedder.embed(TEXTS)
        embedder.close()
    assert cosines(embedded.vectors, expected).min() >= 0.9999
    assert not server.faults


def test_many_faults_of_all_kinds_change_nothing(
    small_model: Path, model: Callable[[Sequence[Any]], np.ndarray], expected: np.ndarray
) -> None:
    faults: list[Any] = ["500", "429", "cut", "429", "cut in the body", "500"]
    with EmbeddingServer(model, faults=faults) as server:
        embedder = client(server, small_model, requests=3)
        embedded = embedder.embed(TEXTS)
        embedder.close()
    assert cosines(embedded.vectors, expected).min() >= 0.9999


def test_a_permanent_fault_is_an_error(
    small_model: Path, model: Callable[[Sequence[Any]], np.ndarray]
) -> None:
    with EmbeddingServer(model, faults=["500" for _ in range(1000)]) as server:
        embedder = client(server, small_model, patience=0.3, requests=2)
        with pytest.raises(InputError, match=r"127\.0\.0\.1.*worker died.*Check that the server"):
            embedder.embed(TEXTS)
        embedder.close()
    sent = {str(request["input"]) for request in server.requests}
    assert len(sent) <= 4, "no request is sent after an error"
    assert len(server.requests) > len(sent)


@pytest.mark.parametrize("fault", ["429", "cut"])
def test_a_fault_may_last_longer_than_a_few_retries(
    small_model: Path,
    model: Callable[[Sequence[Any]], np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Any,
) -> None:
    monkeypatch.setattr(openai_server, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(openai_server, "LONGEST_WAIT", 0.01)
    with EmbeddingServer(model, faults=[fault] * 20) as server:
        embedder = client(server, small_model)
        assert len(embedder.embed(["pen"]).vectors) == 1
        embedder.close()
    assert len(server.requests) == 21
    assert caplog.text.count("Retrying for") == 1


def test_retries_of_a_stalling_server_stop_in_time(
    small_model: Path, model: Callable[[Sequence[Any]], np.ndarray]
) -> None:
    with EmbeddingServer(model, faults=["stall" for _ in range(20)]) as server:
        embedder = client(server, small_model, timeout=0.1, patience=0.5)
        started = time.monotonic()
        with pytest.raises(InputError, match=r"timed out.*Check that the server"):
            embedder.embed(["pen"])
        embedder.close()
        assert time.monotonic() - started < 1.5


def test_a_permanent_error_does_not_wait_for_retries(
    small_model: Path,
    model: Callable[[Sequence[Any]], np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openai_server, "FIRST_WAIT", 30.0)
    with EmbeddingServer(model, faults=["cut", "413"]) as server:
        embedder = client(server, small_model, requests=2)
        started = time.monotonic()
        with pytest.raises(InputError, match="too large"):
            embedder.embed(TEXTS)
        embedder.close()
        assert time.monotonic() - started < 10


def test_no_server_is_an_error(small_model: Path) -> None:
    with EmbeddingServer(lambda texts: np.zeros((0, 4096))) as server:
        embedder = client(server, small_model, patience=0)
    with pytest.raises(InputError, match=r"Connection error.*Check that the server is running"):
        embedder.embed(["pen"])


def narrow(answer: dict[str, Any]) -> dict[str, Any]:
    for row in answer["data"]:
        row["embedding"] = row["embedding"][:1024]
    return answer


def one_row_narrow(answer: dict[str, Any]) -> dict[str, Any]:
    answer["data"][0]["embedding"] = answer["data"][0]["embedding"][:5]
    return answer


def one_too_few(answer: dict[str, Any]) -> dict[str, Any]:
    return answer | {"data": answer["data"][1:]}


def one_too_many(answer: dict[str, Any]) -> dict[str, Any]:
    return answer | {"data": [*answer["data"], answer["data"][0] | {"index": len(answer["data"])}]}


def one_twice(answer: dict[str, Any]) -> dict[str, Any]:
    return answer | {"data": [*answer["data"][1:], answer["data"][1]]}


def not_a_number(answer: dict[str, Any]) -> dict[str, Any]:
    answer["data"][0]["embedding"][7] = float("nan")
    return answer


def zero(answer: dict[str, Any]) -> dict[str, Any]:
    answer["data"][0]["embedding"] = [0.0] * 4096
    return answer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (narrow, "small gives vectors 1024 wide, but the tokenizer of semantic IDs needs 4096"),
        (one_row_narrow, "small gives vectors 5, 4096 wide"),
        (one_too_few, "3 vectors for 4 texts"),
        (one_too_many, "5 vectors for 4 texts"),
        (one_twice, "4 vectors for 4 texts, not exactly one for each"),
        (not_a_number, "zero or not finite"),
        (zero, "zero or not finite"),
        (lambda answer: answer | {"data": []}, "the answer contains no vectors"),
        (lambda answer: {"detail": "something else"}, "the answer contains no vectors"),
        (lambda answer: "a text", "the answer contains no vectors"),
        (
            lambda answer: answer | {"data": [{"index": i} for i in range(4)]},
            "the answer contains no vectors",
        ),
    ],
)
def test_a_wrong_answer_is_an_error(
    small_model: Path,
    model: Callable[[Sequence[Any]], np.ndarray],
    change: Callable[[dict[str, Any]], Any],
    message: str,
) -> None:
    with EmbeddingServer(model, change=change, base64=False) as server:
        embedder = client(server, small_model)
        with pytest.raises(InputError, match=message):
            embedder.embed(["pen", "ink", "paper", "binder"])
        embedder.close()


def test_vectors_are_normalised(
    small_model: Path, model: Callable[[Sequence[Any]], np.ndarray], expected: np.ndarray
) -> None:
    with EmbeddingServer(lambda texts: 17 * model(texts)) as server:
        embedder = client(server, small_model)
        vectors = embedder.embed(TEXTS).vectors
        embedder.close()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert cosines(vectors, expected).min() >= 0.9999


def test_truncated_texts_keep_their_end_token(
    small_model: Path, model: Callable[[Sequence[Any]], np.ndarray]
) -> None:
    hostile = [f"pen {ENDOFTEXT} {ENDOFTEXT}", "ink " * 40, f"{ENDOFTEXT}", "pen"]
    with EmbeddingServer(model) as server:
        embedder = client(server, small_model, max_length=8)
        embedded = embedder.embed(hostile)
        embedder.close()
    assert embedded.truncated == 3
    end = DocumentTokenizer(small_model / "tokenizer.json", 8).endoftext
    for ids in server.requests[0]["input"]:
        assert ids.index(end) == len(ids) - 1 <= 7


def test_a_request_that_is_too_large_says_which_setting_helps(
    small_model: Path, model: Callable[[Sequence[Any]], np.ndarray]
) -> None:
    with EmbeddingServer(model, faults=["413"]) as server:
        embedder = client(server, small_model)
        with pytest.raises(InputError, match=r"too large.*Lower SID_BATCH_TOKENS"):
            embedder.embed(["pen"])
        embedder.close()


def test_requests_are_bounded_by_tokens(
    small_model: Path, model: Callable[[Sequence[Any]], np.ndarray]
) -> None:
    with EmbeddingServer(model) as server:
        embedder = client(server, small_model, batch_tokens=100, batch_texts=1000)
        embedder.embed(TEXTS)
        embedder.close()
    sizes = [sum(map(len, request["input"])) for request in server.requests]
    assert max(sizes) <= 100
    assert len(sizes) < len(set(TEXTS)) / 2


def test_the_key_is_read_from_the_environment(
    small_model: Path,
    model: Callable[[Sequence[Any]], np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with EmbeddingServer(model) as server:
        monkeypatch.setenv(KEY_VARIABLE, "a secret")
        allowed = client(server, small_model)
        assert len(allowed.embed(["pen"]).vectors) == 1
        assert b"a secret" not in pickle.dumps(client(server, small_model))
        monkeypatch.setenv(KEY_VARIABLE, "another")
        refused = client(server, small_model)
        with pytest.raises(InputError, match=r"who are you.*Set OPENAI_API_KEY to the"):
            refused.embed(["pen"])
        allowed.close()
        refused.close()
    assert len(server.requests) == 2, "a permanent error is not retried"


def test_the_key_may_be_in_dotenv_which_wins_over_the_environment(
    small_model: Path,
    model: Callable[[Sequence[Any]], np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / ".env").write_text(f"{KEY_VARIABLE}=another\n")
    with EmbeddingServer(model) as server:
        monkeypatch.setenv(KEY_VARIABLE, KEY)
        from_file = client(server, small_model)
        with pytest.raises(InputError, match="who are you") as refused:
            from_file.embed(["pen"])
        assert "another" not in str(refused.value)
        (tmp_path / ".env").unlink()
        from_environment = client(server, small_model)
        assert len(from_environment.embed(["pen"]).vectors) == 1
        assert KEY not in repr(from_environment)
        from_file.close()
        from_environment.close()


def test_a_wrong_url_is_an_error(
    small_model: Path, model: Callable[[Sequence[Any]], np.ndarray]
) -> None:
    with EmbeddingServer(model) as server:
        embedder = client(server, small_model)
        embedder.url = embedder.url.removesuffix("/v1")
        with pytest.raises(InputError, match=r"no route.*Include /v1 in SID_EMBEDDING_URL"):
            embedder.embed(["pen"])
        embedder.close()
    with pytest.raises(InputError, match="must start with http"):
        OpenAIServerEmbedder("localhost:8000/v1", "small")


def test_the_space_contains_what_is_known_of_a_server(small_model: Path) -> None:
    here = OpenAIServerEmbedder("http://a/v1", "small", tokenizer=str(small_model))
    there = OpenAIServerEmbedder("http://b/v1", "small", tokenizer=str(small_model))
    assert here.space == there.space, "a server may move"
    assert here.space.tokenizer_revision.startswith("sha256:")
    assert here.space.max_length == 8192
    sends_texts = OpenAIServerEmbedder("http://a/v1", "small", tokenizer="").space
    assert (sends_texts.tokenizer_revision, sends_texts.max_length) == ("", 0)
    pinned = OpenAIServerEmbedder("http://a/v1", "small", "abc", tokenizer=str(small_model))
    assert pinned.space.revision == "abc"


def test_tokens_are_counted_or_estimated(small_model: Path, in_process: Qwen3Embedder) -> None:
    counted = OpenAIServerEmbedder("http://a/v1", "small", tokenizer=str(small_model))
    exact = in_process.count_tokens(TEXTS).lengths
    np.testing.assert_array_equal(counted.count_tokens(TEXTS).lengths, exact)
    assert not counted.count_tokens(TEXTS).estimated
    estimated = OpenAIServerEmbedder("http://a/v1", "small", tokenizer="").count_tokens(TEXTS)
    assert estimated.estimated
    assert estimated.lengths.tolist()[:3] == [7, 5, 2]


def test_no_texts_need_no_request(small_model: Path) -> None:
    embedder = OpenAIServerEmbedder("http://127.0.0.1:1/v1", "small", tokenizer=str(small_model))
    assert embedder.embed([]).vectors.shape == (0, 4096)
