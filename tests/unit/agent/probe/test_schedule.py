"""Send times of probes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leadline.model import INTERVAL_MS_DEFAULT
from leadline_agent.probe import schedule

WALLS_NS = st.integers(min_value=0, max_value=4_000_000_000_000_000_000)
#: So late that a slot before it exists. A filter would reject most small integers, which Hypothesis prefers.
LATE_WALLS_NS = st.integers(min_value=10**12 + 1, max_value=4_000_000_000_000_000_000)
INTERVALS_MS = st.sampled_from([10, 100, 200, 1_000, 5_000, 60_000])
SLOT_FRACTIONS = st.floats(min_value=0, max_value=1, exclude_max=True)


@given(slot=st.integers(min_value=0, max_value=10**12), interval_ms=INTERVALS_MS, slot_fraction=SLOT_FRACTIONS)
def test_due_time_is_in_its_slot(slot: int, interval_ms: int, slot_fraction: float) -> None:
    """For any random number, a probe is due at or after the start of its slot and before the next slot."""
    due_ns = schedule.compute_due_ns(slot, interval_ms, slot_fraction)

    assert slot == schedule.find_slot(due_ns, interval_ms)


@given(wall_ns=WALLS_NS, interval_ms=INTERVALS_MS)
def test_first_slot_begins_at_or_after_the_time(wall_ns: int, interval_ms: int) -> None:
    """The first slot begins at or after the time; the slot before it does not."""
    slot = schedule.find_first_slot(wall_ns, interval_ms)

    assert (
        schedule.compute_slot_start_ns(slot - 1, interval_ms)
        < wall_ns
        <= schedule.compute_slot_start_ns(slot, interval_ms)
    )


def test_slots_are_numbered_from_the_epoch() -> None:
    """Slots at the default interval have the seconds since 1970 as numbers."""
    slot = schedule.find_slot(1_700_000_000_999_999_999, INTERVAL_MS_DEFAULT)

    assert slot == 1_700_000_000


def test_missed_begins_past_half_a_slot() -> None:
    """A probe half an interval late is in time; a nanosecond more is too late."""
    half_ns = 500_000_000

    assert [schedule.is_missed(lag_ns, 1_000) for lag_ns in (half_ns, half_ns + 1)] == [False, True]


def test_due_time_stays_in_its_slot_for_the_largest_fraction() -> None:
    """1 - 2**-53 times a minute of nanoseconds rounds up to the minute."""
    assert schedule.compute_due_ns(0, 60_000, 1 - 2**-53) == 60 * 10**9 - 1


@given(wall_ns=LATE_WALLS_NS, interval_ms=INTERVALS_MS, slot_fraction=SLOT_FRACTIONS)
def test_slot_before_the_reachable_one_is_missed(wall_ns: int, interval_ms: int, slot_fraction: float) -> None:
    """A slot before the first reachable one is missed for any due time."""
    slot = schedule.find_first_reachable_slot(wall_ns, interval_ms) - 1

    assert schedule.is_missed(wall_ns - schedule.compute_due_ns(slot, interval_ms, slot_fraction), interval_ms)


@given(wall_ns=LATE_WALLS_NS, interval_ms=INTERVALS_MS)
def test_first_reachable_slot_is_reachable(wall_ns: int, interval_ms: int) -> None:
    """The first reachable slot is in time if its probe is due at its end."""
    slot = schedule.find_first_reachable_slot(wall_ns, interval_ms)
    last_ns = schedule.compute_slot_start_ns(slot + 1, interval_ms) - 1

    assert not schedule.is_missed(wall_ns - last_ns, interval_ms)
