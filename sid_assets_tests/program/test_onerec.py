"""The `onerec` deployment up to a data set, on a small model and tokenizer of width 4096."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sid_assets.core.quantise.checkpoint import save_checkpoint
from sid_assets_tests.graph import write_catalog, write_interactions

REPOSITORY = Path(__file__).parents[2]
CENTROIDS = 64


def _dagster(folder: Path, select: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """The command of the README, with its exit status."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "SID_DATA_DIR": str(folder / "data"),
        **settings,
    }
    return subprocess.run(
        ["dagster", "asset", "materialize", "--select", select, "-m", "sid_assets.definitions"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def catalog(tmp_path):
    frame = write_catalog(tmp_path / "catalog.parquet")
    write_interactions(tmp_path / "interactions.parquet", frame.pid)
    centroids = np.random.default_rng(0).normal(0, 0.008, (3, CENTROIDS, 4096))
    save_checkpoint(tmp_path / "tokenizer.pt", centroids.astype(np.float32), {})
    return tmp_path


def test_a_model_and_a_tokenizer_from_folders(catalog, small_model):
    settings = {
        "SID_DEPLOYMENT": "onerec",
        "SID_CATALOG": str(catalog / "catalog.parquet"),
        "SID_INTERACTIONS": str(catalog / "interactions.parquet"),
        "SID_EMBEDDING_MODEL": str(small_model),
        "SID_TOKENIZER": str(catalog / "tokenizer.pt"),
    }
    result = _dagster(catalog, select="*video_rec_dataset", **settings)
    log = result.stdout + result.stderr
    assert result.returncode == 0, log[-5000:]
    assert "with ERROR severity" not in log
    sids = pd.read_parquet(catalog / "data" / "pid2sid.parquet")
    assert len(sids) == 60
    assert all(0 <= code < CENTROIDS for sid in sids.sid for code in sid)
    vectors = np.stack(
        pd.read_parquet(catalog / "data" / "item_embeddings.parquet").embedding.tolist()
    )
    assert vectors.shape == (60, 4096)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    assert len(pd.read_parquet(catalog / "data" / "video_rec_dataset.parquet")) == 19

    # The demo's vectors are of another space: mixing the two is refused.
    demo = {**settings, "SID_DEPLOYMENT": "demo", "SID_EMBEDDER": "hashing"}
    mixed = _dagster(catalog, select="item_embeddings", **demo)
    assert mixed.returncode != 0
    assert "new_generation" in mixed.stdout + mixed.stderr
