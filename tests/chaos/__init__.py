"""Faults on purpose, and what has to hold all the same."""
