"""Tests of the registry of published SIDs."""
