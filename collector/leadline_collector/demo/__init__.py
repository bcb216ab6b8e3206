"""Simulated history for the demo."""
