"""Exponential back-off with full jitter: agents that lost their collector at the same time retry at different times."""

from __future__ import annotations

from random import Random

BASE_S = 1.0
#: Upper limit: agents reconnect within five minutes after an outage of any length.
CAP_S = 300.0


def draw_backoff_s(failures: int, rng: Random, retry_after_s: float | None = None) -> float:
    """Return ``compute_backoff_s`` with a random jitter."""
    return compute_backoff_s(failures, rng.random(), retry_after_s)


def compute_backoff_s(failures: int, jitter: float, retry_after_s: float | None = None) -> float:
    """Return the delay after ``failures`` >= 1 consecutive failures: ``jitter`` * min(cap, base * 2^(failures-1)).

    ``jitter`` is in [0, 1). The ``Retry-After`` of the collector, at most the cap, is added, so that retries honour it
    and still spread.
    """
    ceiling_s = min(CAP_S, BASE_S * 2.0 ** min(failures - 1, 30))
    minimum_s = min(retry_after_s, CAP_S) if retry_after_s else 0.0
    return minimum_s + jitter * ceiling_s
