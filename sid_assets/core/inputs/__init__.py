"""Input files: ids, vectors and interactions that users bring, validated when they are read."""
