"""Readers of measurements by other programs: log lines to samples to windows. They need no collector.

All modules except ``pipeline`` are pure functions. Nothing is guessed silently: an unknown line is an error, and the
notes of a run list all omissions and assumptions.
"""
