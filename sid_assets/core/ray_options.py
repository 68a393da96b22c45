"""What is asked of Ray, and how many actors a cluster has room for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CPUS_OF_AN_ACTOR = 2.0

Node = Mapping[str, Any]
"""A node of a cluster, as `ray.nodes()` lists it."""


@dataclass(frozen=True)
class RayOptions:
    """How Ray is used.

    Attributes:
        address: Of a cluster: `auto`, `host:port` or `ray://host:port`; "" starts Ray here.
        actors: How many actors; 0: one for each share of the GPUs, or else of the CPUs.
        gpus: GPUs of an actor; None: one, if the cluster has GPUs.
        cpus: CPUs of an actor; 0: two, or all of the largest node if it has fewer.
        memory: Bytes that Ray reserves for an actor; 0: none.
        retries: How often a chunk is given to another actor.
    """

    address: str = ""
    actors: int = 0
    gpus: float | None = None
    cpus: float = 0
    memory: int = 0
    retries: int = 3


def share_of_an_actor(options: RayOptions, nodes: Sequence[Node]) -> tuple[float, float]:
    """CPUs and GPUs of an actor.

    Args:
        options: What is asked for.
        nodes: The cluster, as `ray.nodes()` lists it.
    """
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    most = max((one.get("CPU", 0) for one in resources), default=0)
    has_gpus = any(one.get("GPU", 0) for one in resources)
    cpus = options.cpus or min(CPUS_OF_AN_ACTOR, most) or CPUS_OF_AN_ACTOR
    return cpus, float(has_gpus) if options.gpus is None else options.gpus


def has_room(options: RayOptions, nodes: Sequence[Node]) -> bool:
    """Whether a node is large enough for an actor, if it did nothing else."""
    cpus, gpus = share_of_an_actor(options, nodes)
    asked = {"CPU": cpus, "GPU": gpus, "memory": options.memory}
    return any(
        all(node["Resources"].get(kind, 0) >= share for kind, share in asked.items())
        for node in nodes
        if node["Alive"]
    )


def actors_for(options: RayOptions, nodes: Sequence[Node]) -> int:
    """How many actors a cluster has room for: by its GPUs, if they use any, else by its CPUs."""
    cpus, gpus = share_of_an_actor(options, nodes)
    kind, share = ("GPU", gpus) if gpus else ("CPU", cpus)
    fits = (int(node["Resources"].get(kind, 0) // share) for node in nodes if node["Alive"])
    return max(sum(fits), 1)


def describe_room(options: RayOptions, nodes: Sequence[Node]) -> str:
    """What an actor asks for, what the cluster has, and what to do, as sentences."""
    cpus, gpus = share_of_an_actor(options, nodes)
    memory = f" and {options.memory / 1e9:,.1f} GB of memory" if options.memory else ""
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    sizes = (
        f"{one.get('CPU', 0):g} CPUs, {one.get('GPU', 0):g} GPUs and "
        f"{one.get('memory', 0) / 1e9:,.1f} GB of memory"
        for one in alive
    )
    return (
        f"It asked for {cpus:g} CPUs, {gpus:g} GPUs{memory}; the cluster has {len(alive)} nodes: "
        f"{'; '.join(sizes)}. Ask for less (SID_RAY_CPUS, SID_RAY_GPUS, SID_RAY_MEMORY_GB), or add "
        "nodes."
    )
