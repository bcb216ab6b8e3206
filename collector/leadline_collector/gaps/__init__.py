"""Gaps in the measurements: detection, storage, queries."""
