"""What one window says in numbers: pure arithmetic on columns of microseconds (method.md §3.2).

Rule 1: percentiles are nearest rank (RFC 2330 §11.3) over the probes *sent*, a lost one being +infinity.
Rule 2: a slot that was not measured (not sent, stalled, refused) is neither sent nor lost; it lowers coverage.
Rule 3: what is undefined is None. A percentile is None when it is +infinity or when nothing was sent; ``sent`` tells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil

from leadline.model import Failure, Window

P50, P95, P99 = Fraction(50, 100), Fraction(95, 100), Fraction(99, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowStats:
    """The statistics of a set of scheduled probes, all RTTs in microseconds rounded up.

    ``min_us``, ``mean_us`` and ``max_us`` are over the replies received; the percentiles are over the probes sent.
    """

    #: Slots the schedule had.
    expected: int
    #: Probes that left and had their chance: replies plus losses.
    sent: int
    #: Replies within the timeout, duplicates not counted.
    received: int
    min_us: int | None
    mean_us: int | None
    p50_us: int | None
    p95_us: int | None
    p99_us: int | None
    max_us: int | None
    #: Round-trip packet delay variation (RFC 5481 §4.2): p95 - min of this window. The sum of both directions.
    pdv_us: int | None
    #: Mean |difference| of consecutive replies (RFC 5481 §5.5), never across a slot without one.
    mean_step_us: int | None
    #: How often each failure happened; those that did not are left out.
    failures: dict[Failure, int]

    @property
    def lost(self) -> int:
        """Probes sent without a valid reply in time."""
        return self.sent - self.received


def nearest_rank(sorted_us: Sequence[int], count: int, q: Fraction) -> int | None:
    """The smallest x with F(x) >= q over ``count`` samples of which those not in ``sorted_us`` are +infinity.

    0 < q <= 1. None when the rank falls on a lost sample, or count is 0. (RFC 2330 §11.3, RFC 2681 §4.)
    """
    rank = ceil(q * count)
    return sorted_us[rank - 1] if 0 < rank <= len(sorted_us) else None


def mean_step_us(rtts_us: Iterable[int | None]) -> int | None:
    """Mean |difference| of consecutive replies, rounded up; None if no two neighbours both arrived."""
    steps = [abs(b - a) for a, b in pairwise(rtts_us) if a is not None and b is not None]
    return -(-sum(steps) // len(steps)) if steps else None


def statistics(rtts_us: Sequence[int | None], failures: Iterable[Failure]) -> WindowStats:
    """The statistics of slots in order of schedule: ``rtts_us`` per slot, one failure for each that is None."""
    counts = Counter(failures)
    received = sorted(rtt for rtt in rtts_us if rtt is not None)
    sent = len(received) + sum(count for failure, count in counts.items() if failure.is_loss)
    p95 = nearest_rank(received, sent, P95)
    return WindowStats(
        expected=len(rtts_us),
        sent=sent,
        received=len(received),
        min_us=received[0] if received else None,
        mean_us=-(-sum(received) // len(received)) if received else None,
        p50_us=nearest_rank(received, sent, P50),
        p95_us=p95,
        p99_us=nearest_rank(received, sent, P99),
        max_us=received[-1] if received else None,
        pdv_us=None if p95 is None else p95 - received[0],
        mean_step_us=mean_step_us(rtts_us),
        failures=dict(counts),
    )


def window_statistics(window: Window) -> WindowStats:
    """The statistics of one window."""
    return statistics(window.rtt_us, (miss.failure for miss in window.misses))
