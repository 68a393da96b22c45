"""Training against faiss called directly, and the sample it trains on."""

import json

import faiss
import numpy as np
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.quantise.residual_kmeans import Encoder
from sid_assets.core.quantise.train import TrainingSettings, draw_sample, train

SETTINGS = TrainingSettings(codebook_size=32, iterations=8, points_per_centroid=50)


def made_vectors(rows=2000, dim=24, seed=0):
    """Clusters of clusters, so that each layer has structure to learn."""
    rng = np.random.default_rng(seed)
    coarse, fine = rng.standard_normal((40, dim)) * 2, rng.standard_normal((40, dim))
    noise = rng.standard_normal((rows, dim)) * 0.3
    values = coarse[rng.integers(40, size=rows)] + fine[rng.integers(40, size=rows)] + noise
    return values.astype(np.float32)


def residual_after(vectors, centroids):
    encoded = Encoder(centroids).encode(vectors)
    return encoded.residual_norms[:, -1].astype(float)


def test_held_out_error_is_that_of_faiss_called_directly():
    """Both train on a sample of the same size: 32 * 80 of 4000 rows."""
    rng = np.random.default_rng(0)
    vectors = np.asarray(rng.standard_normal((8000, 24)) * np.arange(1, 25) ** -0.7, np.float32)
    known, unknown = vectors[:4000], vectors[4000:]
    settings = TrainingSettings(codebook_size=32, iterations=15, points_per_centroid=80)
    trained = train([known], settings)
    residual, codebooks = known, []
    for layer in range(3):
        kmeans = faiss.Kmeans(24, 32, niter=15, seed=layer, max_points_per_centroid=80)
        kmeans.train(residual)
        assert kmeans.centroids is not None
        codebooks.append(kmeans.centroids)
        residual = residual - kmeans.centroids[kmeans.index.search(residual, 1)[1][:, 0]]
    ours = (residual_after(unknown, trained.centroids) ** 2).mean()
    theirs = (residual_after(unknown, np.stack(codebooks)) ** 2).mean()
    assert ours == pytest.approx(theirs, rel=0.01)


def test_shapes_and_types():
    trained = train([made_vectors()], SETTINGS)
    assert trained.centroids.shape == (3, 32, 24)
    assert trained.centroids.dtype == np.float32


def test_same_seed_and_data_give_the_same_centroids_for_any_batches():
    vectors = made_vectors(rows=5000)  # more than the sample holds
    whole = train([vectors], SETTINGS).centroids
    cut = train(np.array_split(vectors, [1, 700, 701, 3000]), SETTINGS).centroids
    np.testing.assert_array_equal(whole, cut)
    other = TrainingSettings(codebook_size=32, iterations=8, points_per_centroid=50, seed=1)
    assert not np.array_equal(whole, train([vectors], other).centroids)


def test_every_setting_reaches_faiss(monkeypatch):
    calls = []

    class Recorded(faiss.Kmeans):
        def __init__(self, *arguments, **settings):
            calls.append((arguments, settings))
            super().__init__(*arguments, **settings)

        def train(self, x, *arguments, **options):
            calls[-1][1]["rows"] = len(x)
            return super().train(x, *arguments, **options)

    monkeypatch.setattr(faiss, "Kmeans", Recorded)
    train(
        [made_vectors(rows=5000)],
        TrainingSettings(
            layers=2, codebook_size=20, iterations=3, seed=7, restarts=2, points_per_centroid=45
        ),
    )
    assert [arguments for arguments, _ in calls] == [(24, 20), (24, 20)]
    assert [settings["seed"] for _, settings in calls] == [7, 8]
    for _, settings in calls:
        assert settings["niter"] == 3
        assert settings["nredo"] == 2
        assert settings["max_points_per_centroid"] == 45
        assert settings["rows"] == 20 * 45


