"""Verdicts over weeks and months: arrays of windows in, claims with their intervals and reasons out.

Pure: no database, no network, no clock. What a single window says is ``leadline.evaluation``'s; docs/verdicts.md has the
definitions and the choices.
"""
