"""Fakes, servers and data shared by the tests."""
