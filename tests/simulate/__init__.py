"""Paths of known truth against the verdict's statistics: ``make simulate``; docs/simulation.md has the results."""
