"""Checkpoints that are damaged, or made to cost memory or time: an error that names the file."""

import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from sid_assets.core.errors import InputError
from sid_assets.core.quantise.checkpoint import load_checkpoint, save_checkpoint

LAYERS, SIZE, DIM = 2, 3, 4


@pytest.fixture
def centroids():
    return np.random.default_rng(0).standard_normal((LAYERS, SIZE, DIM)).astype(np.float32)


@pytest.fixture
def path(tmp_path, centroids):
    save_checkpoint(tmp_path / "tokenizer.pt", centroids, {"source": "train"})
    return tmp_path / "tokenizer.pt"


def state(centroids):
    return {f"centroids.{layer}": torch.tensor(rows) for layer, rows in enumerate(centroids)}


def saved(path, content):
    torch.save(content, path)
    return path


def archive(path, entries):
    """An archive with these entries, as torch.save writes them."""
    with zipfile.ZipFile(path, "w") as written:
        for name, content in entries.items():
            written.writestr(f"tokenizer/{name}", content)
    return path


def refused(path, message=""):
    with pytest.raises(InputError, match=message) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(str(path))
    assert "weights_only" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    return str(caught.value)


def loaded(path):
    """The centroids of a file, or None if it is refused with an error that names it."""
    try:
        return load_checkpoint(path).centroids
    except InputError as error:
        message = str(error)
    assert message.startswith(str(path))
    return None


def parts(path):
    """The entries of an archive that torch.save wrote, by their names in it."""
    with zipfile.ZipFile(path) as opened:
        return {entry.filename.partition("/")[2]: opened.read(entry) for entry in opened.infolist()}


def test_any_flipped_bit_gives_the_same_tokenizer_or_an_error(path, centroids):
    content = path.read_bytes()
    draw = np.random.default_rng(0)
    refusals = 0
    for position in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(draw.integers(8))
        path.write_bytes(damaged)
        found = loaded(path)
        assert found is None or np.array_equal(found, centroids), position
        refusals += found is None
    assert refusals > len(content) / 12


def test_bytes_replaced_at_random_give_the_same_tokenizer_or_an_error(path, centroids):
    content = path.read_bytes()
    draw = np.random.default_rng(1)
    for _ in range(500):
        damaged = bytearray(content)
        for _ in range(draw.integers(1, 5)):
            start = int(draw.integers(len(content)))
            damaged[start : start + int(draw.integers(1, 9))] = draw.bytes(int(draw.integers(9)))
        path.write_bytes(damaged)
        found = loaded(path)
        assert found is None or np.array_equal(found, centroids)


def test_pickles_changed_at_random_give_a_tokenizer_or_an_error(path):
    """With the right CRC: whatever the pickle says, the reader raises no other error."""
    entries = parts(path)
    content = entries["data.pkl"]
    draw = np.random.default_rng(2)
    for _ in range(500):
        changed = bytearray(content)
        for _ in range(draw.integers(1, 4)):
            changed[int(draw.integers(len(content)))] = int(draw.integers(256))
        archive(path, entries | {"data.pkl": bytes(changed)})
        found = loaded(path)
        assert found is None or found.dtype == np.float32


def test_a_flipped_bit_in_a_centroid_is_found(path, centroids):
    content = bytearray(path.read_bytes())
    start = content.index(centroids[1].tobytes())
    content[start + 5] ^= 1
    path.write_bytes(content)
    refused(path, r"the file is damaged \(Bad CRC-32.*Copy or download it again")


def test_a_dictionary_that_holds_itself(tmp_path, centroids):
    content = {}
    content["model"] = content
    refused(saved(tmp_path / "a.pt", content), "more than 8 dictionaries, one inside the other")
    extra: dict = state(centroids)
    extra["itself"] = extra
    checkpoint = load_checkpoint(saved(tmp_path / "b.pt", extra))
    assert checkpoint.notes == ("keys ignored: itself (1 in all)",)


