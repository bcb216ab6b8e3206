"""Size limits of a spool."""

from __future__ import annotations

from dataclasses import dataclass

from leadline_agent.spool.record_format import HEADER_PAGE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolQuota:
    """Size limits of a spool. The defaults store two months of 50 targets."""

    bytes_max: int = 512 << 20
    #: Free disk space for the host. Below it the spool stops growing and evicts acknowledged segments immediately.
    free_bytes_min: int = 64 << 20
    #: Eviction unit: half a day of 50 targets, 1/128 of ``bytes_max``.
    segment_bytes: int = 4 << 20
    #: Batches in memory while the disk does not work: one day of 50 targets, within the memory limit of an agent.
    memory_bytes_max: int = 8 << 20
    #: Size limit of segments that contain dead letters and acknowledged batches only.
    dead_letter_bytes_max: int = 16 << 20
    #: Refills a database that was restored from last night's backup, with one more day to notice the restore.
    acked_retention_s: int = 48 * 3_600

    def __post_init__(self) -> None:
        if not 2 * HEADER_PAGE_BYTES <= self.segment_bytes < 1 << 31:
            raise ValueError(
                f"segments of {self.segment_bytes} bytes are outside {2 * HEADER_PAGE_BYTES}..{(1 << 31) - 1}"
            )
        if self.bytes_max < 4 * self.segment_bytes:
            raise ValueError(f"{self.bytes_max} bytes are fewer than four segments of {self.segment_bytes}")
        if self.memory_bytes_max > self.bytes_max // 2:
            raise ValueError(f"{self.memory_bytes_max} bytes of memory exceed half of the {self.bytes_max} on disk")
        if min(self.free_bytes_min, self.memory_bytes_max, self.dead_letter_bytes_max, self.acked_retention_s) < 0:
            raise ValueError("a limit is negative")
