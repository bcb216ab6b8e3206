"""Batches that wait and that the disk does not read for the moment: known, counted, and logged once for all of them.

The caller holds the lock of the spool's contents.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from leadline_agent.spool.index import BatchId

log = logging.getLogger(__name__)


class Unreadable:
    """Which they are. One bad spot of a disk may hold hundreds, so only the first and the last of them are logged."""

    def __init__(self) -> None:
        self._names: set[BatchId] = set()

    def add(self, batch: BatchId, error: OSError) -> None:
        """It was tried in vain."""
        if not self._names:
            log.error(
                "batches cannot be read: they stay, and others are sent",
                extra={"seq": batch.seq, "reason": error.strerror},
            )
        self._names.add(batch)

    def discard(self, batch: BatchId) -> None:
        """It was read, or found damaged."""
        if batch in self._names:
            self._names.discard(batch)
            if not self._names:
                log.warning("every batch can be read again", extra={"seq": batch.seq})

    def count(self, waits: Callable[[BatchId], bool]) -> int:
        """How many there are; those that do not wait any more are forgotten."""
        self._names = {batch for batch in self._names if waits(batch)}
        return len(self._names)
