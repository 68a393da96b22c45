"""Embeddings from a server with the OpenAI API: `vllm serve`, SGLang, TEI and others."""

import logging
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from sid_assets.core.embedders import Embedded, Memory, TokenCounts
from sid_assets.core.embedders.batching import distinct, rows_that_fit, tokenised_windows
from sid_assets.core.embedders.model_files import MAIN, ModelFiles
from sid_assets.core.embedders.qwen3 import MAX_LENGTH, MODEL
from sid_assets.core.embedders.text_tokenizer import DocumentTokenizer, Tokenized
from sid_assets.core.environment import merged_environment
from sid_assets.core.errors import InputError
from sid_assets.core.schema import EMBEDDING_DIM
from sid_assets.core.store.provenance import EmbeddingSpace

if TYPE_CHECKING:
    from openai import OpenAI, OpenAIError
    from openai.types import CreateEmbeddingResponse

KEY_VARIABLE = "OPENAI_API_KEY"
"""The variable in the environment or `.env` that holds the server's key. The key is read when the
client is created and stored nowhere else. Self-hosted servers often need none."""

BYTES_PER_TOKEN = 3
"""UTF-8 bytes per token, for estimates. Counted with Qwen's vocabulary: 2.8 in product titles, 3.1
in short texts on films, 4.2 in long product descriptions."""

REQUEST_TOKENS = 16384
"""Tokens per request, by default."""

FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
"""Seconds before a request is retried: doubled each time, with jitter."""

TRIES_BEFORE_SAYING_SO = 4
"""After this many retries, about four seconds, the log says that a request is being retried."""

MESSAGE_SHOWN = 500
"""Characters shown of a server's error message."""

REMEDY = "Check that the server is running, and start again: finished chunks are kept."
REMEDIES: dict[int | None, str] = {
    400: "The texts may be too long or too many: lower SID_MAX_LENGTH or SID_BATCH_TOKENS.",
    401: f"Set {KEY_VARIABLE} to the server's key.",
    403: f"Set {KEY_VARIABLE} to a key that may use the model.",
    404: "Include /v1 in SID_EMBEDDING_URL, and use a name from /v1/models in SID_EMBEDDING_MODEL.",
    413: "Lower SID_BATCH_TOKENS.",
}
"""What to do about an error of the server, by status code."""

_log = logging.getLogger(__name__)


