"""Batches that wait and that the disk does not read for the moment: known, counted, and logged once for all of them.

The caller holds the lock of the spool's contents.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from leadline_agent.spool.index import BatchId

log = logging.getLogger(__name__)


class ReadErrors:
    """Which they are. One bad spot of a disk may hold hundreds, so only the first and the last of them are logged."""

    def __init__(self) -> None:
        self._batch_ids: set[BatchId] = set()

    def add(self, batch_id: BatchId, error: OSError) -> None:
        """It was tried in vain."""
        if not self._batch_ids:
            log.error(
                "batches cannot be read: they stay, and others are sent",
                extra={"seq": batch_id.seq, "reason": error.strerror},
            )
        self._batch_ids.add(batch_id)

    def discard(self, batch_id: BatchId) -> None:
        """It was read, or found damaged."""
        if batch_id in self._batch_ids:
            self._batch_ids.discard(batch_id)
            if not self._batch_ids:
                log.warning("every batch can be read again", extra={"seq": batch_id.seq})

    def count(self, is_unacked: Callable[[BatchId], bool]) -> int:
        """How many there are; those that do not wait any more are forgotten."""
        self._batch_ids = {batch for batch in self._batch_ids if is_unacked(batch)}
        return len(self._batch_ids)
