"""Provenance of files, and inputs that do not fit together."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.store.provenance import EmbeddingSpace, Provenance, derive, require_space

SPACE = EmbeddingSpace("qwen3", "Qwen/Qwen3-Embedding-8B", revision="a1", pooling="last_token")


def test_it_is_stored_in_the_schema():
    made = Provenance("codes", "v1", {"item_embeddings": "v0"}, SPACE, "t1", {"é": [1, None]})
    columns = made.attach(pa.schema([("pid", pa.int64())]))
    assert Provenance.of(columns) == made
    assert Provenance.of(pa.schema([("pid", pa.int64())])) is None


def test_a_newer_format_is_refused():
    fields = json.loads(Provenance("codes").to_json()) | {"format_version": 3, "new": 1}
    with pytest.raises(InputError, match=r"x\.parquet: written in format 3.*Update sid_assets"):
        Provenance.from_json(json.dumps(fields), "x.parquet")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("embedder", "openai"),
        ("model", "other"),
        ("revision", "b2"),
        ("tokenizer_revision", "b2"),
        ("pooling", "mean"),
        ("normalized", False),
        ("max_length", 512),
        ("prompt", "Represent: "),
        ("dimension", 1024),
    ],
)
def test_each_field_distinguishes_spaces(name, value):
    other = replace(SPACE, **{name: value})
    assert other.digest != SPACE.digest
    assert SPACE.differences(other) == f"{name}: {getattr(SPACE, name)!r} -> {value!r}"


def test_a_derived_table_names_its_inputs_and_inherits_space_and_tokenizer():
    vectors = Provenance("item_embeddings", "v1", space=SPACE)
    tokenizer = Provenance("tokenizer_checkpoint", "v2", space=SPACE, tokenizer="t1")
    codes = derive("codes", vectors, tokenizer, details={"n": 1})
    assert codes.inputs == {"item_embeddings": "v1", "tokenizer_checkpoint": "v2"}
    assert (codes.space, codes.tokenizer, codes.details) == (SPACE, "t1", {"n": 1})


def test_inputs_of_two_spaces_or_tokenizers_are_refused():
    other = replace(SPACE, revision="b2")
    vectors = Provenance("item_embeddings", space=SPACE)
    with pytest.raises(InputError, match=r"codes: .*different embedding spaces.*Materialise"):
        derive("codes", vectors, Provenance("tokenizer_checkpoint", space=other))
    with pytest.raises(InputError, match="different embedding spaces"):
        derive("codes", vectors, space=other)
    with pytest.raises(InputError, match="different tokenizers"):
        derive("x", Provenance("codes", tokenizer="t1"), Provenance("pid2sid", tokenizer="t2"))


def test_a_table_without_a_required_space_is_refused():
    assert require_space(Provenance("item_embeddings", space=SPACE)) == SPACE
    with pytest.raises(InputError, match="does not say which embedding space"):
        require_space(Provenance("item_embeddings"))