def test_figures_are_those_of_encoding_the_rows():
    vectors = made_vectors(rows=900)
    trained = train([vectors], SETTINGS)
    assert json.loads(json.dumps(trained.figures)) == trained.figures
    figures = trained.figures
    assert (figures["rows_seen"], figures["rows_trained"], figures["rows_held_out"]) == (
        900,
        810,
        90,
    )
    assert [layer["layer"] for layer in figures["layers"]] == [1, 2, 3]
    encoded = Encoder(trained.centroids).encode(vectors)
    norms = encoded.residual_norms.astype(float)
    for number, layer in enumerate(figures["layers"]):
        # All rows were in the sample, so the two parts make up the whole.
        for name, values in (
            ("mean_squared_error", norms[:, number + 1] ** 2),
            ("relative_error", norms[:, number + 1] / norms[:, 0]),
        ):
            both = layer["trained"][name] * 810 + layer["held_out"][name] * 90
            assert both / 900 == pytest.approx(values.mean(), rel=1e-6)
        used = len(np.unique(encoded.codes[:, number]))
        assert layer["trained"]["dead_codes"] >= 32 - used
        for part in ("trained", "held_out"):
            assert layer[part]["utilisation"] == 1 - layer[part]["dead_codes"] / 32
            assert 0 < layer[part]["entropy"] <= np.log(32)
        assert layer["trained"]["mean_squared_error"] < layer["held_out"]["mean_squared_error"]


def test_held_out_rows_take_no_part_in_training(monkeypatch):
    seen = []

    class Recorded(faiss.Kmeans):
        def train(self, x, *arguments, **options):
            seen.append(x.copy())
            return super().train(x, *arguments, **options)

    monkeypatch.setattr(faiss, "Kmeans", Recorded)
    vectors = made_vectors(rows=500)
    train([vectors], TrainingSettings(layers=1, codebook_size=8, iterations=2))
    rows = {row.tobytes() for row in seen[0]}
    assert len(rows) == 450
    assert rows < {row.tobytes() for row in vectors}


def test_sample_is_uniform_and_made_of_rows_of_the_stream():
    rows, size, times = 60, 15, 2000
    counts = np.zeros(rows)
    for seed in range(times):
        stream = np.arange(rows, dtype=np.float32)[:, None]
        sample, seen = draw_sample(np.array_split(stream, 7), size, np.random.default_rng(seed))
        assert seen == rows
        assert len(np.unique(sample)) == size
        counts[sample[:, 0].astype(int)] += 1
    # Each row is drawn with probability 1/4; five standard deviations either way.
    expected, deviation = times / 4, (times * 3 / 16) ** 0.5
    assert (np.abs(counts - expected) < 5 * deviation).all()


def test_a_short_stream_is_the_sample():
    stream = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    sample, seen = draw_sample(np.array_split(stream, 9), 100, np.random.default_rng(0))
    assert seen == 50
    np.testing.assert_array_equal(sample, stream)


def test_fewer_vectors_than_centroids_names_the_largest_codebook_size():
    with pytest.raises(
        InputError, match=r"30 vectors leave 27 to train on.*SID_CODEBOOK_SIZE to at most 27"
    ):
        train([made_vectors(rows=30)], SETTINGS)
    exactly = TrainingSettings(codebook_size=27, iterations=2)
    assert train([made_vectors(rows=30)], exactly).centroids.shape == (3, 27, 24)


def test_no_vectors_at_all():
    with pytest.raises(InputError, match="0 vectors"):
        train([], SETTINGS)


def test_few_vectors_per_centroid_are_reported_in_a_note():
    (note,) = train([made_vectors(rows=200)], SETTINGS).notes
    assert "fewer than 39 per centroid" in note
    many = TrainingSettings(codebook_size=64, iterations=2)
    (note,) = train([made_vectors(rows=200)], many).notes
    assert "Set SID_CODEBOOK_SIZE to about 50 " in note
    assert train([made_vectors()], SETTINGS).notes == ()


def test_the_log_has_the_figures_of_each_layer(caplog):
    with caplog.at_level("INFO"):
        train([made_vectors(rows=600)], TrainingSettings(codebook_size=8, iterations=2))
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in lines] == [f"Layer {n} of 3" for n in (1, 2, 3)]
    assert all("of held-out vectors 0." in line and "% of codes used" in line for line in lines)
