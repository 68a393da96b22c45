"""Where the assets of a catalog stand in a Dagster project: keys, groups, and names."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import dagster as dg

RESOURCES = ("settings", "refresh")
"""The resources that an asset's function may ask for."""


@dataclass(frozen=True)
class Placement:
    """Names of a catalog's assets, resources, jobs and sensors, which may not collide with others.

    Tables have the same names in every data folder: only Dagster sees the prefixes.

    Attributes:
        key_prefix: What the key of each asset begins with.
        group_prefix: What the name of each group begins with.
        name: What the names of resources, steps, jobs and sensors begin with; "" in the program of
            its own.
        pool: The pool of steps that use the GPU.
        inputs: The assets that hold the inputs, by the name of the setting.
        files: The inputs whose asset stands for files that no asset makes.
    """

    key_prefix: tuple[str, ...] = ()
    group_prefix: str = ""
    name: str = ""
    pool: str = "gpu"
    inputs: Mapping[str, dg.AssetKey] = field(default_factory=dict)
    files: frozenset[str] = frozenset()

    def key(self, table: str) -> dg.AssetKey:
        """Asset key of a table of the store: `goods/codes` -> [*key_prefix, goods, codes]."""
        return dg.AssetKey([*self.key_prefix, *table.split("/")])

    def group(self, name: str) -> str:
        """Name of a group in the UI."""
        return f"{self.group_prefix}_{name}" if self.group_prefix else name

    def named(self, name: str) -> str:
        """Name of a resource, step, job or sensor."""
        return f"{self.name}_{name}" if self.name else name

    @property
    def io_manager(self) -> str:
        """Name of the IO manager."""
        return self.named("io_manager")

    @property
    def resource_keys(self) -> set[str]:
        """Names of the resources that every step may use."""
        return {self.named(name) for name in RESOURCES}

    def keys_of(self, *inputs: str) -> list[dg.AssetKey]:
        """Keys of the assets that hold these inputs, as far as there are some."""
        return [self.inputs[name] for name in inputs if name in self.inputs]
