"""Qwen3-Embedding in this process, as in its model card: left padding, last-token pooling."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from sid_assets.core.devices import usable_device
from sid_assets.core.embedders import Embedded, Memory, TokenCounts
from sid_assets.core.embedders.batching import distinct, rows_of_batch, tokenised_windows
from sid_assets.core.embedders.last_token_model import LastTokenModel
from sid_assets.core.embedders.memory import GIB, free_memory
from sid_assets.core.embedders.model_files import MAIN, ModelFiles
from sid_assets.core.embedders.text_tokenizer import DocumentTokenizer, Tokenized
from sid_assets.core.errors import InputError
from sid_assets.core.schema import EMBEDDING_DIM
from sid_assets.core.store.provenance import EmbeddingSpace

MODEL = "Qwen/Qwen3-Embedding-8B"
"""The model that OneRec's tokenizer was trained on."""

MAX_LENGTH = 8192
"""Longest text in tokens, as in the model card's examples."""

BATCH_TOKENS_ON_GPU = 16384
BATCH_TOKENS_ON_CPU = 768
"""Larger batches are slower on a CPU: their tensors no longer fit into its caches, and from 32 MB
(2048 tokens of 4096 numbers) malloc has the kernel map and clear new memory for each."""

SAME_VECTOR = 0.99
"""Two computations of one short text reach this cosine in any dtype, but not without the mask."""

Dtype = Literal["float32", "bfloat16", "float16"]

_log = logging.getLogger(__name__)


