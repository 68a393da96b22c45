"""Semantic IDs: how they are spelled, indexed, inverted and kept to in decoding."""
