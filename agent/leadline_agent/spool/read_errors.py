"""Unacknowledged batches that currently fail to read: counted, and logged once for all of them.

Callers own ``SpoolState.condition``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from leadline_agent.spool.index import BatchId

log = logging.getLogger(__name__)


class ReadErrors:
    """Tracks batches that currently fail to read; logs only the first failure and the recovery.

    One bad disk area can contain hundreds of batches.
    """

    def __init__(self) -> None:
        self._batch_ids: set[BatchId] = set()

    def add(self, batch_id: BatchId, error: OSError) -> None:
        """Record a failed read."""
        if not self._batch_ids:
            log.error(
                "cannot read some batches: they stay in the spool and are retried",
                extra={"seq": batch_id.seq, "reason": error.strerror},
            )
        self._batch_ids.add(batch_id)

    def discard(self, batch_id: BatchId) -> None:
        """Remove a batch that was read, or that is damaged."""
        if batch_id in self._batch_ids:
            self._batch_ids.discard(batch_id)
            if not self._batch_ids:
                log.warning("all batches are readable again", extra={"seq": batch_id.seq})

    def count(self, is_unacked: Callable[[BatchId], bool]) -> int:
        """Return how many unacknowledged batches fail to read; drop the others."""
        self._batch_ids = {batch for batch in self._batch_ids if is_unacked(batch)}
        return len(self._batch_ids)
