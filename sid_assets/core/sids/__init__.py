"""Semantic IDs: their spelling, their indexes in both directions, and constrained decoding."""
