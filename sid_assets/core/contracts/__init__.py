"""Contracts: what must hold for each table, checked on the files independently of the writers."""
