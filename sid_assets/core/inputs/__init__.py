"""Input files that users bring (ids, vectors, interactions), validated when they are read."""
