"""The assets of the graph, one module a stage, in the order in which data flows."""
