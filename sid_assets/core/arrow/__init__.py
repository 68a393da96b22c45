"""What Arrow, DuckDB and numpy lack: joins, sorting, lists, hashes, strings."""
