"""Pickles as data: what torch.save writes, and hostile pickles that must cost nothing."""

import io
import pickle
import time
import tracemalloc
import zipfile
from collections import Counter, OrderedDict

import pytest
import torch

from sid_assets.core.quantise.pickled import (
    MOST_BYTES,
    Other,
    Storage,
    StoredTensor,
    UnreadablePickleError,
    read_pickle,
)

MEMORY_PER_BYTE, SECONDS = 150, 10
SOME = 50_000


def saved(content):
    """The pickle that torch.save writes."""
    file = io.BytesIO()
    torch.save(content, file)
    with zipfile.ZipFile(file) as archive:
        return archive.read("archive/data.pkl")


def bounded(content):
    """Read a pickle, or refuse it; in either case within bounds of memory and time."""
    tracemalloc.start()
    start = time.perf_counter()
    try:
        return read_pickle(content)
    except UnreadablePickleError:
        return None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MEMORY_PER_BYTE * len(content) + 100_000
        assert time.perf_counter() - start < SECONDS


def test_plain_values():
    value = {
        "text": "naïve 千 \ud800",
        "numbers": [0, 255, 256, -1, 1 << 40, -(1 << 80), 0.1, float("inf")],
        "others": (None, True, False, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "ordered": OrderedDict(a={}, b=[]),
        7: {"nested": [{}]},
    }
    assert read_pickle(saved(value)) == value


def test_a_tensor_is_a_record_of_where_its_values_are():
    rows = torch.zeros(5, 4)[1:3, ::2]
    expected = StoredTensor(Storage("torch.FloatStorage", "0"), 4, (2, 2), (4, 2))
    assert read_pickle(saved(rows)) == expected
    assert read_pickle(saved(torch.nn.Parameter(rows))) == expected
    rows.note = "an attribute"  # pyright: ignore[reportAttributeAccessIssue]
    assert read_pickle(saved(rows)) == expected


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (torch.zeros(2).to_sparse(), "torch._utils._rebuild_sparse_tensor"),
        (torch.Size([2]), "torch.Size"),
        (torch.device("cpu"), "torch.device"),
        (Counter("aab"), "collections.Counter"),
        (b"bytes", "_codecs.encode"),
        (bytearray(3), "__builtin__.bytearray"),
        ({1, 2}, "__builtin__.set"),
        (1j, "__builtin__.complex"),
        (torch.bfloat16, "torch.bfloat16"),
    ],
    ids=str,
)
def test_values_of_other_types_are_dropped(value, name):
    read = read_pickle(saved([value]))
    assert [item.name.replace("builtins", "__builtin__") for item in read] == [name]


def test_containers_that_hold_themselves():
    value = {}
    value["model"] = value
    read = read_pickle(saved(value))
    assert read["model"] is read


def test_tuples_inside_tuples_to_any_depth():
    assert isinstance(bounded(b"\x80\x02)" + b"\x85" * SOME + b"."), tuple)


HUGE = b"\x8a\x05" + (1 << 33).to_bytes(5, "little")
"""LONG1: 8 billion."""

COPIES = (
    b"\x80\x02}q\x01("
    + b"".join(b"X\x04\x00\x00\x00%04dK\x01" % number for number in range(9000))
    + b"u0ccollections\nOrderedDict\nq\x02"
)
"""A dictionary of 9,000 keys, and the class whose calls would copy it."""

HOSTILE = {
    "bytearray": b"\x80\x02cbuiltins\nbytearray\n" + HUGE + b"\x85R.",
    "set": b"\x80\x02cbuiltins\nset\n" + HUGE + b"\x85R.",
    "bytes by encode": b"\x80\x02c_codecs\nencode\n" + HUGE + b"\x85R.",
    "meta tensor": b"\x80\x02ctorch._utils\n_rebuild_meta_tensor_no_storage\n" + HUGE + b"\x85R.",
    "wrapper": b"\x80\x02ctorch._utils\n_rebuild_wrapper_subclass\n" + HUGE + b"\x85R.",
    "storage": b"\x80\x02ctorch\nFloatStorage\n" + HUGE + b"\x85R.",
    "tensor": b"\x80\x02ctorch\nTensor\n" + HUGE + b"\x85\x81.",
    "copies of a dictionary": COPIES + b"h\x02(h\x01tR" * 1000 + b".",
    "many sets": b"\x80\x02" + b"\x8f" * SOME + b".",
    "many dictionaries": b"\x80\x02" + b"}" * SOME + b".",
    "many marks": b"\x80\x02" + b"(" * SOME + b".",
    "a large memo index": b"\x80\x02}r\xff\xff\xff\xff.",
    "a long text that is not there": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "a key that is a tree": b"\x80\x02}"
    + b"Nq\x01"
    + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(1, 60))
    + b"K\x01s.",
    "keys with one hash": b"\x80\x02}("
    + b"".join(b"\x8a\x0b" + ((2**61 - 1) * n).to_bytes(11, "little") + b"N" for n in range(60_000))
    + b"u.",
    "calls inside calls": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\nq\x010)q\x02"
    + b"0(h\x01Nh\x02Ntq\x02" * 20_000
    + b"h\x01h\x02R.",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_pickles_take_little_memory_and_time(content):
    bounded(content)


@pytest.mark.parametrize("name", ["bytearray", "tensor", "storage"])
def test_what_a_pickle_asks_for_is_not_made(name):
    assert isinstance(bounded(HOSTILE[name]), Other)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"a": 1}, protocol=4),
        b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.",
        b"\x80\x02cposix\nsystem\n.",
        b"\x80\x02ctorch\nload\n.",
        b"\x80\x02ctorch.hub\nload\n.",
        b"\x80\x02cbuiltins\neval\n.",
        b"(ios\nsystem\n.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02ccollections\nOrderedDict\n}\x85R.",
    ],
    ids=["protocol 4", "call", "posix", "torch.load", "hub", "eval", "INST", "EXT", "copy"],
)
def test_refused_without_a_look_at_what_follows(content):
    with pytest.raises(UnreadablePickleError):
        read_pickle(content)


@pytest.mark.parametrize(
    "content",
    [b"", b".", b"\x80\x02", b"t.", b"a.", b"\x80\x02}h\x07.", b"\x80\x02Nu.", b"\x80\x02Q.", b"<"],
)
def test_a_pickle_that_makes_no_sense_is_called_damaged(content):
    with pytest.raises(UnreadablePickleError, match="damaged"):
        read_pickle(content)


def test_a_pickle_that_is_larger_than_any_tokenizer_needs():
    with pytest.raises(UnreadablePickleError, match="1,048,577 bytes"):
        read_pickle(bytes(MOST_BYTES + 1))
