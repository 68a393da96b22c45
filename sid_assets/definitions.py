"""The asset graph as a program of its own, with the settings of the environment.

Read `graph.py` next, which wires the graph, and then `assets/`, in the order in which data
flows (catalog, embeddings, tokenizer, codes, registry, sids, training).
"""

import dagster as dg

from sid_assets.assets.placement import Placement
from sid_assets.executors import executor
from sid_assets.failures import clear_refusals_to_start
from sid_assets.graph import graph
from sid_assets.settings import Settings
from sid_assets.short_log import NAME as SHORT_LOG
from sid_assets.short_log import short_log


def definitions(settings: Settings) -> dg.Definitions:
    """The graph for these settings; it includes goods if they have a catalog.

    Only this program has an executor and a logger, which a run may choose.
    """
    program = dg.Definitions(
        executor=executor(own_processes=settings.deployment != "demo"),
        loggers={SHORT_LOG: short_log},
    )
    return dg.Definitions.merge(graph(settings, Placement(), {}), program)


with clear_refusals_to_start():
    defs = definitions(Settings.from_environment())