@dataclass
class Qwen3Embedder:
    """Runs a Qwen3-Embedding model with transformers.

    Attributes:
        model: Repository on the Hugging Face hub, or a folder.
        revision: Branch, tag or commit of the repository, for model and tokenizer.
        max_length: Longest text in tokens; longer texts are truncated and counted.
        device: `cuda`, `cuda:1`, `cpu`, ...; None uses the GPU if there is one.
        dtype: Dtype of the weights; None is bfloat16 on a GPU that supports it, otherwise float32.
            Pooling and normalisation are in float32.
        batch_tokens: Tokens of a batch, including padding; None is a default for the device. When
            memory runs out, it is halved and the batch is retried.
    """

    model: str = MODEL
    revision: str = MAIN
    max_length: int = MAX_LENGTH
    device: str | None = None
    dtype: Dtype | None = None
    batch_tokens: int | None = None

    @property
    def space(self) -> EmbeddingSpace:
        """The space. Reads the model's config.json and tokenizer.json, not its weights.

        Raises:
            InputError: The model's files cannot be found or downloaded, it is not a Qwen3 model,
                or its vectors do not have the width that the tokenizer of semantic IDs needs.
        """
        return self._space

    @cached_property
    def _space(self) -> EmbeddingSpace:
        config = json.loads(self._files.path("config.json").read_bytes())
        kind, width = config.get("model_type"), config.get("hidden_size")
        if kind != "qwen3":
            raise InputError(f"{self.model}: the model type is {kind!r}, not qwen3. Use {MODEL}.")
        if width != EMBEDDING_DIM:
            raise InputError(
                f"{self.model}: its vectors are {width} wide, but the tokenizer of semantic IDs "
                f"needs {EMBEDDING_DIM}. Use {MODEL}, or another Qwen3 model of that width."
            )
        return EmbeddingSpace(
            embedder="qwen3",
            model=self._files.name,
            revision=self._files.version("config.json"),
            tokenizer_revision=self._files.version("tokenizer.json"),
            pooling="last_token",
            max_length=self.max_length,
            dimension=width,
        )

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed texts.

        Raises:
            InputError: The model does not fit into memory, or fails a check.
        """
        different, which = distinct(texts)
        vectors = np.empty((len(different), self.space.dimension), np.float32)
        cut = np.zeros(len(different), bool)
        tokens = padded_tokens = 0
        for positions, tokenized in tokenised_windows(different, self._tokenizer.encode):
            cut[positions] = tokenized.cut
            tokens += int(tokenized.lengths.sum())
            for rows, batch in self._batches(tokenized):
                vectors[positions[rows]] = batch
                padded_tokens += len(batch) * int(tokenized.lengths[rows.start])
        damaged = int((~np.isfinite(vectors).all(axis=1)).sum())
        if damaged:
            raise InputError(
                f"{self.model}: {damaged:,} of {len(different):,} texts got vectors that are not "
                f"finite in {self._dtype}. Set SID_EMBEDDING_DTYPE to bfloat16 or float32."
            )
        if len(different) < len(texts):
            vectors = vectors[which]
        return Embedded(vectors, tokens, padded_tokens, truncated=int(cut[which].sum()))

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        """Count with the model's own tokenizer; the weights are not read."""
        tokenized = self._tokenizer.encode(texts)
        return TokenCounts(tokenized.lengths, truncated=int(tokenized.cut.sum()), estimated=False)

    def has_weights(self) -> bool:
        """Whether the weights are on this machine; if not, `embed` downloads them."""
        return self._files.has_weights()

    def memory(self) -> Memory:
        """Bytes for the weights and the working memory of a batch, and bytes free.

        Weights are loaded through the host's memory. If they do not fit there, the figures are
        those of the host, not of the GPU.
        """
        import torch
        from transformers import AutoConfig, AutoModel

        config = AutoConfig.from_pretrained(self.model, revision=self._commit)
        with torch.device("meta"):
            parameters = sum(p.numel() for p in AutoModel.from_config(config).parameters())
        # Alive at once in a layer: its input twice; queries, keys, values and attention output;
        # and the three parts of its feed-forward network. Plus the last states in float32.
        heads = config.head_dim * 2 * (config.num_attention_heads + config.num_key_value_heads)
        numbers = 2 * config.hidden_size + heads + 3 * config.intermediate_size
        bytes_each = getattr(torch, self._dtype).itemsize
        tokens = max(self._budget, self.max_length)  # one text may be longer than the budget
        batch = tokens * (numbers * bytes_each + config.hidden_size * 4)
        weights = parameters * bytes_each
        host = Memory("the host (weights pass through it)", weights, free_memory("cpu"))
        if host.needed > host.free and self._device != "cpu":
            return host
        return Memory(self._device, needed=weights + batch, free=free_memory(self._device))

    def close(self) -> None:
        """Free the memory of the weights."""
        if network := self.__dict__.pop("_network", None):
            network.close()

    def _batches(self, tokenized: Tokenized) -> Iterator[tuple[slice, np.ndarray]]:
        """Embed texts sorted by length, in batches that fit into the device's memory.

        Yields:
            The rows of a batch and their vectors, float32 (rows, dimension).
        """
        start = 0
        while start < len(tokenized.ids):
            longest = int(tokenized.lengths[start])
            rows = slice(start, start + rows_of_batch(tokenized.lengths[start:], self._budget))
            batch = tokenized.ids[rows]
            vectors = self._network.embed(batch)
            if vectors is not None:
                yield rows, vectors
                start = rows.stop
            elif len(batch) > 1:
                self._budget = len(batch) * longest // 2
                _log.warning(
                    "Out of memory on %s at %d texts of %d tokens: retrying at %d tokens a batch.",
                    *(self._device, len(batch), longest, self._budget),
                )
            else:
                raise InputError(
                    f"{self.model}: {self._device} runs out of memory on one text of "
                    f"{longest} tokens. Set SID_MAX_LENGTH below {self.max_length}, or use a "
                    "device with more memory."
                )

    @cached_property
    def _files(self) -> ModelFiles:
        return ModelFiles(self.model, self.revision)

    @property
    def _commit(self) -> str | None:
        """The commit whose weights are used; None for a folder."""
        return None if self._files.is_folder else self.space.revision

    @cached_property
    def _tokenizer(self) -> DocumentTokenizer:
        return DocumentTokenizer(self._files.path("tokenizer.json"), self.max_length)

    @cached_property
    def _device(self) -> str:
        return usable_device(self.device)

    @cached_property
    def _dtype(self) -> Dtype:
        import torch

        on_gpu = self._device.startswith("cuda")
        has_bfloat16 = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        return self.dtype or ("bfloat16" if has_bfloat16 else "float32")

    @cached_property
    def _budget(self) -> int:
        """Tokens of a batch; reduced when memory runs out."""
        on_gpu = self._device.startswith("cuda")
        return self.batch_tokens or (BATCH_TOKENS_ON_GPU if on_gpu else BATCH_TOKENS_ON_CPU)

    @cached_property
    def _network(self) -> LastTokenModel:
        """The weights, on the device. They are checked before use.

        Raises:
            InputError: They do not fit; the tokenizer has ids that the model does not know; a
                text's vector changes when a longer text is in its batch.
        """
        memory = self.memory()
        if memory.needed > memory.free:
            raise InputError(
                f"{self.model} in {self._dtype} needs about {memory.needed / GIB:.1f} GiB of "
                f"memory, and {memory.device} has {memory.free / GIB:.1f} GiB free. Free some, set "
                "another SID_DEVICE, SID_EMBEDDING_DTYPE=bfloat16 (half of float32) or a lower "
                "SID_BATCH_TOKENS, or use a server (SID_EMBEDDER=openai)."
            )
        pad = self._tokenizer.endoftext
        network = LastTokenModel.load(self.model, self._commit, self._device, self._dtype, pad)
        if self._tokenizer.largest_id >= network.vocabulary:
            raise InputError(
                f"{self.model}: its tokenizer has ids up to {self._tokenizer.largest_id}, but the "
                f"model knows only {network.vocabulary}. Use the model's own tokenizer."
            )
        self._prove(network)
        return network

    def _prove(self, network: LastTokenModel) -> None:
        """Check that padding does not change a vector."""
        short, long = self._tokenizer.encode(["test", "test again, and padding beside it"]).ids
        alone, together = network.embed([short]), network.embed([short, long])
        if alone is None or together is None:
            raise InputError(f"{self.model}: {self._device} has no memory left for a first text.")
        similarity = float(alone[0] @ together[0])
        if not similarity > SAME_VECTOR:
            raise InputError(
                f"{self.model}: a text's vector changes when a longer text is in its batch (cosine "
                f"{similarity:.4f}). This attention implementation ignores padding, or the weights "
                "are damaged. Set another SID_EMBEDDING_DTYPE or SID_DEVICE, or update "
                "transformers."
            )
