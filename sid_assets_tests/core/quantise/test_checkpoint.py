"""Checkpoints: the formats that load, and the files that are refused without running anything."""

import io
import os
import pickle
import stat
import subprocess
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from sid_assets.core.errors import InputError
from sid_assets.core.quantise.checkpoint import centroid_hash, load_checkpoint, save_checkpoint

LAYERS, SIZE, DIM = 3, 5, 4

WRITES_A_MODULE = """
import sys, types, torch

class ResKmeans(torch.nn.Module):
    def __init__(self, centroids):
        super().__init__()
        self.n_layers, self.codebook_size, self.dim = centroids.shape
        self.centroids = torch.nn.ParameterList(
            [torch.nn.Parameter(layer.clone(), requires_grad=False) for layer in centroids]
        )

ResKmeans.__module__ = "res_kmeans"
sys.modules["res_kmeans"] = types.ModuleType("res_kmeans")
sys.modules["res_kmeans"].ResKmeans = ResKmeans
model = ResKmeans(torch.load(sys.argv[1], weights_only=True))
torch.save({"model": model} if sys.argv[3] == "wrapped" else model, sys.argv[2])
"""


@pytest.fixture
def centroids():
    return np.random.default_rng(0).standard_normal((LAYERS, SIZE, DIM)).astype(np.float32)


def state(centroids, prefix="centroids."):
    return {f"{prefix}{layer}": torch.tensor(rows) for layer, rows in enumerate(centroids)}


def saved(tmp_path, content):
    path = tmp_path / "tokenizer.pt"
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        OrderedDict,
        lambda layers: {"model": layers},
        lambda layers: {"state_dict": OrderedDict(layers), "epoch": 3},
        lambda layers: {name: torch.nn.Parameter(rows) for name, rows in layers.items()},
    ],
    ids=["state dict", "ordered", "under model", "under state_dict", "parameters"],
)
def test_forms_of_a_state_dict(tmp_path, centroids, wrap):
    checkpoint = load_checkpoint(saved(tmp_path, wrap(state(centroids))))
    np.testing.assert_array_equal(checkpoint.centroids, centroids)
    assert checkpoint.centroids.dtype == np.float32
    assert checkpoint.notes == ()
    assert checkpoint.provenance == {}


@pytest.mark.parametrize("form", ["plain", "wrapped"])
def test_a_whole_pickled_module_of_onerec(tmp_path, centroids, form):
    torch.save(torch.tensor(centroids), tmp_path / "values.pt")
    path = tmp_path / "module.pt"
    subprocess.run(
        [sys.executable, "-c", WRITES_A_MODULE, tmp_path / "values.pt", path, form], check=True
    )
    assert "res_kmeans" not in sys.modules
    checkpoint = load_checkpoint(path)
    np.testing.assert_array_equal(checkpoint.centroids, centroids)
    assert checkpoint.notes == ()


def test_prefixes_of_parallel_training_are_removed(tmp_path, centroids):
    checkpoint = load_checkpoint(saved(tmp_path, state(centroids, "module.centroids.")))
    np.testing.assert_array_equal(checkpoint.centroids, centroids)


def test_layers_are_ordered_by_number(tmp_path):
    centroids = np.arange(12 * 2 * 2, dtype=np.float32).reshape(12, 2, 2)
    layers = dict(reversed(state(centroids).items()))
    np.testing.assert_array_equal(load_checkpoint(saved(tmp_path, layers)).centroids, centroids)


