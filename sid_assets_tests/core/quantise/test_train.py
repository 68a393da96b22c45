"""Training against faiss called directly, and the sample it trains on."""

import json
from dataclasses import replace

import faiss
import numpy as np
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.quantise.residual_kmeans import Encoder
from sid_assets.core.quantise.train import DEFAULT_METHOD, TrainingSettings, draw_sample, train

SETTINGS = TrainingSettings(codebook_size=32, iterations=8, points_per_centroid=50)
PLAIN = replace(SETTINGS, method="kmeans")
BOTH = pytest.mark.parametrize("method", ["balanced", "kmeans"])


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


def test_kmeans_on_a_cpu_gives_the_bytes_of_faiss_called_directly():
    vectors = made_vectors(rows=700)
    settings = replace(PLAIN, restarts=2)
    trained = train([vectors], settings, "cpu").centroids
    residual = vectors.copy()
    held_out = np.random.default_rng(0)
    held_out.random(700)  # the sample draws one number for each row
    chosen = np.zeros(700, bool)
    chosen[held_out.choice(700, 70, replace=False)] = True
    before, after = np.flatnonzero(chosen[:630]), 630 + np.flatnonzero(~chosen[630:])
    residual[before], residual[after] = residual[after], residual[before]
    residual = residual[:630]
    for layer in range(3):
        kmeans = faiss.Kmeans(
            *(24, 32),
            niter=8,
            nredo=2,
            seed=layer,
            max_points_per_centroid=50,
            min_points_per_centroid=1,
        )
        kmeans.train(residual)
        assert kmeans.centroids is not None
        assert trained[layer].tobytes() == kmeans.centroids.tobytes()
        residual = residual - trained[layer][Encoder(trained[[layer]]).encode(residual).codes[:, 0]]


def test_held_out_error_is_that_of_faiss_called_directly():
    """Both train on a sample of the same size: 32 * 80 of 4000 rows."""
    rng = np.random.default_rng(0)
    vectors = np.asarray(rng.standard_normal((8000, 24)) * np.arange(1, 25) ** -0.7, np.float32)
    known, unknown = vectors[:4000], vectors[4000:]
    settings = replace(PLAIN, iterations=15, points_per_centroid=80)
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


@BOTH
def test_shapes_and_types(method):
    trained = train([made_vectors()], replace(SETTINGS, method=method))
    assert trained.centroids.shape == (3, 32, 24)
    assert trained.centroids.dtype == np.float32


@BOTH
def test_same_seed_and_data_give_the_same_centroids_for_any_batches(method):
    settings = replace(SETTINGS, method=method)
    vectors = made_vectors(rows=5000)  # more than the sample holds
    whole = train([vectors], settings).centroids
    cut = train(np.array_split(vectors, [1, 700, 701, 3000]), settings).centroids
    np.testing.assert_array_equal(whole, cut)
    other = replace(settings, seed=1)
    assert not np.array_equal(whole, train([vectors], other).centroids)


def crowded_vectors(rows=3000, dim=24, seed=0):
    """Vectors of a few items that are far from a crowd of others, as in real catalogs."""
    rng = np.random.default_rng(seed)
    vectors = made_vectors(rows, dim, seed)
    return (vectors * rng.pareto(2, (rows, 1)).astype(np.float32)).astype(np.float32)


@pytest.mark.parametrize("make", [made_vectors, crowded_vectors])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_layer_of_balanced_training_uses_its_codes_less_evenly_than_kmeans(make, seed):
    vectors = make(rows=3000, seed=seed)
    plain, balanced = (
        train([vectors], replace(SETTINGS, method=method, points_per_centroid=90, seed=seed))
        for method in ("kmeans", "balanced")
    )
    for before, after in zip(plain.figures["layers"], balanced.figures["layers"], strict=True):
        for part in ("trained", "held_out"):
            assert after[part]["perplexity"] > before[part]["perplexity"]
    errors = [t.figures["layers"][-1]["held_out"]["relative_error"] for t in (plain, balanced)]
    assert errors[1] < 1.05 * errors[0]


def test_more_inequality_is_less_even():
    vectors = crowded_vectors()
    evenness = [
        train([vectors], replace(SETTINGS, inequality=allowed)).figures["layers"][0]["trained"]
        for allowed in (1.0, 4.0)
    ]
    assert evenness[0]["perplexity"] > evenness[1]["perplexity"]


def codes_kept(before, after, vectors):
    codes = [Encoder(centroids).encode(vectors).codes for centroids in (before, after)]
    return (codes[0] == codes[1]).all(axis=1).mean()