@dataclass
class OpenAIServerEmbedder:
    """Requests vectors from a server, with several requests in flight.

    Texts are tokenised here and sent as token ids, so that truncation, the end token, and text that
    spells special tokens do not depend on the server. If the server does not accept token ids, or
    its tokenizer is not available, it gets the texts themselves and truncates and ends them in its
    own way.

    Attributes:
        url: Base URL, including `/v1`.
        model: Name of the model on the server.
        revision: Revision of the server's weights, if known. A server does not report it.
        tokenizer: Model on the hub, or folder, whose tokenizer.json is used; "" sends texts.
        tokenizer_revision: The tokenizer's branch, tag or commit.
        max_length: Longest text in tokens; longer texts are truncated and counted.
        batch_tokens: Tokens per request.
        batch_texts: Texts per request; servers have limits (TEI: 32).
        requests: Number of in-flight requests.
        timeout: Seconds to wait for an answer.
        patience: About how many seconds a request is retried after a temporary error (429, 5xx, no
            connection, timeout). The waits are 0.5 s, 1 s, ... 60 s, or as long as the server
            says. Loading a model of 8 billion parameters takes minutes.
    """

    url: str
    model: str
    revision: str = ""
    tokenizer: str = MODEL
    tokenizer_revision: str = MAIN
    max_length: int = MAX_LENGTH
    batch_tokens: int = REQUEST_TOKENS
    batch_texts: int = 32
    requests: int = 8
    timeout: float = 120.0
    patience: float = 600.0

    def __post_init__(self) -> None:
        """Reject an invalid URL and fewer than one request."""
        if self.requests < 1:
            raise InputError(f"SID_EMBEDDING_REQUESTS={self.requests}: must be 1 or more.")
        if not self.url.startswith(("http://", "https://")):
            raise InputError(
                f"SID_EMBEDDING_URL={self.url}: must start with http:// or https://, e.g. "
                "http://localhost:8000/v1."
            )

    @property
    def space(self) -> EmbeddingSpace:
        """What is known of the server's space. The server's address is not part of it."""
        return self._space

    @cached_property
    def _space(self) -> EmbeddingSpace:
        version = self._tokenizer_files.version("tokenizer.json") if self.tokenizer else ""
        return EmbeddingSpace(
            embedder="openai",
            model=self.model,
            revision=self.revision,
            tokenizer_revision=version,
            pooling="server",
            max_length=self.max_length if self.tokenizer else 0,
            dimension=EMBEDDING_DIM,
        )

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed texts.

        Raises:
            InputError: The server does not answer, rejects the request, or returns too few or too
                many vectors, or vectors that are zero, not finite or of another width.
        """
        different, which = distinct(texts)
        vectors = np.empty((len(different), EMBEDDING_DIM), np.float32)
        cut = np.zeros(len(different), bool)
        tokens = 0
        answers: dict[Future[np.ndarray], np.ndarray] = {}
        stop = threading.Event()
        pool = ThreadPoolExecutor(self.requests, "embed")
        try:
            for positions, tokenized in tokenised_windows(different, self._tokenise):
                cut[positions] = tokenized.cut
                tokens += int(tokenized.lengths.sum())
                for rows in self._batches(tokenized.lengths):
                    batch = tokenized.ids[rows]
                    if not self.tokenizer:
                        batch = [different[int(i)] for i in positions[rows]]
                    answers[pool.submit(self._ask, batch, stop)] = positions[rows]
            for answer in as_completed(answers):
                vectors[answers[answer]] = answer.result()
        finally:
            stop.set()  # requests that wait for a retry
            pool.shutdown(cancel_futures=True)
        return Embedded(vectors[which], tokens, tokens, truncated=int(cut[which].sum()))

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        """Count with the tokenizer, or estimate from bytes if the server tokenises."""
        tokenized = self._tokenise(texts)
        cut = int(tokenized.cut.sum()) if self.tokenizer else None
        return TokenCounts(tokenized.lengths, truncated=cut, estimated=not self.tokenizer)

    def memory(self) -> Memory | None:
        """None: no memory of this machine is needed."""
        return None

    def close(self) -> None:
        """Close the connections."""
        if client := self.__dict__.pop("_client", None):
            client.close()

    def _tokenise(self, texts: Sequence[str]) -> Tokenized:
        if self._document_tokenizer:
            return self._document_tokenizer.encode(texts)
        sizes = np.fromiter((len(text.encode()) for text in texts), np.int64, len(texts))
        ids: list[list[int]] = [[] for _ in texts]  # only the server knows them
        return Tokenized(ids, lengths=sizes // BYTES_PER_TOKEN + 1, cut=np.zeros(len(texts), bool))

    def _batches(self, lengths: np.ndarray) -> Iterator[slice]:
        """The rows of each request, given the lengths of sorted texts."""
        start = 0
        while start < len(lengths):
            rows = rows_that_fit(int(lengths[start]), self.batch_tokens)
            stop = min(start + rows, start + self.batch_texts, len(lengths))
            yield slice(start, stop)
            start = stop

    def _ask(self, batch: list[list[int]] | list[str], stop: threading.Event) -> np.ndarray:
        """The unit vectors of a batch, float32 (len(batch), dimension)."""
        from openai import OpenAIError

        try:
            answer = self._patiently(batch, stop)
            rows = sorted(answer.data, key=lambda row: row.index)
            self._require_shape(len(batch), [(row.index, len(row.embedding)) for row in rows])
            vectors = np.array([row.embedding for row in rows], np.float32)
        except OpenAIError as error:
            raise InputError(self._failure(error)) from error
        except (AttributeError, TypeError, ValueError) as error:  # JSON of another shape
            raise InputError(f"{self.url}: the answer contains no vectors: {error}") from error
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(norms) & (norms > 0)).all():
            raise InputError(
                f"{self.url}: {self.model} gives vectors that are zero or not finite. "
                "Check the server's log; another dtype may help."
            )
        return vectors / norms

    def _patiently(
        self, batch: list[list[int]] | list[str], stop: threading.Event
    ) -> "CreateEmbeddingResponse":
        """The answer to a batch. Temporary errors are retried."""
        from openai import OpenAIError

        give_up = time.monotonic() + self.patience
        tries = 0
        while True:
            try:
                return self._client.embeddings.create(model=self.model, input=batch)
            except OpenAIError as error:
                backoff = min(FIRST_WAIT * 2**tries, LONGEST_WAIT) * random.uniform(0.75, 1)  # noqa: S311 - no secret
                wait = _retry_after(error) or backoff
                if not _may_pass(error) or time.monotonic() + wait > give_up or stop.wait(wait):
                    raise
                tries += 1
                if tries == TRIES_BEFORE_SAYING_SO:
                    _log.warning(
                        "%s: %s Retrying for %.0f s.",
                        *(self.url, str(error)[:MESSAGE_SHOWN], give_up - time.monotonic()),
                    )

    def _require_shape(self, texts: int, rows: list[tuple[int, int]]) -> None:
        """Require one vector of the right width per text; rows are (index, width) pairs."""
        if [index for index, _ in rows] != list(range(texts)):
            raise InputError(
                f"{self.url}: returned {len(rows)} vectors for {texts} texts, not exactly one for "
                "each. The server does not follow the OpenAI API; use another."
            )
        widths = {width for _, width in rows}
        if widths != {EMBEDDING_DIM}:
            raise InputError(
                f"{self.url}: {self.model} gives vectors {', '.join(map(str, sorted(widths)))} "
                f"wide, but the tokenizer of semantic IDs needs {EMBEDDING_DIM}. Serve {MODEL} "
                "at its full width."
            )

    def _failure(self, error: "OpenAIError") -> str:
        """What went wrong, and what to do about it."""
        status = getattr(error, "status_code", None)
        said = str(error)[:MESSAGE_SHOWN]
        return f"{self.url}: {said} {REMEDIES.get(status, REMEDY)}"

    @cached_property
    def _client(self) -> "OpenAI":
        from openai import OpenAI

        return OpenAI(
            base_url=self.url,
            api_key=merged_environment().get(KEY_VARIABLE) or "none",
            timeout=self.timeout,
            max_retries=0,  # `_patiently` retries; the client limits tries, and waits to 8 s
        )

    @cached_property
    def _tokenizer_files(self) -> ModelFiles:
        return ModelFiles(self.tokenizer, self.tokenizer_revision)

    @cached_property
    def _document_tokenizer(self) -> DocumentTokenizer | None:
        if not self.tokenizer:
            return None
        return DocumentTokenizer(self._tokenizer_files.path("tokenizer.json"), self.max_length)


def _may_pass(error: "OpenAIError") -> bool:
    """Whether a retry may succeed: there was no answer, or the server was unable to give one."""
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIStatusError):
        return error.status_code in (408, 409, 429) or error.status_code >= 500
    return isinstance(error, APIConnectionError)  # includes timeouts


def _retry_after(error: "OpenAIError") -> float:
    """Seconds that the server asks to wait; 0 if it does not say."""
    from openai import APIStatusError

    headers = error.response.headers if isinstance(error, APIStatusError) else {}
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return max(float(headers[name]) / unit, 0.0)
        except (KeyError, ValueError):  # missing, or a date, which no embedding server sends
            continue
    return 0.0
