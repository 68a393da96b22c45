"""How many actors a cluster has room for."""

from typing import Any

import pytest

from sid_assets.core.ray_options import (
    RayOptions,
    actors_for,
    describe_room,
    has_room,
    share_of_an_actor,
)


def nodes(*resources: dict[str, float]) -> list[dict[str, Any]]:
    lost = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}
    return [*({"Alive": True, "Resources": one} for one in resources), lost]


@pytest.mark.parametrize(
    ("options", "cluster", "share", "actors"),
    [
        (RayOptions(), nodes({"CPU": 8}), (2, 0), 4),
        (RayOptions(), nodes({"CPU": 1}, {"CPU": 1}), (1, 0), 2),
        (RayOptions(), nodes({"CPU": 5}, {"CPU": 4}), (2, 0), 4),
        (RayOptions(), nodes({"CPU": 16, "GPU": 8}, {"CPU": 16, "GPU": 8}), (2, 1), 16),
        (RayOptions(gpus=0), nodes({"CPU": 16, "GPU": 8}), (2, 0), 8),
        (RayOptions(gpus=0.5, cpus=1), nodes({"CPU": 16, "GPU": 2}), (1, 0.5), 4),
        (RayOptions(cpus=64), nodes({"CPU": 8}), (64, 0), 1),
        (RayOptions(), nodes({}), (2, 0), 1),
    ],
)
def test_an_actor_a_gpu_or_else_two_cores(options, cluster, share, actors):
    assert share_of_an_actor(options, cluster) == share
    assert actors_for(options, cluster) == actors


@pytest.mark.parametrize(
    ("options", "fits"),
    [
        (RayOptions(), True),
        (RayOptions(cpus=9), False),
        (RayOptions(gpus=1), False),
        (RayOptions(memory=16 * 10**9), True),
        (RayOptions(memory=17 * 10**9), False),
    ],
)
def test_an_actor_must_fit_on_one_node(options, fits):
    cluster = nodes({"CPU": 8, "memory": 16e9}, {"CPU": 4, "memory": 4e9})
    assert has_room(options, cluster) == fits


def test_what_was_asked_for_and_what_is_there():
    said = describe_room(RayOptions(cpus=9, memory=10**9), nodes({"CPU": 8, "memory": 16e9}))
    assert "asked for 9 CPUs, 0 GPUs and 1.0 GB of memory" in said
    assert "the cluster has 1 nodes: 8 CPUs, 0 GPUs and 16.0 GB of memory. Ask for less" in said
