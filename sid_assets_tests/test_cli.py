"""The command `sid-assets`, as a person and as a program call it."""

import io
import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from dotenv import dotenv_values

from sid_assets import cli, compare, infer_res_kmeans, init, plan, probe, purge, show
from sid_assets.core.embedders import Memory
from sid_assets.core.quantise.checkpoint import save_checkpoint
from sid_assets.settings import DEPLOYMENTS, SAMPLE_COMPANIONS, Settings
from sid_assets.variables import WEBHOOK_VARIABLE, variable
from sid_assets_tests.graph import materialize, settings_for, write_catalog

REPOSITORY = Path(__file__).parents[1]
COMMANDS = ("init", "demo", "plan", "show", "compare", "probe", "purge", "quantise")
MODULES = (plan, show, compare, probe, purge, infer_res_kmeans)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    """No test runs in the repository, or with a developer's .env."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments, prog_name="sid-assets")


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a separate process, in an empty folder, with this package."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_commands():
    assert tuple(cli.main.commands) == COMMANDS
    assert call("--version").stdout == f"sid-assets {version('sid_assets')}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_readable(name):
    result = call(name, "--help")
    assert result.exit_code == 0
    for word in ("Usage:", "Example:", f"sid-assets {name}", "Exit codes:"):
        assert word in result.stdout
    assert "\\b" not in result.stdout
    assert not list(Path().iterdir())


def test_help_imports_nothing_that_takes_time():
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from sid_assets.cli import main\n"
        f"for name in {COMMANDS}: assert not CliRunner().invoke(main, [name, '--help']).exit_code\n"
        "print({'dagster', 'numpy', 'pyarrow', 'torch'} & set(sys.modules))"
    )
    result = program("-c", code)
    assert result.stdout == "set()\n", result.stderr


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_old_names_have_the_same_help(module, capsys):
    assert module.main(["--help"]) == 0
    assert f"Usage: python -m {module.__name__} [OPTIONS]" in capsys.readouterr().out
    assert module.main(["--no-such-option"]) == 2


def test_a_module_is_still_a_program():
    result = program("-m", "sid_assets.purge", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "Usage: python -m sid_assets.purge" in result.stdout


def test_a_wrong_command_line_is_code_2():
    for arguments in (["no-such"], ["plan", "--no-such"], ["quantise"]):
        result = call(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "Error: " in result.stderr


@pytest.mark.parametrize("name", ["plan", "show", "purge"])
def test_a_refusal_is_a_message_and_code_1(name, monkeypatch):
    monkeypatch.setenv("SID_CATALOGUE", "x")
    for arguments in ([name], [name, "--json"]):
        result = call(*arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: SID_CATALOGUE: no such setting.")


@pytest.mark.parametrize("name", ["plan", "show", "purge"])
def test_a_data_folder_on_an_unknown_file_system_is_a_message(name, monkeypatch):
    monkeypatch.setenv("SID_DATA_DIR", "foo://x")
    result = call(name)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "foo://x: Unsupported filesystem" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_device_that_cannot_be_used_is_a_message():
    save_checkpoint("tokenizer.pt", np.zeros((3, 8, 4), np.float32), {})
    Path("x").touch()
    files = ["--model_path", "tokenizer.pt", "--emb_path", "x", "--output_path", "y"]
    result = call("quantise", *files, "--device", "nodev")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: Device 'nodev' cannot be used")


def test_settings_come_from_the_env_of_the_working_folder():
    Path(".env").write_text("SID_DATA_DIR=elsewhere\n")
    result = call("purge")
    assert result.exit_code == 0
    assert f"Nothing to remove in {Path('elsewhere').resolve()}" in result.stdout


def test_stdout_is_only_json(tmp_path, monkeypatch):
    write_catalog(tmp_path / "catalog.parquet")
    settings = settings_for(tmp_path)
    for name in ("catalog", "data_dir", "codebook_size"):
        monkeypatch.setenv(variable(name), str(getattr(settings, name)))
    tables = (
        "item_texts",
        "item_embeddings",
        "tokenizer_checkpoint",
        "codes",
        "sid_registry",
        "pid2sid",
    )
    assert materialize(settings, *tables).success

    shown = json.loads(call("show", "--json").stdout)
    assert {"item_texts", "pid2sid"} <= {table["table"] for table in shown["tables"]}
    assert shown["tokenizer"]["shape"] == [3, 8, 4096]
    assert all(Path(table["file"]).exists() for table in shown["tables"])
    assert len(shown["items"]) == 10
    assert len(shown["items"][0]["sid"]) == 3
    assert shown["items"][0]["sid_text"] in call("show").stdout

    planned = call("plan", "--json")
    (domain,) = json.loads(planned.stdout)["domains"]
    assert (planned.exit_code, domain["domain"], domain["problems"]) == (0, "items", [])
    assert (domain["plan"]["texts"], domain["plan"]["changes"]["unchanged"]) == (0, 60)

    listed = json.loads(call("purge", "--json").stdout)
    assert listed == {"removed": False, "folders": [], "left_alone": []}


def test_the_keys_of_the_json_are_documented(tmp_path, monkeypatch):
    write_catalog(tmp_path / "catalog.parquet")
    settings = settings_for(tmp_path)
    for name in ("catalog", "data_dir", "codebook_size"):
        monkeypatch.setenv(variable(name), str(getattr(settings, name)))
    tables = (
        "item_texts",
        "item_embeddings",
        "tokenizer_checkpoint",
        "codes",
        "sid_registry",
        "pid2sid",
    )
    assert materialize(settings, *tables).success
    left = tmp_path / "data" / ".scratch-x"
    left.mkdir()
    (left / "run").write_text("")

    page = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    outputs = {name: json.loads(call(name, "--json").stdout) for name in ("plan", "show", "purge")}
    (planned,) = outputs["plan"]["domains"]
    plan = planned.pop("plan")
    planned["plan"] = None
    for name, output in outputs.items():
        documented = set(re.findall("`([a-z_]+)`", rows[name].split("|", 2)[2]))
        assert documented == keys_of(output), name
    described = {key for key in rows if key in plan or key.partition(".")[0] in plan}
    inner = {f"changes.{key}" for key in plan["changes"]}
    memory = {f"memory.{field.name}" for field in fields(Memory)}  # null in the demo
    assert described == set(plan) | inner | memory


def keys_of(value: Any) -> set[str]:
    """All keys of objects in JSON."""
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


def test_a_refused_plan_is_json_too(tmp_path, monkeypatch):
    monkeypatch.setenv("SID_CATALOG", str(tmp_path / "gone.csv"))
    result = call("plan", "--json")
    assert result.exit_code == 1
    (domain,) = json.loads(result.stdout)["domains"]
    assert domain["plan"] is None
    assert "gone.csv" in domain["problems"][0]
    assert "gone.csv" in result.stderr


def test_init_writes_what_a_folder_needs():
    result = call("init", "my films")
    assert result.exit_code == 0
    folder = Path("my films")
    assert {path.name for path in folder.iterdir()} == {"dagster.yaml", "workspace.yaml", ".env"}
    for command in ("cd 'my films'", "dagster dev", "dagster asset materialize --select '*' -m"):
        assert command in result.stdout
    assert "`cd " not in call("init").stdout


@pytest.mark.parametrize("name", init.DAGSTER_FILES)
def test_init_writes_the_files_of_the_repository(name):
    call("init")
    assert Path(name).read_text() == (REPOSITORY / name).read_text()


def test_init_never_overwrites():
    Path(".env").write_text("SID_SEED=3\n")
    result = call("init")
    assert result.exit_code == 0
    assert "Wrote dagster.yaml, workspace.yaml in" in result.stdout
    assert ".env" in result.stdout.splitlines()[1]
    assert Path(".env").read_text() == "SID_SEED=3\n"
    assert "Wrote" not in call("init").stdout


def test_init_that_cannot_write_is_a_message():
    Path("file").write_text("")
    result = call("init", "file/below")
    assert result.exit_code == 1
    assert "file/below" in result.stderr


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_the_env_that_init_writes_has_every_default(deployment):
    text = init.env_text()
    assert not dotenv_values(stream=io.StringIO(text))  # every line is a comment
    lines = "\n".join(
        line.removeprefix("#") for line in text.splitlines() if line.startswith("#SID_")
    )
    values = {name: value or "" for name, value in dotenv_values(stream=io.StringIO(lines)).items()}
    assert values.pop(WEBHOOK_VARIABLE) == ""  # a secret, not a setting
    assert set(values) == {variable(name) for name in Settings.model_fields}
    values["SID_DEPLOYMENT"] = deployment
    as_if_chosen: dict[str, Any] = {"deployment": deployment, "events": "", "captions": ""}
    assert Settings.from_environment(values) == Settings(**as_if_chosen)


def test_the_env_that_init_writes_says_which_settings_are_none_if_empty():
    comments = init.env_text().replace("\n# ", " ").split("\n\n")
    for name in SAMPLE_COMPANIONS:
        (comment,) = (text for text in comments if f"#{variable(name)}=" in text)
        assert "Set but empty means none." in comment


def test_the_demo_is_refused_with_other_settings(monkeypatch):
    monkeypatch.setenv("SID_SEED", "3")
    Path("films").mkdir()
    Path("films/.env").write_text("SID_CATALOG=mine.parquet\nSID_DEPLOYMENT=demo\n")
    result = call("demo", "films")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "but these are set: SID_CATALOG, SID_SEED. To use them, run `dagster" in result.stderr
    assert [path.name for path in Path("films").iterdir()] == [".env"]


def test_a_demo_that_fails_says_so_and_leaves_other_sids_alone(tmp_path):
    write_catalog(tmp_path / "catalog.parquet")
    settings = settings_for(tmp_path)
    tables = (
        "item_texts",
        "item_embeddings",
        "tokenizer_checkpoint",
        "codes",
        "sid_registry",
        "pid2sid",
    )
    assert materialize(settings, *tables).success
    before = (tmp_path / "data" / "pid2sid.parquet").read_bytes()
    result = program("-m", "sid_assets", "demo", str(tmp_path))
    assert result.returncode == 1
    last = result.stderr[result.stderr.rindex("Error: ") :]
    assert last.startswith("Error: The demo did not finish: This refresh would change or remove")
    assert "Traceback" not in result.stderr + result.stdout
    assert "Stack Trace" not in result.stderr + result.stdout
    assert "leaked" not in result.stderr + result.stdout
    assert (tmp_path / "data" / "pid2sid.parquet").read_bytes() == before