def test_what_is_saved_loads_again(tmp_path, centroids):
    path = tmp_path / "tokenizer.pt"
    save_checkpoint(path, centroids, {"source": "train", "figures": {"layers": [1, 2.5]}})
    checkpoint = load_checkpoint(path)
    np.testing.assert_array_equal(checkpoint.centroids, centroids)
    assert checkpoint.provenance == {"source": "train", "figures": {"layers": [1, 2.5]}}
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_onerecs_program_finds_its_keys(tmp_path, centroids):
    path = tmp_path / "tokenizer.pt"
    save_checkpoint(path, centroids, {})
    model = torch.load(path, weights_only=True)["model"]
    assert list(model) == ["centroids.0", "centroids.1", "centroids.2"]
    assert all(rows.dtype == torch.float32 and rows.shape == (SIZE, DIM) for rows in model.values())


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, centroids):
    path = tmp_path / "tokenizer.pt"
    save_checkpoint(path, centroids, {})
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, centroids, {"unpicklable": lambda: None})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_identity_depends_on_the_centroids_not_on_the_file(tmp_path, centroids):
    for name in ("a.pt", "another name.pt"):
        save_checkpoint(tmp_path / name, centroids, {"name": name})
        assert centroid_hash(load_checkpoint(tmp_path / name).centroids) == centroid_hash(centroids)
    changed = centroids.copy()
    changed[2, 4, 3] = np.nextafter(changed[2, 4, 3], np.float32(9))
    assert centroid_hash(changed) != centroid_hash(centroids)


def test_known_hash():
    """SHA-256 of 16 bytes: 0, 1, 2, 3 as little-endian float32."""
    values = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    known = "4c9c4f354e74153db012329d71c8562ec23e498148174b2c49de58f45d47cdbe"
    assert centroid_hash(values) == known
    assert centroid_hash(np.asfortranarray(values)) == known
    assert centroid_hash(values.astype(">f4")) == known


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_another_float_type_is_cast_with_a_note(tmp_path, centroids, dtype):
    layers = {name: rows.to(dtype) for name, rows in state(centroids).items()}
    checkpoint = load_checkpoint(saved(tmp_path, layers))
    expected = torch.tensor(centroids).to(dtype).float().numpy()
    np.testing.assert_array_equal(checkpoint.centroids, expected)
    name = str(dtype).removeprefix("torch.")
    assert checkpoint.notes[0] == f"centroids.0 cast from {name} to float32"


def test_extra_keys_are_ignored_with_a_note(tmp_path, centroids):
    layers = {**state(centroids), "usage": torch.ones(3), "centroids.mean": torch.ones(2)}
    checkpoint = load_checkpoint(saved(tmp_path, layers))
    np.testing.assert_array_equal(checkpoint.centroids, centroids)
    assert checkpoint.notes == ("keys ignored: centroids.mean, usage (2 in all)",)


