"""Simulated campaigns with known truth, to check the verdict's statistics: ``make simulate``; docs/simulation.md."""
