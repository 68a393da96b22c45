"""How the steps of a run are executed: in the run's process, or each in a process of its own."""

from collections.abc import Mapping
from typing import Any, cast

import dagster as dg

from sid_assets.dead_runs import watched

FORKED = {"forkserver": {"preload_modules": ["sid_assets.definitions"]}}
"""Steps are forked from a process that has loaded the graph. A new process takes seconds to load
it, and a run has some seventy steps. That process never loads torch, which must not be forked once
it uses a GPU."""


def executor(own_processes: bool) -> dg.ExecutorDefinition:
    """The executor of the graph.

    Args:
        own_processes: Whether each step has a process of its own, which frees the GPU's memory
            when it ends. In one process a run starts faster.
    """
    return watched(_forking(dg.multiprocess_executor) if own_processes else dg.in_process_executor)


def _forking(multiprocess: dg.ExecutorDefinition) -> dg.ExecutorDefinition:
    """The same executor; a run config may still choose how processes start."""
    create: Any = multiprocess.executor_creation_fn

    def created(context: dg.InitExecutorContext) -> dg.Executor:
        given = cast("Mapping[str, object]", context.executor_config)
        return create(context._replace(executor_config={"start_method": FORKED, **given}))

    return dg.ExecutorDefinition(
        multiprocess.name,
        config_schema=cast("Any", multiprocess.config_schema),
        requirements=multiprocess.get_requirements,
        executor_creation_fn=created,
        description=multiprocess.description,
    )
