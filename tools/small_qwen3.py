"""Small stand-ins for Qwen3-Embedding-8B: the same architecture, width, special tokens and files.

`save_model` saves a model with one layer and seeded random weights with `save_pretrained`. Its
vocabulary is either small and trained on given texts, or Qwen's own. Tests and benchmarks use it
where the real model is too large.
"""

import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import ByteLevel, Sequence, TemplateProcessing
from tokenizers.trainers import BpeTrainer

ENDOFTEXT = "<|endoftext|>"

SPECIAL_TOKENS = (
    ENDOFTEXT,
    "<|im_start|>",
    "<|im_end|>",
    *(f"<|{name}_{end}|>" for name in ("object_ref", "box", "quad") for end in ("start", "end")),
    *(f"<|{name}|>" for name in ("vision_start", "vision_end", "vision_pad")),
    *(f"<|{name}|>" for name in ("image_pad", "video_pad")),
)
"""Qwen3's special tokens, in the order of their ids (151643 to 151656 in the real vocabulary)."""

OTHER_ADDED_TOKENS = (
    "<tool_call>",
    "</tool_call>",
    *(f"<|fim_{name}|>" for name in ("prefix", "middle", "suffix", "pad")),
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)
"""Added tokens that Qwen3 does not call special (ids 151657 to 151668)."""

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen's tokenizers split text before merging byte pairs."""

WORDS = (
    "Title: The Third Man\nDescription: In Vienna after the war, a writer looks for a friend.",
    "Title: 千与千寻\nDescription: 一个女孩走进了神灵的世界，她的父母变成了猪。",
    "the a an of and in to is for with on ink cartridge paper pen binder ring set of 12 black",
    "Пикник на обочине 🎬🍿 café naïve Ärger",
)
"""The texts that the small vocabulary is trained on."""


def small_tokenizer(texts: Iterable[str] = WORDS, *, merges: int = 300) -> Tokenizer:
    """A byte-level BPE tokenizer with at most `merges` merges, trained on the texts."""
    tokenizer = Tokenizer(BPE())
    _cut_as_qwen(tokenizer)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=len(alphabet) + merges, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def qwen_vocabulary() -> Tokenizer:
    """A tokenizer with Qwen's own vocabulary, from the file that the dashscope package ships.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    from transformers.convert_slow_tokenizer import TikTokenConverter

    spec = importlib.util.find_spec("dashscope")  # its code is not imported
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "Qwen's vocabulary is in the dashscope package (pip install --no-deps dashscope)",
            name="dashscope",
        )
    vocabulary = Path(spec.origin).parent / "resources" / "qwen.tiktoken"
    tokenizer = TikTokenConverter(str(vocabulary), pattern=SPLIT).converted()
    _cut_as_qwen(tokenizer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, *, append_endoftext: bool = True) -> Path:
    """Add Qwen3's special tokens and post-processor to a tokenizer, and save it as on the hub."""
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in OTHER_ADDED_TOKENS])
    steps: list = [ByteLevel(trim_offsets=False)]
    if append_endoftext:
        end = tokenizer.token_to_id(ENDOFTEXT)
        template = TemplateProcessing(single=["$A", ENDOFTEXT], special_tokens=[(ENDOFTEXT, end)])
        steps.append(template)
    tokenizer.post_processor = Sequence(steps)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": "<|im_end|>",
        "pad_token": ENDOFTEXT,
        "padding_side": "left",
        "model_max_length": 131072,
        "add_prefix_space": False,
    }
    _write_json(folder / "tokenizer_config.json", settings)
    return folder


def save_model(
    folder: Path,
    tokenizer: Tokenizer,
    *,
    hidden_size: int = 4096,
    intermediate_size: int = 256,
    heads: int = 4,
    head_dim: int = 64,
) -> Path:
    """Save a one-layer Qwen3 with seeded random weights into the folder of its tokenizer.

    Args:
        folder: Where `save_tokenizer` has saved the tokenizer.
        tokenizer: The tokenizer. Its vocabulary size is the number of rows of the embedding matrix.
        hidden_size: Width of its vectors.
        intermediate_size: Width of the layer's feed-forward part.
        heads: Attention heads; every two share keys and values.
        head_dim: Width of a head.
    """
    import torch
    from transformers import Qwen3Config, Qwen3Model

    config = Qwen3Config(
        architectures=["Qwen3Model"],
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=1,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        head_dim=head_dim,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Qwen3Model(config).save_pretrained(folder)
    _save_sentence_transformers_modules(folder, hidden_size)
    return folder


def _cut_as_qwen(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _save_sentence_transformers_modules(folder: Path, hidden_size: int) -> None:
    """Write the files that make sentence-transformers pool the last token and normalise."""
    kinds = ("Transformer", "Pooling", "Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    pooling = {"word_embedding_dimension": hidden_size, "pooling_mode_lasttoken": True}
    for path in paths[1:]:
        (folder / path).mkdir(exist_ok=True)
    _write_json(folder / "modules.json", modules)
    _write_json(folder / "1_Pooling" / "config.json", pooling)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
