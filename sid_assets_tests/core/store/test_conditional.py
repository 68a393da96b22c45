"""Conditional writes: of several writers one wins, and the others learn that they lost."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from sid_assets.core.store.conditional import (
    ABSENT,
    ConflictError,
    honours_conditions,
    is_conditional,
    read_object,
    replace_object,
)
from sid_assets.core.store.places import place

WRITERS = 8
RACES = 20


@pytest.fixture
def path(store):
    """An object that does not exist yet, on every kind of store."""
    store.root.mkdir(parents=True, exist_ok=True)
    return store.root / "object.json"


def test_an_object_is_written_if_it_is_as_it_was_seen(path):
    assert read_object(path) == ABSENT
    first = replace_object(path, b"1", ABSENT)
    assert read_object(path) == first
    second = replace_object(path, b"2", first)
    assert read_object(path) == second
    assert second.content == b"2"


@pytest.mark.parametrize("seen", ["absent", "stale", "gone"])
def test_an_object_that_others_wrote_or_removed_is_left_alone(path, seen):
    first = replace_object(path, b"1", ABSENT)
    if seen == "gone":
        path.unlink()
    else:
        replace_object(path, b"2", first)
    with pytest.raises(ConflictError):
        replace_object(path, b"3", ABSENT if seen == "absent" else first)
    assert read_object(path).content == (None if seen == "gone" else b"2")


def test_a_write_whose_answer_was_lost_counts(path):
    """The client repeats the request, and is told that its condition does not hold."""
    first = replace_object(path, b"1", ABSENT)
    second = replace_object(path, b"2", first)
    assert replace_object(path, b"2", first) == second


@pytest.mark.parametrize("tags", ["of the content", "of an encrypted object"])
def test_an_object_that_is_replaced_while_it_is_read_has_its_own_tag(bucket, monkeypatch, tags):
    """Another process writes after its content was read, before its tag is."""
    path = place(f"{bucket}/object.json")
    if tags == "of an encrypted object":
        info = path.fs.info
        monkeypatch.setattr(
            path.fs, "info", lambda *a, **k: (found := info(*a, **k)) | {"ETag": found["ETag"][:9]}
        )
    first = replace_object(path, b"1", ABSENT)
    read = path.fs.cat_file

    def slowly(*arguments, **options):
        content = read(*arguments, **options)
        if content == b"1":
            replace_object(path, b"2", first)
        return content

    monkeypatch.setattr(path.fs, "cat_file", slowly)
    found = read_object(path)
    assert found.content == b"2"
    assert found.tag == path.fs.info(path.path, refresh=True)["ETag"]


def test_of_several_writers_one_wins(bucket):
    for race in range(RACES):
        path = place(f"{bucket}/race-{race // 2}.json")  # first of a new object, then of an old one
        seen, together = read_object(path), Barrier(WRITERS)

        def write(writer: int, path=path, seen=seen, together=together, race=race) -> bool:
            together.wait()
            try:
                replace_object(path, f"{race} {writer}".encode(), seen)
            except ConflictError:
                return False
            return True

        with ThreadPoolExecutor(WRITERS) as threads:
            won = list(threads.map(write, range(WRITERS)))
        assert won.count(True) == 1
        assert read_object(path).content == f"{race} {won.index(True)}".encode()


def test_a_store_that_ignores_conditions_is_found_out(bucket, monkeypatch):
    path = place(f"{bucket}/object.json")
    assert is_conditional(path)
    for content in (b"1", b"2"):
        stale = read_object(path)
        replace_object(path, content, stale)
        assert honours_conditions(path, stale)
    pipe_file = path.fs.pipe_file
    monkeypatch.setattr(
        path.fs, "pipe_file", lambda name, content, **condition: pipe_file(name, content)
    )
    assert not honours_conditions(path, stale)
    assert read_object(path).content == b"2"


def test_other_stores_are_not_asked(tmp_path):
    path = place(f"memory://{tmp_path.name}/object.json")
    assert not is_conditional(path)
    replace_object(path, b"1", ABSENT)
    assert not honours_conditions(path, ABSENT)
