"""How much a spool may take, and why."""

from __future__ import annotations

from dataclasses import dataclass

from leadline_agent.spool.record_format import HEADER_PAGE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolQuota:
    """How much a spool may take. The defaults hold two months of 50 targets."""

    bytes_max: int = 512 << 20
    #: What is left to the host: below it the spool stops growing, and what is acknowledged goes at once.
    free_bytes_min: int = 64 << 20
    #: Room is made by whole segments: half a day of 50 targets, one part in 128 of the budget.
    segment_bytes: int = 4 << 20
    #: While the disk does not work: a day of 50 targets, within the memory an agent may use.
    memory_bytes_max: int = 8 << 20
    #: Segments that are kept for their dead letters only.
    dead_letter_bytes_max: int = 16 << 20
    #: A database restored from a backup of last night is refilled from here, and there is a day to notice.
    acked_retention_s: int = 48 * 3_600

    def __post_init__(self) -> None:
        if not 2 * HEADER_PAGE_BYTES <= self.segment_bytes < 1 << 31:
            raise ValueError(
                f"segments of {self.segment_bytes} bytes are outside {2 * HEADER_PAGE_BYTES}..{(1 << 31) - 1}"
            )
        if self.bytes_max < 4 * self.segment_bytes:
            raise ValueError(f"{self.bytes_max} bytes hold fewer than four segments of {self.segment_bytes}")
        if self.memory_bytes_max > self.bytes_max // 2:
            raise ValueError(f"{self.memory_bytes_max} bytes of memory exceed half of the {self.bytes_max} on disk")
        if min(self.free_bytes_min, self.memory_bytes_max, self.dead_letter_bytes_max, self.acked_retention_s) < 0:
            raise ValueError("a limit is negative")
