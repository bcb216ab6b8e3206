"""Verdicts over weeks and months, computed from arrays of windows, with confidence intervals and reasons.

Pure: no database, no network, no clock. ``leadline.evaluation`` evaluates single windows; docs/verdicts.md has the
definitions and the choices.
"""
