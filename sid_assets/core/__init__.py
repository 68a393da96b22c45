"""Everything that works without Dagster: nothing in this package imports it."""
