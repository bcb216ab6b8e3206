"""Task and report of a measuring tool: the documents sent to its process and back."""

from __future__ import annotations

from enum import StrEnum

import msgspec

#: Every tool sends one probe a second to each target, with the timeout of fping in count mode.
INTERVAL_MS = 1_000
TIMEOUT_MS = 1_000


class Tool(StrEnum):
    """The tools compared."""

    LEADLINE = "leadline"
    FPING = "fping"
    #: fping without pauses between probes: each round is one burst, its cheapest and fastest mode.
    FPING_BURST = "fping -i 0"
    ICMPLIB = "icmplib"


class ProbeTask(msgspec.Struct, frozen=True, kw_only=True):
    """Send ``probes`` echoes to each address, one a second."""

    tool: Tool
    addresses: tuple[str, ...]
    probes: int

    @property
    def is_fping(self) -> bool:
        return self.tool in (Tool.FPING, Tool.FPING_BURST)

    @property
    def count_probes(self) -> int:
        """Number of probes to all addresses."""
        return len(self.addresses) * self.probes


class ToolReport(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a tool, per address."""

    #: RTTs in nanoseconds in order of sending; None without a reply.
    rtts_ns: dict[str, list[int | None]]
    #: Positions in ``rtts_ns`` of probes that the tool reports as not measured, for example after a stall; not losses.
    void: dict[str, list[int]] = {}
    #: Probes sent and received, for addresses with losses that the tool leaves out of its list of RTTs.
    unplaced: dict[str, tuple[int, int]] = {}
    #: Slots without a send.
    not_sent: int = 0
    #: User and system seconds of the measurement alone; None if only those of the whole process are available.
    cpu_s: float | None = None
    #: Duration in seconds as reported by the tool; None without a report.
    elapsed_s: float | None = None
    #: Other values reported by the tool.
    notes: dict[str, str] = {}
