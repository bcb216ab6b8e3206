"""What a measuring tool is asked to do, and what it says it saw: the two values that cross to its process and back."""

from __future__ import annotations

from enum import StrEnum

import msgspec

#: Every tool sends one probe a second to each target, and gives a reply as long as fping gives it in count mode.
INTERVAL_MS = 1_000
TIMEOUT_MS = 1_000


class Tool(StrEnum):
    """The tools compared."""

    LEADLINE = "leadline"
    FPING = "fping"
    #: The same told not to pause between probes: each round is one burst, which is its cheapest and fastest way.
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
        """Probes in all."""
        return len(self.addresses) * self.probes


class ToolReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool saw, per address."""

    #: In order of sending: the RTT in nanoseconds, or None where the tool has none.
    rtts_ns: dict[str, list[int | None]]
    #: Positions in ``rtts_ns`` of probes the tool itself calls not measured (its host stood still, say): not losses.
    void: dict[str, list[int]] = {}
    #: Addresses whose RTTs cannot be told apart because the tool left out the lost ones: how many it sent and received.
    unplaced: dict[str, tuple[int, int]] = {}
    #: Slots that passed without a send.
    not_sent: int = 0
    #: User and system time of the measuring alone, seconds; None where only that of the whole process is known.
    cpu_s: float | None = None
    #: From the first moment to the last, seconds, as the tool says; None where it does not.
    elapsed_s: float | None = None
    #: What else it says about itself.
    notes: dict[str, str] = {}
