"""Any limit, judged from every single round trip: for limits that are no edge of a histogram, and for who doubts it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from leadline_collector.months import stored_chunks
from leadline_collector.months.chunks import Chunk
from leadline_collector.months.marks import HOUR_S


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCounts:
    """A path over whole hours, as far as its chunks are kept."""

    windows: int = 0
    #: Windows whose p95 over the probes sent, lost ones infinite, is at most the limit.
    windows_within: int = 0
    sent: int = 0
    received: int = 0
    #: Replies that took at most the limit.
    within: int = 0


def of_path(connection: Connection, src_id: int, dst_id: int, start_s: int, end_s: int, limit_us: int) -> RawCounts:
    """Count the chunks of the hours that begin in [start_s, end_s); hours that are marked may be behind."""
    assert start_s % HOUR_S == 0
    parts = [_counts(chunk, limit_us) for _, chunk in stored_chunks.of_path(connection, src_id, dst_id, start_s, end_s)]
    totals = np.array(parts, np.int64).reshape(-1, 5).sum(axis=0).tolist()
    return RawCounts(windows=totals[0], windows_within=totals[1], sent=totals[2], received=totals[3], within=totals[4])


def _counts(chunk: Chunk, limit_us: int) -> tuple[int, int, int, int, int]:
    sent, within = chunk.sent(), chunk.at_or_below(limit_us)
    # Nearest rank: the p95 is within exactly if 95 % of the probes sent, rounded up, are.
    is_within = (sent > 0) & (within >= -(-19 * sent // 20))
    received = len(chunk.rtt_us) - len(chunk.failures)
    return len(sent), int(is_within.sum()), int(sent.sum()), received, int(within.sum())
