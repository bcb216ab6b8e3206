"""How an agent stands: words for what is known of it, and the numbers where one word becomes another. Pure.

Those for silence, clock and spool are the alerts' too, and come from ``leadline.alert_thresholds``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from leadline.alert_thresholds import AGENT_SILENCE_S_MAX, CLOCK_OFFSET_US_MAX, SPOOL_USAGE_RATIO_MAX
from leadline.wire.admin import KeyEntry

#: A window comes about 80 s after it began, 20 s after it ended: three are missing.
AGENT_DELAY_S_MAX = 180
#: An agent renews its key between 50 and 60 % of the key's life; past this it tried and failed for a while.
KEY_LIFE_RATIO_MAX = 0.75


class AgentHealth(StrEnum):
    """Whether an agent delivers."""

    OK = "ok"
    LATE = "late"
    SILENT = "silent"
    #: It never delivered a window.
    NEVER_SEEN = "never heard"
    #: Its site is simulated: nobody delivers.
    SIMULATED = "simulated"
    #: The mesh in force does not name it any more.
    RETIRED = "not in the mesh"


class HealthWarning(StrEnum):
    """What should be seen to although windows come."""

    CLOCK = "clock suspect"
    SPOOL = "spool filling"
    KEY_ENDS = "key not renewed"
    NO_KEY = "no valid key"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedStatus:
    """What an agent last told of itself; None where it did not."""

    heard_at_s: int | None = None
    version: str | None = None
    spool_batches: int | None = None
    spool_bytes: int | None = None
    spool_bytes_max: int | None = None
    clock_offset_us: int | None = None
    clock_offset_error_us: int | None = None
    ntp_synchronised: bool | None = None

    @property
    def spool_ratio(self) -> float | None:
        """How full the spool is; None if it was not told."""
        return None if self.spool_bytes is None or not self.spool_bytes_max else self.spool_bytes / self.spool_bytes_max


def assess_health(
    latest_end_s: int | None, now_s: int, *, simulated: bool = False, retired: bool = False
) -> AgentHealth:
    """By the end of the latest window that was delivered; None if there was none."""
    if retired:
        return AgentHealth.RETIRED
    if simulated:
        return AgentHealth.SIMULATED
    if latest_end_s is None:
        return AgentHealth.NEVER_SEEN
    age_s = now_s - latest_end_s
    return (
        AgentHealth.OK
        if age_s <= AGENT_DELAY_S_MAX
        else AgentHealth.LATE
        if age_s <= AGENT_SILENCE_S_MAX
        else AgentHealth.SILENT
    )


def list_warnings(status: ReportedStatus, keys: list[KeyEntry], now_s: int) -> tuple[HealthWarning, ...]:
    """Everything that should be seen to, worst first."""
    ratio = status.spool_ratio
    found = {
        HealthWarning.NO_KEY: not keys,
        HealthWarning.CLOCK: _is_clock_suspect(status),
        HealthWarning.SPOOL: ratio is not None and ratio >= SPOOL_USAGE_RATIO_MAX,
        HealthWarning.KEY_ENDS: bool(keys) and all(_is_rotation_overdue(key, now_s) for key in keys),
    }
    return tuple(concern for concern, is_so in found.items() if is_so)


def _is_clock_suspect(status: ReportedStatus) -> bool:
    """Certainly off, or the agent's kernel does not believe in it."""
    if status.ntp_synchronised is False:
        return True
    return abs(status.clock_offset_us or 0) - (status.clock_offset_error_us or 0) > CLOCK_OFFSET_US_MAX


def _is_rotation_overdue(key: KeyEntry, now_s: int) -> bool:
    if key.expires_at_s is None:
        return False
    life_s = key.expires_at_s - key.created_at_s
    return now_s - key.created_at_s > KEY_LIFE_RATIO_MAX * life_s
