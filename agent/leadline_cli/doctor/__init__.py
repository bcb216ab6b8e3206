"""Checks of ``leadline agent doctor``."""
