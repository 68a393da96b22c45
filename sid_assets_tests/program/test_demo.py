"""The demo of the README, on the built-in sample, and on a real catalog."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

REPOSITORY = Path(__file__).parents[2]
MATERIALIZE = "dagster asset materialize --select '*' -m sid_assets.definitions"


def _run(command: str, data_dir: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "SID_DATA_DIR": str(data_dir),
        **settings,
    }
    return subprocess.run(
        ["bash", "-c", command],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The data that `sid-assets demo` makes, and what it printed.

    The folder has a `.env` as `sid-assets init` writes it.
    """
    folder = tmp_path_factory.mktemp("demo")
    command = f"python -m sid_assets init {folder} && python -m sid_assets demo {folder}"
    return folder / "data", _run(command, folder / "data")


def test_the_demo_has_its_own_dagster_yaml(demo):
    data_dir, result = demo
    assert "What was made" in result.stdout
    assert (data_dir.parent / ".dagster" / "storage").exists()
    for unwanted in (" - DEBUG - ", "Warning: ", "leaked"):
        assert unwanted not in result.stdout + result.stderr


def test_the_log_of_the_demo_is_short_lines(demo):
    _, result = demo
    lines = result.stderr.splitlines()
    assert [line for line in lines if not re.match(r"\d\d:\d\d:\d\d  \S.{27}", line)] == []
    assert any(re.search(r"  item_texts +17,472 items\.$", line) for line in lines)


def test_every_file_of_the_data_folder_is_listed(demo):
    data_dir, result = demo
    files = {str(path) for path in data_dir.iterdir() if not path.name.startswith(".")}
    listed = set(re.findall(rf"  ({data_dir}/\S+)$", result.stdout, re.MULTILINE))
    assert listed == files


def test_the_demo_makes_everything(demo):
    data_dir, result = demo
    log = result.stdout + result.stderr
    assert result.returncode == 0, log[-5000:]
    assert "did not pass" not in log  # every check is green
    assert len(pd.read_parquet(data_dir / "pid2sid.parquet")) == 17_472
    made = {path.name for path in data_dir.glob("*_dataset.parquet")}
    assert len(made) == 8
    rows = pd.read_parquet(data_dir / "interactions.parquet")
    assert len(pd.read_parquet(data_dir / "video_rec_dataset.parquet")) == (rows.split == 0).sum()


def test_the_command_of_the_readme_makes_the_same_and_changes_no_sid(demo):
    data_dir, _ = demo
    assert MATERIALIZE in (REPOSITORY / "README.md").read_text()
    before = pd.read_parquet(data_dir / "pid2sid.parquet")
    result = _run(MATERIALIZE, data_dir)
    assert result.returncode == 0
    assert "0 were embedded" in result.stdout + result.stderr
    assert "0 quantised" in result.stdout + result.stderr
    pd.testing.assert_frame_equal(before, pd.read_parquet(data_dir / "pid2sid.parquet"))


def test_what_was_made_is_shown(demo):
    data_dir, _ = demo
    result = _run("python -m sid_assets.show", data_dir)
    assert result.returncode == 0, result.stderr
    assert str(data_dir) in result.stdout
    assert result.stdout.count("items whose first code is") == 3
    assert "10 items, drawn with seed 0" in result.stdout
    assert result.stdout.count("<|sid_begin|>") == 10 + 3 * 6
    assert "sid_report.html" in result.stdout.splitlines()[-1]
    assert result.stdout == _run("python -m sid_assets.show", data_dir).stdout


def test_a_folder_without_tables_is_reported(tmp_path):
    result = _run("python -m sid_assets.show", tmp_path)
    assert result.returncode == 1
    assert "Materialise pid2sid first" in result.stderr


def test_a_real_catalog(office, tmp_path):
    result = _run(
        MATERIALIZE,
        tmp_path,
        SID_CATALOG=str(office / "catalog.parquet"),
        SID_INTERACTIONS=str(office / "interactions.parquet"),
        SID_TRAINING_ITERATIONS="3",
        SID_TEXT_TEMPLATE="Title: {title}\nBrand: {brand}\nDescription: {description}",
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-5000:]
    assert len(pd.read_parquet(tmp_path / "pid2sid.parquet")) == 3_459
    assert len(pd.read_parquet(tmp_path / "video_rec_dataset.parquet")) == 4_866
