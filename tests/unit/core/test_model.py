"""Validation of the domain model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.model import (
    ErrorBound,
    Failure,
    Miss,
    Pair,
    ProbeSettings,
    Site,
    Target,
    Window,
    build_window,
    check_address,
    check_name,
    us_ceil,
)


@pytest.mark.parametrize("name", ["a", "fra-a1", "lon.dc2", "9", "a" * 63])
def test_valid_names_are_accepted(name: str) -> None:
    """Lower-case letters, digits, dots and hyphens, up to 63."""
    check_name("site", name)


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a b", "a/b", "ü", "a\n", "a" * 64, "~loopback4"])
def test_invalid_names_are_refused(name: str) -> None:
    """All other names are refused, with the value in the message."""
    with pytest.raises(ValueError, match="is not a valid name"):
        check_name("site", name)


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "host", "a.example.net", "a.example.net."])
def test_valid_addresses_are_accepted(address: str) -> None:
    """IP addresses and host names."""
    check_address(address)


@pytest.mark.parametrize("address", ["", "192.0.2.256", "1.2.3", "2001:db8::g", "a b", "-x.net", "a..b", "a\n"])
def test_invalid_addresses_are_refused(address: str) -> None:
    """An invalid IP address does not count as a host name."""
    with pytest.raises(ValueError):
        check_address(address)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"latitude_deg": 90.5}, "latitude 90.5"),
        ({"longitude_deg": -181.0}, "longitude -181.0"),
        ({"uncertainty_km": -1.0}, "uncertainty_km -1.0"),
        ({"latitude_deg": float("nan")}, "latitude nan"),
    ],
)
def test_invalid_coordinates_are_refused(fields: dict[str, Any], message: str) -> None:
    """Coordinates out of range and NaN are refused."""
    with pytest.raises(ValueError, match=message):
        Site(name="x", **{"latitude_deg": 0.0, "longitude_deg": 0.0, **fields})


def test_a_pair_needs_two_sites() -> None:
    """A site has no path to itself."""
    with pytest.raises(ValueError, match="use two different sites"):
        Pair(source="fra", destination="fra")


@pytest.mark.parametrize(
    "settings",
    [
        {"interval_ms": 9},
        {"interval_ms": 7_000},
        {"timeout_ms": 0},
        {"timeout_ms": 51_001},
        {"payload_bytes": 15},
        {"payload_bytes": 8_973},
        {"dscp": 64},
        {"dscp": -1},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    """Values one step out of range."""
    with pytest.raises(ValueError):
        ProbeSettings(**settings)


def test_settings_at_their_limits_are_accepted() -> None:
    """Smallest and largest values."""
    ProbeSettings(interval_ms=10, timeout_ms=51_000, payload_bytes=8_972, dscp=63)
    ProbeSettings(interval_ms=60_000, timeout_ms=1, payload_bytes=16, dscp=0)


def test_a_target_needs_a_valid_address() -> None:
    """A text with spaces is not an address."""
    with pytest.raises(ValueError):
        Target(name="x", site="fra", address="not an address")


def test_some_failures_require_a_detail() -> None:
    """An unreachable without its ICMP code is refused, alone and in a window."""
    miss = Miss(0, Failure.UNREACHABLE)

    with pytest.raises(ValueError, match="requires a detail"):
        miss.check()
    with pytest.raises(ValueError, match="requires a detail"):
        Window(start_s=60, interval_ms=20_000, rtt_us=(None, 1, 1), misses=(miss,))


@pytest.mark.parametrize("bound", [ErrorBound(2, 1), ErrorBound(-1, 1)])
def test_an_error_bound_is_ordered(bound: ErrorBound) -> None:
    """Alone and in a window."""
    with pytest.raises(ValueError, match="is not ordered"):
        bound.check()
    with pytest.raises(ValueError, match="is not ordered"):
        Window(start_s=60, interval_ms=20_000, rtt_us=(1, 1, 1), error_bound=bound)


def test_negative_numbers_of_a_miss_are_refused() -> None:
    """Slot and detail."""
    for miss in (Miss(-1, Failure.TIMEOUT), Miss(0, Failure.LATE, -1)):
        with pytest.raises(ValueError, match="is negative"):
            miss.check()


@pytest.mark.parametrize(
    "changes",
    [
        {"start_s": 61},
        {"rtt_us": (1,) * 59},
        {"rtt_us": (None, *(1,) * 59)},
        {"misses": (Miss(0, Failure.TIMEOUT),)},
        {"rtt_us": (-1, *(1,) * 59)},
        {"duplicates": -1},
    ],
)
def test_invalid_windows_are_refused(changes: dict[str, Any]) -> None:
    """A window starts at a minute and has, for each slot, an RTT or one miss."""
    fields: dict[str, Any] = {"start_s": 60, "interval_ms": 1_000, "rtt_us": (1,) * 60}
    Window(**fields)

    with pytest.raises(ValueError):
        Window(**(fields | changes))


def test_missing_slots_become_not_sent() -> None:
    """``build_window`` adds the missing slots; an RTT takes precedence over a miss of the same slot."""
    window = build_window(60, 20_000, {1: 500}, [Miss(1, Failure.TIMEOUT), Miss(2, Failure.LATE, 11_000_000)])

    assert window.rtt_us == (None, 500, None)
    assert window.misses == (Miss(0, Failure.NOT_SENT), Miss(2, Failure.LATE, 11_000_000))


@given(st.integers(0, 10**12), st.integers(1, 10**9))
def test_rounding_up_preserves_comparisons(rtt_ns: int, limit_us: int) -> None:
    """For a limit of whole microseconds, ``rtt <= limit`` is true exactly if ``stored <= limit`` is true."""
    assert (us_ceil(rtt_ns) <= limit_us) == (rtt_ns <= limit_us * 1_000)
