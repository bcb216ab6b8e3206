"""Access to the state of a prober that only tests and benchmarks need."""

from __future__ import annotations

from leadline_agent.probe.engine import Prober


def has_finished(prober: Prober) -> bool:
    """Return True if no aim has a slot left and every outcome was reported."""
    return not len(prober._due_queue) and not prober._pending_count
