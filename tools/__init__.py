"""Scripts for developers, and code that tests and benchmarks share; not in the wheel."""