@pytest.mark.parametrize("key", ["model", "other"])
def test_dictionaries_nested_50_000_times(tmp_path, key):
    name = b"X" + struct.pack("<I", len(key)) + key.encode()
    pickled = b"\x80\x02" + (b"}" + name) * 50_000 + b"}" + b"s" * 50_000 + b"."
    path = archive(tmp_path / "tokenizer.pt", {"data.pkl": pickled})
    refused(path, "one inside the other" if key == "model" else "found: none")


def test_records_of_the_making_that_cannot_be_kept_are_dropped_with_a_note(tmp_path, centroids):
    shared: list = ["x"]
    for _ in range(40):
        shared = [shared, shared]
    itself = {}
    itself["again"] = itself
    for record in ({"a": shared}, itself, {"a": torch.zeros(2)}):
        path = saved(tmp_path / "a.pt", {"model": state(centroids), "provenance": record})
        checkpoint = load_checkpoint(path)
        assert checkpoint.provenance == {}
        assert "not plain JSON" in checkpoint.notes[0]


MEASURED = """
import resource, sys
from sid_assets.core.errors import InputError
from sid_assets.core.quantise.checkpoint import load_checkpoint
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load_checkpoint(sys.argv[1])
except InputError as error:
    print("InputError")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_pickle_that_asks_for_two_gigabytes_takes_no_memory(tmp_path):
    """A bytearray of 2 GB in 30 bytes; torch's own restricted unpickler makes it."""
    pickled = b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."
    path = archive(tmp_path / "tokenizer.pt", {"data.pkl": pickled})
    ran = subprocess.run(
        [sys.executable, "-c", MEASURED, path], capture_output=True, text=True, check=True
    )
    outcome, kilobytes = ran.stdout.split()
    assert outcome == "InputError"
    assert int(kilobytes) < 50_000


def test_many_layers_that_are_views_of_the_same_values(tmp_path):
    """500 layers of 4 MB each, from 4 MB."""
    values = torch.zeros(1000, 1000)
    layers = {f"centroids.{layer}": values for layer in range(500)}
    refused(saved(tmp_path / "a.pt", layers), r"centroids\.\d+ claims more values than the file")


@pytest.mark.parametrize(
    ("shape", "strides"),
    [((1 << 13, 1 << 40), (0, 0)), ((3, 4), (1 << 60, 1)), ((3, 4), (4, -1)), ((3, True), (1, 1))],
)
def test_shapes_and_strides_that_lead_out_of_the_values(path, monkeypatch, shape, strides):
    from sid_assets.core.quantise import checkpoint
    from sid_assets.core.quantise.pickled import Storage, StoredTensor

    tensor = StoredTensor(Storage("torch.FloatStorage", "0"), 0, shape, strides)
    monkeypatch.setattr(checkpoint, "read_pickle", lambda _: {"centroids.0": tensor})
    refused(path, "claims more values than the file holds|are not numbers")


@pytest.mark.parametrize(
    "key",
    [
        "centroids.00",
        "centroids.01",
        "centroids.-1",
        "centroids.+1",
        "centroids. 1",
        "centroids.1 ",
        "centroids.٢",
        "centroids.²",
        "centroids.1.0",
        "centroids.1e0",
        "centroids.12345",
        "module.centroids.0",
    ],
)
def test_a_key_that_reads_like_a_layer_and_is_none(tmp_path, centroids, key):
    layers = {**state(centroids), key: torch.zeros(SIZE, DIM)}
    refused(saved(tmp_path / "a.pt", layers), "second name of a layer, or is not spelt as one")


def test_keys_are_shown_on_one_line_and_cut(tmp_path, centroids):
    layers = {**state(centroids), "a\nb\x1b[31m": 1, "x" * 5000: 2, 7: 3}
    (note,) = load_checkpoint(saved(tmp_path / "a.pt", layers)).notes
    assert note.startswith(r"keys ignored: 'a\nb\x1b[31m', 7, xxx")
    assert note.endswith("xxx... (3 in all)")
    assert len(note) < 200


