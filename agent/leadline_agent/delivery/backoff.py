"""When to try again: exponential back-off with full jitter, so that agents that lost a collector together do not
come back together.
"""

from __future__ import annotations

from random import Random

BASE_S = 1.0
#: Five minutes: a collector that was away for a day is found again within five minutes of its return.
CAP_S = 300.0


def draw_backoff_s(failures: int, rng: Random, retry_after_s: float | None = None) -> float:
    """``spread_s`` with a share that is drawn here."""
    return compute_backoff_s(failures, rng.random(), retry_after_s)


def compute_backoff_s(failures: int, jitter: float, retry_after_s: float | None = None) -> float:
    """Seconds to wait after ``failures`` >= 1 in a row: ``share`` in [0, 1) of min(cap, base * 2^(failures-1)).

    What the collector asked for (``Retry-After``) comes on top, so that its answer is honoured and the return still
    spread.
    """
    ceiling_s = min(CAP_S, BASE_S * 2.0 ** min(failures - 1, 30))
    asked_s = min(retry_after_s, CAP_S) if retry_after_s else 0.0
    return asked_s + jitter * ceiling_s
