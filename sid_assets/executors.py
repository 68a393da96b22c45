"""How the steps of a run are executed: in the run's process, or each in a process of its own."""

import dagster as dg

from sid_assets.dead_runs import watched

FORKED = {"start_method": {"forkserver": {"preload_modules": ["sid_assets.definitions"]}}}
"""Steps are forked from a process that has loaded the graph. A new process takes seconds to load
it, and a run has some seventy steps. That process never loads torch, which must not be forked once
it uses a GPU. A run config may still choose how processes start."""


def executor(own_processes: bool) -> dg.ExecutorDefinition:
    """The executor of the graph.

    Args:
        own_processes: Whether each step has a process of its own, which frees the GPU's memory
            when it ends. In one process a run starts faster.
    """
    return (
        watched(dg.multiprocess_executor, FORKED)
        if own_processes
        else watched(dg.in_process_executor)
    )
