"""How good semantic IDs are: figures, charts and the report."""
