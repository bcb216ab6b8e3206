"""How a stream of slots goes on, ends and skips."""

from __future__ import annotations

import pytest

from leadline_agent.probe.send_queue import CATCH_UP_MS_MAX, ProbeSchedule
from tests.support.fake_probe_socket import build_probe_target


def test_skipping_passes_at_least_the_present_slot() -> None:
    """A slot that was missed is passed even while its second still lasts: it gets no other try."""
    stream = ProbeSchedule(build_probe_target(), 100)

    assert range(100, 101) == stream.skip_to(100)
    assert stream.slot == 101


def test_skipping_ends_with_the_stream() -> None:
    """No slot beyond the last one is passed."""
    stream = ProbeSchedule(build_probe_target(slots=3), 100)

    assert range(100, 103) == stream.skip_to(200)
    assert stream.is_finished


@pytest.mark.parametrize(("more", "passed"), [(0, CATCH_UP_MS_MAX // 1_000), (1, 0)])
def test_an_hour_is_told_and_more_is_not(more: int, passed: int) -> None:
    """As many slots as an hour has are passed one by one; one more, and the stream begins anew without a word."""
    stream = ProbeSchedule(build_probe_target(), 100)
    slot = 100 + CATCH_UP_MS_MAX // 1_000 + more

    assert passed == len(stream.skip_to(slot))
    assert stream.slot == slot


def test_beginning_anew_keeps_what_is_left_to_do() -> None:
    """A stream of a certain length has as many slots after a jump as before."""
    stream = ProbeSchedule(build_probe_target(slots=10), 100)
    stream.slot = 104

    stream.restart_at(50)

    assert (stream.slot, stream.end_slot) == (50, 56)


def test_a_mapped_address_is_an_ipv4_address() -> None:
    """An IPv4-mapped IPv6 address is probed, and matched, as the IPv4 address it is."""
    stream = ProbeSchedule(build_probe_target(address="::ffff:192.0.2.1"), 0)

    assert stream.socket_key is not None
    assert (stream.address, stream.socket_key.ip_version) == ("192.0.2.1", 4)


def test_addresses_are_spelt_as_the_kernel_spells_them() -> None:
    """Replies come from the canonical spelling, so that is what they are compared with."""
    assert ProbeSchedule(build_probe_target(address="2001:DB8:0:0::0001"), 0).address == "2001:db8::1"