class Malicious:
    """An object whose pickle makes a file when it is loaded."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("place", ["whole", "inside"])
def test_a_pickle_that_runs_a_command_is_refused_and_does_not_run(tmp_path, centroids, place):
    target = tmp_path / "ran"
    evil = Malicious(target)
    content = evil if place == "whole" else {"model": {**state(centroids), "extra": evil}}
    path = saved(tmp_path, content)
    with pytest.raises(InputError, match=r"holds more than tensors.*Nothing in it was executed"):
        load_checkpoint(path)
    assert not target.exists()
    # The test's own trap: the file holds the command, and the command works.
    command, arguments = evil.__reduce__()
    with zipfile.ZipFile(path) as archive:
        (pickled,) = (archive.read(name) for name in archive.namelist() if name.endswith(".pkl"))
    assert all(argument.encode() in pickled for argument in arguments)
    command(*arguments)
    assert target.exists()


def test_a_module_of_another_class_is_refused(tmp_path):
    with pytest.raises(InputError, match="save the module's state_dict"):
        load_checkpoint(saved(tmp_path, torch.nn.Linear(2, 2)))


def repacked(path, change):
    """The archive with its entries passed through `change(name, content)`."""
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w") as new:
        for entry in old.infolist():
            change(new, entry.filename, old.read(entry))
    path.write_bytes(packed.getvalue())
    return path


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, centroids):
    def inflate(archive, name, content):
        bomb = name.endswith("data/0")
        archive.writestr(
            name, bytes(200_000_000) if bomb else content, zipfile.ZIP_DEFLATED if bomb else None
        )

    path = repacked(saved(tmp_path, state(centroids)), inflate)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(InputError, match="unpacks to more than the file holds"):
        load_checkpoint(path)


def rewritten(path, change):
    """The archive with another data.pkl."""

    def edit(archive, name, content):
        archive.writestr(name, change(content) if name.endswith("data.pkl") else content)

    return repacked(path, edit)


def test_a_view_that_claims_more_than_is_stored_is_refused(tmp_path):
    huge = torch.zeros(1, 1).expand(1 << 20, 1 << 20)
    path = saved(tmp_path, {"centroids.0": huge})
    with pytest.raises(InputError, match="claims more values than the file holds"):
        load_checkpoint(path)


def test_a_storage_that_claims_more_than_is_stored_is_refused(tmp_path):
    values = 500
    path = saved(tmp_path, {"centroids.0": torch.zeros(values, 1)})
    # The pickle holds the number of values as two bytes, in the storage and in the shape.
    claimed = pickle.BININT2 + (60_000).to_bytes(2, "little")
    stored = pickle.BININT2 + values.to_bytes(2, "little")
    rewritten(path, lambda content: content.replace(stored, claimed))
    with pytest.raises(InputError):
        load_checkpoint(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_is_cut_off(tmp_path, centroids, share):
    path = saved(tmp_path, state(centroids))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="not a checkpoint, or cut off"):
        load_checkpoint(path)


def test_damage_inside_the_archive(tmp_path, centroids):
    path = saved(tmp_path, state(centroids))
    rewritten(path, lambda content: content[: len(content) // 2])
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(path)


def test_another_kind_of_file(tmp_path):
    path = tmp_path / "tokenizer.pt"
    path.write_text("<html>Not found</html>")
    with pytest.raises(InputError, match=r"tokenizer\.pt: not a checkpoint"):
        load_checkpoint(path)


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.pt: no such file"):
        load_checkpoint(tmp_path / "none.pt")


def test_a_missing_layer(tmp_path, centroids):
    layers = state(centroids)
    del layers["centroids.1"]
    with pytest.raises(InputError, match=r"without a gap; found: centroids\.0, centroids\.2\."):
        load_checkpoint(saved(tmp_path, layers))


@pytest.mark.parametrize("content", [{}, {"weight": torch.zeros(2, 2)}, [1, 2], torch.zeros(3)])
def test_no_layers_at_all(tmp_path, content):
    with pytest.raises(InputError, match="found: none"):
        load_checkpoint(saved(tmp_path, content))


@pytest.mark.parametrize("shape", [(SIZE, DIM + 1), (SIZE + 1, DIM), (SIZE * DIM,), (0, DIM)])
def test_layers_of_unequal_or_odd_shape(tmp_path, centroids, shape):
    layers = {**state(centroids), "centroids.1": torch.zeros(shape)}
    with pytest.raises(InputError, match=r"centroids\.1 has shape"):
        load_checkpoint(saved(tmp_path, layers))


def test_values_that_are_not_finite(tmp_path, centroids):
    centroids[1, [0, 3], 2] = np.nan, np.inf
    with pytest.raises(InputError, match=r"centroids\.1: NaN or infinite values in 2 of 5"):
        load_checkpoint(saved(tmp_path, state(centroids)))


@pytest.mark.parametrize(
    "odd",
    [torch.zeros(SIZE, DIM, dtype=torch.int64), torch.zeros(SIZE, DIM).to_sparse()],
    ids=["integers", "sparse"],
)
def test_a_layer_that_is_not_a_float_matrix(tmp_path, centroids, odd):
    layers = {**state(centroids), "centroids.1": odd}
    with pytest.raises(InputError, match=r"centroids\.1 holds"):
        load_checkpoint(saved(tmp_path, layers))


def test_layers_that_are_views_of_one_storage(tmp_path, centroids):
    whole = torch.tensor(centroids)
    layers = {f"centroids.{layer}": whole[layer] for layer in range(LAYERS)}
    np.testing.assert_array_equal(load_checkpoint(saved(tmp_path, layers)).centroids, centroids)
