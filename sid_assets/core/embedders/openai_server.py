"""A server with the OpenAI API for embeddings: `vllm serve`, SGLang, TEI and others."""

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
"""The variable, of the environment or `.env`, with the server's key: read when the client is made,
and kept nowhere else. Servers of one's own often want none."""

BYTES_PER_TOKEN = 3
"""Bytes of UTF-8 in a token, for estimates. Counted with Qwen's vocabulary: 2.8 in product titles,
3.1 in short texts on films, 4.2 in long product descriptions."""

REQUEST_TOKENS = 16384
"""Tokens of a request, where nobody says otherwise."""

FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
"""Seconds before a request is sent again: doubled each time, with jitter."""

TRIES_BEFORE_SAYING_SO = 4
"""After so many, about four seconds, the log says that a request is tried again."""

MESSAGE_SHOWN = 500
"""Characters shown of what a server says about an error."""

REMEDY = "See that the server runs, and start again: finished chunks are kept."
REMEDIES: dict[int | None, str] = {
    400: "Texts may be too long or too many for it: set SID_MAX_LENGTH or SID_BATCH_TOKENS lower.",
    401: f"Set {KEY_VARIABLE} to the server's key.",
    403: f"Set {KEY_VARIABLE} to a key that may use the model.",
    404: "Set SID_EMBEDDING_URL with its /v1, and SID_EMBEDDING_MODEL as /v1/models names it.",
    413: "Set SID_BATCH_TOKENS lower.",
}
"""What to do about an error of the server, by its status."""

_log = logging.getLogger(__name__)


@dataclass
class OpenAIServerEmbedder:
    """Asks a server for vectors, several requests at a time.

    Texts are tokenised here and sent as token ids, so that the end of each text, its cutting and
    text that spells special tokens do not depend on the server. A server that takes no token ids,
    or whose tokenizer is not to be had, gets the texts as they are; how it ends and cuts them is
    then its own affair.

    Attributes:
        url: Base URL, with its `/v1`.
        model: Name of the model at the server.
        revision: What pins the server's weights, where that is known. A server does not say.
        tokenizer: Model on the hub, or folder, whose tokenizer.json is used; "" sends texts.
        tokenizer_revision: Branch, tag or commit of it.
        max_length: Longest text in tokens; longer ones are cut, and counted.
        batch_tokens: Tokens of a request.
        batch_texts: Texts of a request; servers have limits (TEI: 32).
        requests: Requests in flight.
        timeout: Seconds that an answer may take.
        patience: Seconds, about, in which a request is sent again after an error that may pass
            (429, 5xx, no connection, no answer in time), after waiting 0.5 s, 1 s, ... 60 s, or as
            long as the server says. Loading a model of 8 billion parameters takes minutes.
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
        """Refuse what is no URL, and no requests at all."""
        if self.requests < 1:
            raise InputError(f"SID_EMBEDDING_REQUESTS={self.requests}: must be 1 or more.")
        if not self.url.startswith(("http://", "https://")):
            raise InputError(
                f"SID_EMBEDDING_URL={self.url}: must start with http:// or https://, e.g. "
                "http://localhost:8000/v1."
            )

    @property
    def space(self) -> EmbeddingSpace:
        """The space, as far as it can be known of a server; where it is does not matter."""
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
            InputError: The server does not answer, refuses, or answers with vectors that are too
                few, too many, of another width, not finite or zero.
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
            stop.set()  # those that wait to be sent again
            pool.shutdown(cancel_futures=True)
        return Embedded(vectors[which], tokens, tokens, truncated=int(cut[which].sum()))

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        """Count with the tokenizer, or estimate from bytes where the server tokenises."""
        tokenized = self._tokenise(texts)
        cut = int(tokenized.cut.sum()) if self.tokenizer else None
        return TokenCounts(tokenized.lengths, truncated=cut, estimated=not self.tokenizer)

    def memory(self) -> Memory | None:
        """None: the memory is the server's."""
        return None

    def close(self) -> None:
        """Close the connections."""
        if client := self.__dict__.pop("_client", None):
            client.close()

    def _tokenise(self, texts: Sequence[str]) -> Tokenized:
        if self._document_tokenizer:
            return self._document_tokenizer.encode(texts)
        sizes = np.fromiter((len(text.encode()) for text in texts), np.int64, len(texts))
        ids: list[list[int]] = [[] for _ in texts]  # the server's to know
        return Tokenized(ids, lengths=sizes // BYTES_PER_TOKEN + 1, cut=np.zeros(len(texts), bool))

    def _batches(self, lengths: np.ndarray) -> Iterator[slice]:
        """Rows of texts, sorted by length, that go into one request."""
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
            raise InputError(f"{self.url}: not an answer with vectors: {error}") from error
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(norms) & (norms > 0)).all():
            raise InputError(
                f"{self.url}: {self.model} gives vectors that are zero or not finite. "
                "Look at the server's log; another dtype may help."
            )
        return vectors / norms

    def _patiently(
        self, batch: list[list[int]] | list[str], stop: threading.Event
    ) -> "CreateEmbeddingResponse":
        """The answer to a batch, asked for again while the error is one that may pass."""
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
                        "%s: %s Trying again, for %.0f s.",
                        *(self.url, str(error)[:MESSAGE_SHOWN], give_up - time.monotonic()),
                    )

    def _require_shape(self, texts: int, rows: list[tuple[int, int]]) -> None:
        """One vector of our width for each text; rows are the index and width of each."""
        if [index for index, _ in rows] != list(range(texts)):
            raise InputError(
                f"{self.url}: {len(rows)} vectors for {texts} texts, or not one for each. "
                "The server does not follow the OpenAI API; use another."
            )
        widths = {width for _, width in rows}
        if widths != {EMBEDDING_DIM}:
            raise InputError(
                f"{self.url}: {self.model} gives vectors {', '.join(map(str, sorted(widths)))} "
                f"wide, and the tokenizer of semantic IDs wants {EMBEDDING_DIM}. Serve {MODEL}, "
                "at its full width."
            )

    def _failure(self, error: "OpenAIError") -> str:
        """What happened, and what to do about it."""
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
            max_retries=0,  # `_patiently` does that: the client counts, and waits 8 s at most
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
    """Whether the same request may do later: there was no answer, or the server was not able."""
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIStatusError):
        return error.status_code in (408, 409, 429) or error.status_code >= 500
    return isinstance(error, APIConnectionError)  # no answer in time is one of these


def _retry_after(error: "OpenAIError") -> float:
    """Seconds that the server asks to wait; 0 where it does not say."""
    from openai import APIStatusError

    headers = error.response.headers if isinstance(error, APIStatusError) else {}
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return max(float(headers[name]) / unit, 0.0)
        except (KeyError, ValueError):  # not there; or a date, which no embedding server sends
            continue
    return 0.0
