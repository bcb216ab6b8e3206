"""How a probe schedule advances, ends and skips slots."""

from __future__ import annotations

import pytest

from leadline_agent.probe.send_queue import CATCH_UP_MS_MAX, ProbeSchedule
from tests.support.fake_probe_socket import build_probe_target


def test_skip_advances_by_at_least_one_slot() -> None:
    """A missed slot is skipped even before its end: it has no second attempt."""
    probe_schedule = ProbeSchedule(build_probe_target(), 100)

    assert range(100, 101) == probe_schedule.skip_to(100)
    assert probe_schedule.slot == 101


def test_skip_stops_at_the_end() -> None:
    """No slot after the last one is skipped."""
    probe_schedule = ProbeSchedule(build_probe_target(slots=3), 100)

    assert range(100, 103) == probe_schedule.skip_to(200)
    assert probe_schedule.is_finished


@pytest.mark.parametrize(("extra_slots", "skipped"), [(0, CATCH_UP_MS_MAX // 1_000), (1, 0)])
def test_skip_of_more_than_an_hour_reports_nothing(extra_slots: int, skipped: int) -> None:
    """The slots of one hour are reported. With one more slot, the schedule restarts and reports none."""
    probe_schedule = ProbeSchedule(build_probe_target(), 100)
    slot = 100 + CATCH_UP_MS_MAX // 1_000 + extra_slots

    assert skipped == len(probe_schedule.skip_to(slot))
    assert probe_schedule.slot == slot


def test_restart_keeps_the_number_of_remaining_slots() -> None:
    """A schedule with an end has the same number of remaining slots after a restart."""
    probe_schedule = ProbeSchedule(build_probe_target(slots=10), 100)
    probe_schedule.slot = 104

    probe_schedule.restart_at(50)

    assert (probe_schedule.slot, probe_schedule.end_slot) == (50, 56)


def test_mapped_address_is_an_ipv4_address() -> None:
    """An IPv4-mapped IPv6 address is probed and matched as IPv4."""
    probe_schedule = ProbeSchedule(build_probe_target(address="::ffff:192.0.2.1"), 0)

    assert probe_schedule.socket_key is not None
    assert (probe_schedule.address, probe_schedule.socket_key.ip_version) == ("192.0.2.1", 4)


def test_addresses_are_in_canonical_form() -> None:
    """The source address of a reply has the canonical form, so targets use it too."""
    assert ProbeSchedule(build_probe_target(address="2001:DB8:0:0::0001"), 0).address == "2001:db8::1"
