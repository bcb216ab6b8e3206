"""Vendor limits and profiles, with their sources."""
