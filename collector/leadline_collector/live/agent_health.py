"""How an agent stands: words for what is known of it, and the numbers where one word becomes another. Pure.

Those for silence, clock and spool are the alerts' too, and come from ``leadline.alert_thresholds``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from leadline.alert_thresholds import CLOCK_US_MAX, SILENT_S, SPOOL_RATIO_MAX
from leadline.wire.admin import KeyEntry

#: A window comes about 80 s after it began, 20 s after it ended: three are missing.
LATE_S = 180
#: An agent renews its key between 50 and 60 % of the key's life; past this it tried and failed for a while.
KEY_LIFE_RATIO_MAX = 0.75


class Standing(StrEnum):
    """Whether an agent delivers."""

    OK = "ok"
    LATE = "late"
    SILENT = "silent"
    #: It never delivered a window.
    NEVER = "never heard"
    #: Its site is simulated: nobody delivers.
    SIMULATED = "simulated"
    #: The mesh in force does not name it any more.
    RETIRED = "not in the mesh"


class Concern(StrEnum):
    """What should be seen to although windows come."""

    CLOCK = "clock suspect"
    SPOOL = "spool filling"
    KEY_ENDS = "key not renewed"
    NO_KEY = "no valid key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
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


def standing(latest_end_s: int | None, now_s: int, *, simulated: bool = False, retired: bool = False) -> Standing:
    """By the end of the latest window that was delivered; None if there was none."""
    if retired:
        return Standing.RETIRED
    if simulated:
        return Standing.SIMULATED
    if latest_end_s is None:
        return Standing.NEVER
    age_s = now_s - latest_end_s
    return Standing.OK if age_s <= LATE_S else Standing.LATE if age_s <= SILENT_S else Standing.SILENT


def concerns(told: Told, keys: list[KeyEntry], now_s: int) -> tuple[Concern, ...]:
    """Everything that should be seen to, worst first."""
    ratio = told.spool_ratio
    found = {
        Concern.NO_KEY: not keys,
        Concern.CLOCK: _is_clock_suspect(told),
        Concern.SPOOL: ratio is not None and ratio >= SPOOL_RATIO_MAX,
        Concern.KEY_ENDS: bool(keys) and all(_is_old(key, now_s) for key in keys),
    }
    return tuple(concern for concern, is_so in found.items() if is_so)


def _is_clock_suspect(told: Told) -> bool:
    """Certainly off, or the agent's kernel does not believe in it."""
    if told.ntp_synchronised is False:
        return True
    return abs(told.clock_offset_us or 0) - (told.clock_offset_error_us or 0) > CLOCK_US_MAX


def _is_old(key: KeyEntry, now_s: int) -> bool:
    if key.expires_at_s is None:
        return False
    life_s = key.expires_at_s - key.created_at_s
    return now_s - key.created_at_s > KEY_LIFE_RATIO_MAX * life_s
