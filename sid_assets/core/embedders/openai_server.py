"""Embeddings from a server with the OpenAI API: `vllm serve`, SGLang, TEI and others."""

import logging
import math
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

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

NO_KEY = "none"
"""Sent if there is no key: the client insists on one."""

BYTES_PER_TOKEN = 3
"""UTF-8 bytes per token, for estimates. Counted with Qwen's vocabulary: 2.8 in product titles, 3.1
in short texts on films, 4.2 in long product descriptions."""

REQUEST_TOKENS = 16384
"""Tokens per request, by default."""

FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
"""Seconds before a request is retried: doubled each time, with jitter."""

SHORTEST_WAIT = 1 / 64
"""A server may ask for a shorter wait, but not for less than this share of the usual one."""

BYTES_PER_NUMBER = 64
BYTES_BESIDE_NUMBERS = 2**20
"""What an answer may take. A number takes about 22 bytes of JSON, and at most 40 if indented."""

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
        timeout: Seconds until the whole answer must be there.
        patience: About how many seconds a request is retried after a temporary error (429, 5xx, no
            connection, timeout). The waits are 0.5 s, 1 s, ... 60 s, or as long as the server
            says if that is within the patience. Loading a model of 8 billion parameters takes
            minutes.
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
        """Reject an invalid URL."""
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
        except (OpenAIError, TimeoutError) as error:
            raise InputError(self._failure(error)) from None  # its text may contain the key
        # JSON of another shape, with numbers that are too large, or nested too deeply
        except (AttributeError, TypeError, ValueError, OverflowError, RecursionError) as error:
            said = self._without_key(str(error))
            raise InputError(f"{self.url}: the answer contains no vectors: {said}") from None
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
                return self._answer(batch)
            except (OpenAIError, TimeoutError) as error:
                backoff = min(FIRST_WAIT * 2**tries, LONGEST_WAIT) * random.uniform(0.75, 1)  # noqa: S311 - no secret
                wait = max(_retry_after(error) or backoff, backoff * SHORTEST_WAIT)
                if not _may_pass(error) or time.monotonic() + wait > give_up or stop.wait(wait):
                    raise
                tries += 1
                if tries == TRIES_BEFORE_SAYING_SO:
                    _log.warning(
                        "%s: %s Retrying for %.0f s.",
                        *(self.url, self._said(error), give_up - time.monotonic()),
                    )

    def _answer(self, batch: list[list[int]] | list[str]) -> "CreateEmbeddingResponse":
        """The answer to one request, within the timeout.

        The client's own timeout is for each read from the connection, and starts again with every
        byte. So the request has a thread of its own, which is abandoned when the time is over.
        """
        answer: Future[CreateEmbeddingResponse] = Future()

        def ask() -> None:
            try:
                answer.set_result(self._client.embeddings.create(model=self.model, input=batch))
            except BaseException as error:  # for the thread that waits
                answer.set_exception(error)

        threading.Thread(target=ask, name="request", daemon=True).start()
        try:
            return answer.result(self.timeout)
        except TimeoutError:
            raise TimeoutError(
                f"Request timed out: no complete answer within {self.timeout:g} s."
            ) from None

    def _bound(self, response: Any) -> None:
        """Limit the bytes and the time of a response whose body is about to be read.

        Args:
            response: The client's response, of httpx or httpx2, which have the same methods.

        Raises:
            InputError: The body is compressed, which was not asked for: a short body may become
                a very long one.
        """
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise InputError(
                f"{self.url}: the answer has the encoding {encoding[:20]!r}, which was not asked "
                "for. Turn compression off in the server or in the proxy before it."
            )
        most = self.batch_texts * EMBEDDING_DIM * BYTES_PER_NUMBER + BYTES_BESIDE_NUMBERS
        end = time.monotonic() + self.timeout
        read = response.iter_raw

        def read_within_limits(chunk_size: int | None = None) -> Iterator[bytes]:
            size = 0
            for chunk in read(chunk_size):
                size += len(chunk)
                if size > most:
                    raise InputError(
                        f"{self.url}: the answer is longer than {most:,} bytes, more than "
                        f"{self.batch_texts} vectors can take. The server does not follow the "
                        "OpenAI API; use another."
                    )
                if time.monotonic() > end:  # the request was abandoned
                    raise TimeoutError
                yield chunk

        response.iter_raw = read_within_limits

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

    def _failure(self, error: "OpenAIError | TimeoutError") -> str:
        """What went wrong, and what to do about it."""
        if isinstance(error.__cause__, InputError):  # of `_bound`
            return str(error.__cause__)
        status = getattr(error, "status_code", None)
        return f"{self.url}: {self._said(error)} {REMEDIES.get(status, REMEDY)}"

    def _said(self, error: Exception) -> str:
        return self._without_key(str(error))[:MESSAGE_SHOWN]

    def _without_key(self, text: str) -> str:
        """The same without the key: some servers repeat a wrong key in their message."""
        key = self._client.api_key
        return text if key == NO_KEY else text.replace(key, "[the key]")

    @cached_property
    def _client(self) -> "OpenAI":
        from openai import DefaultHttpxClient, OpenAI

        return OpenAI(
            base_url=self.url,
            api_key=merged_environment().get(KEY_VARIABLE) or NO_KEY,
            timeout=self.timeout,
            max_retries=0,  # `_patiently` retries; the client limits tries, and waits to 8 s
            default_headers={"Accept-Encoding": "identity"},
            http_client=DefaultHttpxClient(event_hooks={"response": [self._bound]}),
        )

    @cached_property
    def _tokenizer_files(self) -> ModelFiles:
        return ModelFiles(self.tokenizer, self.tokenizer_revision)

    @cached_property
    def _document_tokenizer(self) -> DocumentTokenizer | None:
        if not self.tokenizer:
            return None
        return DocumentTokenizer(self._tokenizer_files.path("tokenizer.json"), self.max_length)


def _may_pass(error: "OpenAIError | TimeoutError") -> bool:
    """Whether a retry may succeed: there was no answer, or the server was unable to give one."""
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIStatusError):
        return error.status_code in (408, 409, 429) or error.status_code >= 500
    if isinstance(error.__cause__, InputError):  # of `_bound`
        return False
    return isinstance(error, (APIConnectionError, TimeoutError))


def _retry_after(error: "OpenAIError | TimeoutError") -> float:
    """Seconds that the server asks to wait, finite; 0 if it does not say."""
    from openai import APIStatusError

    headers = error.response.headers if isinstance(error, APIStatusError) else {}
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        seconds = _seconds(headers.get(name, "")) / unit
        if math.isfinite(seconds) and seconds > 0:
            return seconds
    return 0.0


def _seconds(value: str) -> float:
    """A number of seconds, or the time until a date; nan if it is neither."""
    try:
        return float(value)
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
        return (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return math.nan
