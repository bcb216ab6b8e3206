"""Access to private state of a prober, for tests and benchmarks."""

from __future__ import annotations

from leadline_agent.probe.engine import Prober


def has_finished(prober: Prober) -> bool:
    """Return True if no target has a slot left and every result was reported."""
    return not len(prober._due_queue) and not prober._pending_count
