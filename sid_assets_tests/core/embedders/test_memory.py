"""How much memory is free: what the system has, or what a container may still use."""

import os
from pathlib import Path

import pytest

from sid_assets.core.embedders import memory
from sid_assets.core.embedders.memory import free_memory


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    return tmp_path


def test_some_of_the_systems_memory_is_free(cgroup: Path) -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < free_memory("cpu") < total


def test_the_containers_limit_counts_and_its_page_cache_does_not(cgroup: Path) -> None:
    (cgroup / "memory.max").write_text("1000000\n")
    (cgroup / "memory.current").write_text("900000\n")
    (cgroup / "memory.stat").write_text("anon 100000\ninactive_file 150000\nactive_file 50000\n")
    assert free_memory("cpu") == 300_000


def test_max_means_no_limit(cgroup: Path) -> None:
    without = free_memory("cpu")
    (cgroup / "memory.max").write_text("max\n")
    assert free_memory("cpu") == pytest.approx(without, rel=0.2)
