"""Ray on loopback: two nodes of one CPU each, as separate processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NODE = {
    "num_cpus": 1,
    "num_gpus": 0,
    "object_store_memory": 100 << 20,
    "include_dashboard": False,
}


@contextmanager
def two_nodes() -> Iterator[Any]:
    """A cluster, whose `address` others connect to; nodes can be added and removed."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        cluster.add_node(**NODE)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()
