"""Interactions from a log of events: a row a session, with its history and its targets."""
