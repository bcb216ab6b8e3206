"""Batches as received."""
