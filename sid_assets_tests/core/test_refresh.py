"""The guards: what a refresh may do by itself, and what needs a request."""

from dataclasses import replace

import pytest
from upath import UPath

from sid_assets.core.errors import InputError
from sid_assets.core.quantise.tokenizer import TokenizerSource, keeps_tokenizer
from sid_assets.core.refresh import (
    Changes,
    RefreshPolicy,
    require_same_generation,
    require_small_change,
    why_afresh,
)
from sid_assets.core.store.parts import Part
from sid_assets.core.store.provenance import EmbeddingSpace, Provenance
from sid_assets.core.store.versions import Version

SPACE = EmbeddingSpace("qwen3", "Qwen/Qwen3-Embedding-8B", revision="a1", max_length=8192)
TRAIN = TokenizerSource("train", settings={"codebook_size": 256, "seed": 0})
DENY, NEW = RefreshPolicy(), RefreshPolicy(new_generation=True)


def version(
    table: str, space: EmbeddingSpace | None = SPACE, first_pid: int | str = 1, **details
) -> Version:
    part = Part("part-0.parquet", rows=1, bytes=1, digest="", first_pid=first_pid)
    return Version(
        UPath("/data/.versions") / table,
        Provenance(table, space=space, details=details),
        "",
        (part,),
    )


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        (Changes(new=0, changed=0, unchanged=0, removed=0), 0.0),
        (Changes(new=100, changed=0, unchanged=0, removed=0), 0.0),
        (Changes(new=1000, changed=20, unchanged=70, removed=10), 0.3),
        (Changes(new=0, changed=21, unchanged=69, removed=10), 0.31),
        (Changes(new=0, changed=0, unchanged=0, removed=5), 1.0),
        (Changes(new=90, changed=0, unchanged=0, removed=10, moved=90), 0.1),
        (Changes(new=3, changed=0, unchanged=0, removed=97, moved=3), 0.97),
    ],
)
def test_the_share_of_items_that_change_or_disappear(changes, share):
    assert changes.share == pytest.approx(share)
    if share <= 0.3:
        require_small_change(changes, DENY)
        return
    with pytest.raises(InputError, match=rf"change or remove {share:.0%} of .*30% is the limit"):
        require_small_change(changes, DENY)
    require_small_change(changes, RefreshPolicy(allow_large_change=True))
    require_small_change(changes, RefreshPolicy(max_changed_share=1.0))


def test_the_message_contains_the_plan():
    with pytest.raises(InputError, match=r"SID_MAX_CHANGED_SHARE\.\nfirst line\nsecond"):
        require_small_change(Changes(0, 0, 0, 1), DENY, "first line\nsecond")


def test_the_same_space_and_pid_type_stay_in_the_generation():
    assert why_afresh(version("v"), SPACE, "int") == ""
    assert why_afresh(version("v", first_pid="a"), SPACE, "string") == ""
    require_same_generation("", DENY)


@pytest.mark.parametrize(
    ("field", "value"), [("model", "x"), ("revision", "b2"), ("pooling", "mean"), ("max_length", 5)]
)
def test_another_space_starts_afresh_and_says_why(field, value):
    other = replace(SPACE, **{field: value})
    reason = why_afresh(version("item_embeddings"), other, "int")
    assert f"{field}: {getattr(SPACE, field)!r} -> {value!r}" in reason
    with pytest.raises(InputError, match=r"start afresh: .*\"new_generation\": true.*SID_DATA_DIR"):
        require_same_generation(reason, DENY)
    require_same_generation(reason, NEW)


COMMIT = {"revision": "a1", "tokenizer_revision": "a1"}
MOVED = {"revision": "b2", "tokenizer_revision": "b2"}
OF_SERVER = {"embedder": "openai", "revision": "main", "tokenizer_revision": "a1"}


@pytest.mark.parametrize(
    ("earlier", "now", "advice"),
    [
        (COMMIT, MOVED, "SID_EMBEDDING_REVISION=a1"),
        (COMMIT, {"revision": "b2"}, "SID_EMBEDDING_REVISION=a1"),
        (OF_SERVER, {"tokenizer_revision": "b2"}, "SID_EMBEDDING_TOKENIZER_REVISION=a1"),
        (OF_SERVER, {"revision": "v2"}, "SID_EMBEDDING_REVISION=main"),
        (
            OF_SERVER,
            MOVED,
            "SID_EMBEDDING_REVISION=main and SID_EMBEDDING_TOKENIZER_REVISION=a1",
        ),
        ({"revision": "sha256:1"}, {"revision": "sha256:2"}, ""),
        (COMMIT, MOVED | {"max_length": 5}, ""),
        ({"revision": ""}, {"revision": "b2"}, ""),
    ],
)
def test_if_only_the_revision_moved_staying_is_offered_first(earlier, now, advice):
    before = replace(SPACE, **earlier)
    space = replace(before, **now)
    checkpoint = version("tokenizer_checkpoint", before, source=TRAIN.to_dict())
    with pytest.raises(InputError) as afresh:
        require_same_generation(why_afresh(version("v", before), space, "int"), DENY)
    with pytest.raises(InputError) as other_tokenizer:
        keeps_tokenizer(checkpoint, TRAIN, space, DENY)
    for stopped in (afresh, other_tokenizer):
        said, _, rest = str(stopped.value).partition("To start a new generation")
        assert "new_generation" in rest
        if advice:
            assert f"o stay in the earlier embedding space, set {advice}" in said
        else:
            assert "o stay" not in said


def test_a_version_with_an_unknown_space_is_not_reused():
    assert "the earlier one is not known" in why_afresh(version("v", space=None), SPACE, "int")


def test_pids_of_another_type_start_afresh():
    reason = why_afresh(version("v"), SPACE, "string")
    assert "are of type int, these are string" in reason
    assert reason.endswith("SID_PID_TYPE=int reads them as before")
