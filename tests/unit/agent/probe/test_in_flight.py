"""Probes in flight."""

from __future__ import annotations

from leadline_agent.probe.in_flight import LATE_WAIT_MS, InFlightProbe, InFlightProbes
from leadline_agent.probe.send_queue import ProbeSchedule
from tests.support.fake_probe_socket import MS, TARGET, build_probe_target


def build_probes(*indexes: int, address: str = TARGET) -> InFlightProbes:
    probes = InFlightProbes()
    for index in indexes:
        probes.add(
            InFlightProbe(
                ProbeSchedule(build_probe_target(address=address, timeout_ms=1_000), 0), index, 0, index * MS, 0
            )
        )
    return probes


def test_error_without_index_matches_by_sequence() -> None:
    """The 16 bits of the sequence and the destination identify the probe among others to the same host."""
    probe = build_probes(70_000, 70_001, 70_002).find_by_sequence(TARGET, 70_001 & 0xFFFF)

    assert probe is not None
    assert probe.index == 70_001


def test_error_for_another_destination_matches_nothing() -> None:
    """An equal sequence alone is no match."""
    assert build_probes(5).find_by_sequence("192.0.2.99", 5) is None


def test_newest_probe_matches_a_repeated_sequence() -> None:
    """After the 16 bits wrap around, the error belongs to the newer probe."""
    probe = build_probes(1, 1 + 0x10000).find_by_sequence(TARGET, 1)

    assert probe is not None
    assert probe.index == 1 + 0x10000


def test_probes_expire_after_timeout_and_late_wait() -> None:
    """A probe expires when both have passed, and is then removed."""
    probes = build_probes(1, 2)
    expiry_ns = (1 + 1_000 + LATE_WAIT_MS) * MS

    assert list(probes.pop_expired(expiry_ns - 1)) == []
    assert [probe.index for probe in probes.pop_expired(expiry_ns)] == [1]
    assert probes.get(1) is None
    assert probes.get(2) is not None
