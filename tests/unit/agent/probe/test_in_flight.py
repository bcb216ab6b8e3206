"""The ledger of probes that are out."""

from __future__ import annotations

from leadline_agent.probe.in_flight import LATE_WAIT_MS, InFlightProbe, InFlightProbes
from leadline_agent.probe.send_queue import ProbeSchedule
from tests.support.fake_probe_socket import MS, TARGET, build_probe_target


def flights(*indexes: int, address: str = TARGET) -> InFlightProbes:
    ledger = InFlightProbes()
    for index in indexes:
        ledger.add(
            InFlightProbe(
                ProbeSchedule(build_probe_target(address=address, timeout_ms=1_000), 0), index, 0, index * MS, 0
            )
        )
    return ledger


def test_an_error_without_an_index_is_matched_by_sequence() -> None:
    """The 16 bits of the sequence and the destination find the flight among others to the same host."""
    found = flights(70_000, 70_001, 70_002).find_by_sequence(TARGET, 70_001 & 0xFFFF)

    assert found is not None
    assert found.index == 70_001


def test_an_error_about_another_destination_finds_nothing() -> None:
    """The sequence alone does not make an error ours."""
    assert flights(5).find_by_sequence("192.0.2.99", 5) is None


def test_of_equal_sequences_the_newest_is_meant() -> None:
    """When the 16 bits came round, the error is about the younger flight."""
    found = flights(1, 1 + 0x10000).find_by_sequence(TARGET, 1)

    assert found is not None
    assert found.index == 1 + 0x10000


def test_flights_end_after_timeout_and_late_wait() -> None:
    """A flight stays until both are over, and then is gone."""
    ledger = flights(1, 2)
    end_ns = (1 + 1_000 + LATE_WAIT_MS) * MS

    assert list(ledger.pop_expired(end_ns - 1)) == []
    assert [flight.index for flight in ledger.pop_expired(end_ns)] == [1]
    assert ledger.get(1) is None
    assert ledger.get(2) is not None
