"""Helpers for Arrow, DuckDB and numpy: joins, sorting, lists, hashes, strings."""
