"""Health of an agent and warnings about it, with their thresholds. Pure.

The thresholds for silence, clock and spool are also those of the alerts; they come from ``leadline.alert_thresholds``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from leadline.alert_thresholds import AGENT_SILENCE_S_MAX, CLOCK_OFFSET_US_MAX, SPOOL_USAGE_RATIO_MAX
from leadline.wire.admin import KeyEntry

#: A window arrives about 80 s after its start, 20 s after its end: three are missing.
AGENT_DELAY_S_MAX = 180
#: An agent renews its key between 50 and 60 % of the key's life; beyond this, renewal has failed for a while.
KEY_LIFE_RATIO_MAX = 0.75


class AgentHealth(StrEnum):
    """Delivery state of an agent."""

    OK = "ok"
    LATE = "late"
    SILENT = "silent"
    #: It never delivered a window.
    NEVER_SEEN = "never heard"
    #: Its site is simulated: there is no live agent.
    SIMULATED = "simulated"
    #: It is not in the active mesh.
    RETIRED = "not in the mesh"


class HealthWarning(StrEnum):
    """Problem of an agent that may still deliver windows."""

    CLOCK = "clock suspect"
    SPOOL = "spool filling"
    KEY_ENDS = "key not renewed"
    NO_KEY = "no valid key"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedStatus:
    """Last status that an agent reported; None for values that it did not report."""

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
        """Used share of the spool's quota; None if not reported."""
        return None if self.spool_bytes is None or not self.spool_bytes_max else self.spool_bytes / self.spool_bytes_max


def assess_health(
    latest_end_s: int | None, now_s: int, *, simulated: bool = False, retired: bool = False
) -> AgentHealth:
    """Return the health of an agent by the end of its latest window; None if it never delivered one."""
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
    """Return all warnings about an agent, worst first."""
    ratio = status.spool_ratio
    conditions = {
        HealthWarning.NO_KEY: not keys,
        HealthWarning.CLOCK: _is_clock_suspect(status),
        HealthWarning.SPOOL: ratio is not None and ratio >= SPOOL_USAGE_RATIO_MAX,
        HealthWarning.KEY_ENDS: bool(keys) and all(_is_rotation_overdue(key, now_s) for key in keys),
    }
    return tuple(warning for warning, applies in conditions.items() if applies)


def _is_clock_suspect(status: ReportedStatus) -> bool:
    """Return True if the offset exceeds the limit beyond its error, or the kernel reports an unsynchronised clock."""
    if status.ntp_synchronised is False:
        return True
    return abs(status.clock_offset_us or 0) - (status.clock_offset_error_us or 0) > CLOCK_OFFSET_US_MAX


def _is_rotation_overdue(key: KeyEntry, now_s: int) -> bool:
    if key.expires_at_s is None:
        return False
    life_s = key.expires_at_s - key.created_at_s
    return now_s - key.created_at_s > KEY_LIFE_RATIO_MAX * life_s
