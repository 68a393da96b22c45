"""What SECURITY.md promises about Dagster, and that the tests it names exist."""

import re
from pathlib import Path

import dagster as dg

from sid_assets_tests.dagster_dev import REPOSITORY, write_instance

TESTS = Path(__file__).parents[1]


def test_telemetry_is_off(tmp_path: Path) -> None:
    write_instance(tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.telemetry_enabled


def test_the_web_server_listens_on_loopback() -> None:
    commands = re.findall(r"^\t.*dagster dev.*$", (REPOSITORY / "Makefile").read_text(), re.M)
    assert commands
    assert all("--host 127.0.0.1" in command for command in commands)


def test_all_tests_that_are_named_exist() -> None:
    text = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    found = re.findall(r"`([\w/]+\.py)`: ((?:`\w+`(?:,\s)?)+)", text)
    assert len(found) >= 9
    for module, names in found:
        source = (TESTS / module).read_text(encoding="utf-8")
        for name in re.findall(r"\w+", names):
            assert f"def {name}(" in source, f"{module}: {name}"