@BOTH
def test_a_tokenizer_to_start_from_keeps_the_codes_of_more_items(method):
    settings = replace(SETTINGS, method=method)
    vectors, others = made_vectors(rows=1500), made_vectors(rows=150, seed=1)
    changed = np.concatenate([vectors[150:], others])
    before = train([vectors], settings).centroids
    warm, cold = train([changed], settings, start=before), train([changed], settings)
    kept = [codes_kept(before, after.centroids, vectors[150:]) for after in (warm, cold)]
    assert kept[0] > 0.1
    assert kept[1] < 0.01
    assert (warm.figures["warm_start"], cold.figures["warm_start"]) == (True, False)
    errors = [t.figures["layers"][-1]["held_out"]["relative_error"] for t in (warm, cold)]
    assert errors[0] < 1.05 * errors[1]


def test_kmeans_in_torch_is_as_good_as_in_faiss(monkeypatch):
    vectors = made_vectors()
    plain = train([vectors], PLAIN).figures["layers"][0]["trained"]
    monkeypatch.setattr("sid_assets.core.quantise.train._faiss_kmeans", None)
    monkeypatch.setattr(
        "sid_assets.core.quantise.train._uses_faiss", lambda settings, device: False
    )
    in_torch = train([vectors], replace(PLAIN, restarts=3)).figures["layers"][0]["trained"]
    assert in_torch["mean_squared_error"] < 1.05 * plain["mean_squared_error"]


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
            method="kmeans",
            layers=2,
            codebook_size=20,
            iterations=3,
            seed=7,
            restarts=2,
            points_per_centroid=45,
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
    train([vectors], TrainingSettings("kmeans", layers=1, codebook_size=8, iterations=2))
    rows = {row.tobytes() for row in seen[0]}
    assert len(rows) == 450
    assert rows < {row.tobytes() for row in vectors}


def test_sample_is_uniform_and_made_of_rows_of_the_stream():
    rows, size, times = 60, 15, 2000
    counts = np.zeros(rows)
    for seed in range(times):
        stream = np.arange(rows, dtype=np.float32)[:, None]
        sample, places, seen = draw_sample(
            np.array_split(stream, 7), size, np.random.default_rng(seed)
        )
        assert seen == rows
        np.testing.assert_array_equal(sample, stream[places])
        assert len(np.unique(sample)) == size
        counts[sample[:, 0].astype(int)] += 1
    # Each row is drawn with probability 1/4; five standard deviations either way.
    expected, deviation = times / 4, (times * 3 / 16) ** 0.5
    assert (np.abs(counts - expected) < 5 * deviation).all()


def test_a_short_stream_is_the_sample():
    stream = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    sample, places, seen = draw_sample(np.array_split(stream, 9), 100, np.random.default_rng(0))
    assert seen == 50
    np.testing.assert_array_equal(places, np.arange(50))
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


def test_one_vector_is_too_few_whatever_the_codebook_size():
    with pytest.raises(InputError, match="1 vector: a tokenizer is trained on at least two"):
        train([made_vectors(rows=1)], replace(SETTINGS, codebook_size=1))


def test_a_point_for_each_centroid_is_enough():
    settings = replace(PLAIN, codebook_size=8, points_per_centroid=1)
    assert train([made_vectors(rows=50)], settings).figures["rows_trained"] == 8


def test_what_is_left_open_is_decided_by_the_number_of_items():
    left_open = TrainingSettings(method="", codebook_size=0)
    assert left_open.decided(3459).method == DEFAULT_METHOD
    assert left_open.decided(3459, "balanced") == TrainingSettings("balanced", codebook_size=256)
    assert left_open.decided(68_000, "kmeans") == TrainingSettings("kmeans", codebook_size=512)
    assert PLAIN.decided(3459, "balanced") == PLAIN


def test_the_log_has_the_figures_of_each_layer(caplog):
    with caplog.at_level("INFO"):
        train([made_vectors(rows=600)], TrainingSettings(codebook_size=8, iterations=2))
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in lines] == [f"Layer {n} of 3" for n in (1, 2, 3)]
    for words in ("of held-out vectors 0.", "% of codes used", "perplexity "):
        assert all(words in line for line in lines)


def test_the_sample_keeps_its_places_in_the_stream_and_its_codes():
    vectors = made_vectors(rows=500)
    settings = TrainingSettings("kmeans", codebook_size=4, points_per_centroid=64, iterations=3)
    trained = train([vectors], settings)
    assert len(trained.sample_rows) == len(set(trained.sample_rows.tolist())) == 284
    expected = Encoder(trained.centroids).encode(vectors[trained.sample_rows]).codes
    np.testing.assert_array_equal(trained.sample_codes, expected)
