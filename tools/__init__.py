"""What developers run, or tests and benchmarks share; not in the wheel."""
