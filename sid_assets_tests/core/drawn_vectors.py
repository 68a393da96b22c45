"""Item texts, and an embedder that draws their vectors, for tests of stored tables."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from sid_assets.core import schema
from sid_assets.core.arrow.hashes import text_hash
from sid_assets.core.embedders import Embedded, Memory, TokenCounts
from sid_assets.core.embeddings.run import EmbeddingProgress, embed_items
from sid_assets.core.inputs.vector_files import VectorFiles
from sid_assets.core.refresh import Changes, RefreshPolicy
from sid_assets.core.schema import EMBEDDING_DIM
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.provenance import EmbeddingSpace, Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows

ALLOW_ALL = RefreshPolicy(new_generation=True, allow_large_change=True)


@dataclass
class FakeEmbedder:
    """Gives each text its own vector, drawn from its hash and the model's name.

    Attributes:
        model: Name of the model, as the space states it.
        actual: Name of the model that answers, if it is another one.
        log: A file that gets a line for each text once it is embedded.
        calls: The texts of each call.
    """

    model: str = "fake"
    actual: str = ""
    log: Path | None = None
    calls: list[list[str]] = field(default_factory=list)

    @property
    def space(self) -> EmbeddingSpace:
        return EmbeddingSpace(embedder="fake", model=self.model, dimension=EMBEDDING_DIM)

    def embed(self, texts: Sequence[str]) -> Embedded:
        self.calls.append(list(texts))
        vectors = np.empty((len(texts), EMBEDDING_DIM), np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self.vector(text)
        if self.log:
            with self.log.open("a") as file:
                file.writelines(f"{text}\n" for text in texts)
        tokens = int(self.count_tokens(texts).lengths.sum())
        return Embedded(vectors, tokens=tokens, padded_tokens=tokens, truncated=0)

    def vector(self, text: str) -> np.ndarray:
        """The unit vector of a text: float32, shape (4096,)."""
        seed = hashlib.sha256(f"{self.actual or self.model} {text}".encode()).digest()
        signs = np.unpackbits(np.frombuffer(hashlib.shake_256(seed).digest(512), np.uint8))
        return ((2.0 * signs - 1) / np.sqrt(EMBEDDING_DIM)).astype(np.float32)

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        lengths = np.array([len(text.split()) for text in texts], np.int64)
        return TokenCounts(lengths, truncated=0, estimated=False)

    def memory(self) -> Memory | None:
        return None

    def close(self) -> None:
        pass

    @property
    def embedded(self) -> list[str]:
        """All texts that were embedded."""
        return [text for call in self.calls for text in call]


def text_table(texts: dict) -> pa.Table:
    """Rows of `item_texts`, given the text of each pid; sorted by pid."""
    pids = sorted(texts)
    kind = "string" if pids and isinstance(pids[0], str) else "int"
    values = [texts[pid] for pid in pids]
    hashes = [text_hash(text) for text in values]
    return pa.table([pids, values, hashes], schema=schema.item_texts(kind))


def commit_texts(store: Store, texts: dict, table: str = "item_texts") -> Version:
    """Commit a version of `item_texts`."""
    draft = draft_rows(store, table, text_table(texts).to_reader(), Provenance(table))
    return store.commit(draft)


def item_texts(pids: Iterable[int]) -> dict[int, str]:
    """A text for each pid."""
    return {pid: f"Title: film {pid}" for pid in pids}


@dataclass
class Embedding:
    """The result of an embedding run."""

    version: Version
    changes: Changes
    progress: EmbeddingProgress
    warnings: list[str]


def draft_embeddings(
    store: Store,
    texts: Version,
    embedder: FakeEmbedder,
    policy: RefreshPolicy = ALLOW_ALL,
    files: VectorFiles | None = None,
) -> tuple[Draft, Changes, EmbeddingProgress, list[str]]:
    """Embed the texts without committing."""
    warnings: list[str] = []
    draft, changes, progress = embed_items(
        store,
        "item_embeddings",
        texts,
        embedder,
        policy,
        warnings.append,
        lambda progress: None,
        files,
    )
    return draft, changes, progress, warnings


def embed(
    store: Store, texts: dict, embedder: FakeEmbedder, policy: RefreshPolicy = ALLOW_ALL
) -> Embedding:
    """Commit these texts and their vectors."""
    draft, changes, progress, warnings = draft_embeddings(
        store, commit_texts(store, texts), embedder, policy
    )
    return Embedding(store.commit(draft), changes, progress, warnings)


def vectors_by_pid(version: Version) -> dict:
    """The bytes of the vector of each pid."""
    rows = version.stream(["pid", "embedding"]).read_all()
    vectors = rows.column("embedding").combine_chunks().flatten().to_numpy()
    vectors = vectors.reshape(-1, EMBEDDING_DIM)
    return {
        pid: vector.tobytes() for pid, vector in zip(rows["pid"].to_pylist(), vectors, strict=True)
    }


def expected_vectors(texts: dict, embedder: FakeEmbedder) -> dict:
    """The expected result of `vectors_by_pid`."""
    return {pid: embedder.vector(text).tobytes() for pid, text in texts.items()}
