"""Checks whether the time of a window is plausible; implausible windows go into quarantine."""

from __future__ import annotations

#: 2020-01-01: before leadline existed.
TIME_S_MIN = 1_577_836_800
#: A wall clock more than a day ahead is broken, not badly set.
CLOCK_AHEAD_S_MAX = 86_400


def has_plausible_time(start_s: int, received_at_s: int) -> bool:
    """Return False for windows of a wall clock that is far off. Late is normal: an agent may be offline for a week."""
    return TIME_S_MIN <= start_s <= received_at_s + CLOCK_AHEAD_S_MAX
