"""Chaos tests: injected faults, and the invariants that must hold under them."""
