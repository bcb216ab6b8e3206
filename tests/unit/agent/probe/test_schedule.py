"""When probes are due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leadline.model import INTERVAL_MS_DEFAULT
from leadline_agent.probe import schedule

WALLS_NS = st.integers(min_value=0, max_value=4_000_000_000_000_000_000)
INTERVALS_MS = st.sampled_from([10, 100, 200, 1_000, 5_000, 60_000])
SHARES = st.floats(min_value=0, max_value=1, exclude_max=True)


@given(slot=st.integers(min_value=0, max_value=10**12), interval_ms=INTERVALS_MS, share=SHARES)
def test_due_lies_in_its_slot(slot: int, interval_ms: int, share: float) -> None:
    """A probe is due at or after the start of its slot and before the next one, whatever the random number."""
    due_ns = schedule.compute_due_ns(slot, interval_ms, share)

    assert slot == schedule.find_slot(due_ns, interval_ms)


@given(wall_ns=WALLS_NS, interval_ms=INTERVALS_MS)
def test_first_slot_is_the_first(wall_ns: int, interval_ms: int) -> None:
    """The first slot begins at or after the moment, and the one before it does not."""
    slot = schedule.find_first_slot(wall_ns, interval_ms)

    assert (
        schedule.compute_slot_start_ns(slot - 1, interval_ms)
        < wall_ns
        <= schedule.compute_slot_start_ns(slot, interval_ms)
    )


def test_slots_are_numbered_from_the_epoch() -> None:
    """A slot has the same number on every host: the default ones are the seconds since 1970."""
    slot = schedule.find_slot(1_700_000_000_999_999_999, INTERVAL_MS_DEFAULT)

    assert slot == 1_700_000_000


def test_missed_begins_past_half_a_slot() -> None:
    """Half an interval late is still this slot's probe, a nanosecond more is not."""
    half_ns = 500_000_000

    assert [schedule.is_missed(late_ns, 1_000) for late_ns in (half_ns, half_ns + 1)] == [False, True]


@given(wall_ns=WALLS_NS.filter(lambda ns: ns > 10**12), interval_ms=INTERVALS_MS, share=SHARES)
def test_what_lies_before_the_reachable_is_missed(wall_ns: int, interval_ms: int, share: float) -> None:
    """A slot before the first reachable one would be missed wherever its probe was due."""
    slot = schedule.find_first_reachable_slot(wall_ns, interval_ms) - 1

    assert schedule.is_missed(wall_ns - schedule.compute_due_ns(slot, interval_ms, share), interval_ms)


@given(wall_ns=WALLS_NS.filter(lambda ns: ns > 10**12), interval_ms=INTERVALS_MS)
def test_the_reachable_can_be_reached(wall_ns: int, interval_ms: int) -> None:
    """The first reachable slot is in time if its probe is due at its end."""
    slot = schedule.find_first_reachable_slot(wall_ns, interval_ms)
    last_ns = schedule.compute_slot_start_ns(slot + 1, interval_ms) - 1

    assert not schedule.is_missed(wall_ns - last_ns, interval_ms)