def test_more_centroids_than_onerec_has_tokens_for(tmp_path):
    layers = {"centroids.0": torch.zeros(8193, 1)}
    refused(saved(tmp_path / "a.pt", layers), "have 8,193 centroids.*at most 8192")
    most = saved(tmp_path / "b.pt", {"centroids.0": torch.zeros(8192, 1)})
    assert load_checkpoint(most).centroids.shape == (1, 8192, 1)


def test_a_file_of_a_torch_release_before_1_6(tmp_path, centroids):
    path = tmp_path / "a.pt"
    torch.save(state(centroids), path, _use_new_zipfile_serialization=False)
    refused(path, "If a torch release before 1.6 wrote it, save it again with a newer one")


def test_other_archives(tmp_path, centroids):
    path = tmp_path / "a.pt"
    path.write_bytes(pickle.dumps(state(centroids)["centroids.0"].tolist()))
    refused(path, "not a checkpoint")
    with tarfile.open(path, "w") as written:
        written.add(__file__, "storages")
    refused(path, "not a checkpoint")
    archive(path, {"readme.txt": b"text"})
    refused(path, "a zip archive, but not one that torch.save writes")


def test_paths_that_cannot_be_read(tmp_path, path, monkeypatch):
    refused(tmp_path, "no such file")
    refused(tmp_path / ("n" * 300), "cannot be read: File name too long")

    def forbidden(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(zipfile, "ZipFile", forbidden)
    refused(path, "cannot be read: Permission denied")


def test_an_archive_with_two_entries_of_one_name(path):
    with zipfile.ZipFile(path) as opened:
        entries = [(entry.filename, opened.read(entry)) for entry in opened.infolist()]
    with zipfile.ZipFile(path, "w") as written:
        for name, content in entries:
            written.writestr(name, content)
        with pytest.warns(UserWarning, match="Duplicate"):
            written.writestr(*entries[-1])
    refused(path, "not one that torch.save writes")


def test_an_encrypted_archive(path):
    content = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := content.find(mark, at + 1)) >= 0:
            content[at + flags] |= 1
    path.write_bytes(content)
    refused(path, "the file is damaged.*encrypted")


def test_values_that_a_machine_of_the_other_byte_order_wrote(path, centroids):
    entries = parts(path)
    entries["byteorder"] = b"big"
    for layer, rows in enumerate(centroids):
        entries[f"data/{layer}"] = rows.astype(">f4").tobytes()
    np.testing.assert_array_equal(load_checkpoint(archive(path, entries)).centroids, centroids)


def test_values_that_are_missing_or_cut_off(path, centroids):
    entries = parts(path)
    shorter = entries | {"data/1": entries["data/1"][:-1]}
    refused(archive(path, shorter), r"centroids\.1 claims more values than the file holds")
    del entries["data/1"]
    refused(archive(path, entries), r"centroids\.1 claims more values than the file holds")


def test_the_crc_is_compared_for_the_last_byte_of_a_large_layer(tmp_path):
    """Entries are read in blocks: the comparison comes with the last one."""
    path = saved(tmp_path / "a.pt", {"centroids.0": torch.ones(1000, 600)})
    content = bytearray(path.read_bytes())
    last = content.rindex(struct.pack("<f", 1))
    content[last] ^= 1
    path.write_bytes(content)
    refused(path, "Bad CRC-32")


def test_a_layer_with_attributes_and_a_transposed_one(tmp_path, centroids):
    layers = state(centroids)
    layers["centroids.0"] = torch.nn.Parameter(layers["centroids.0"])
    layers["centroids.0"].source = "text"  # pyright: ignore[reportAttributeAccessIssue]
    layers["centroids.1"] = torch.tensor(centroids[1].T.copy()).T
    checkpoint = load_checkpoint(saved(tmp_path / "a.pt", layers))
    np.testing.assert_array_equal(checkpoint.centroids, centroids)
