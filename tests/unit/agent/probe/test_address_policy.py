"""Addresses and rates that an agent refuses to probe."""

from __future__ import annotations

import pytest

from leadline.errors import ConfigError
from leadline_agent.probe.address_policy import PACKETS_PER_S_MAX, check_targets, is_address_allowed
from tests.support.fake_probe_socket import build_probe_target


@pytest.mark.parametrize(
    "address",
    [
        "224.0.0.1", "239.1.2.3", "255.255.255.255", "0.0.0.0", "0.1.2.3", "169.254.169.254", "100.100.100.200",
        "ff02::1", "fe80::1", "::", "fd00:ec2::254", "::ffff:224.0.0.1", "::ffff:169.254.169.254",
    ],
)  # fmt: skip
def test_addresses_that_belong_to_no_host_are_refused(address: str) -> None:
    """No packet goes to multicast, broadcast, link-local, unspecified or metadata addresses, mapped or not."""
    assert not is_address_allowed(address)


@pytest.mark.parametrize("address", ["10.0.0.1", "192.0.2.1", "127.0.0.1", "2001:db8::1", "fd77::1", "::1"])
def test_hosts_are_allowed(address: str) -> None:
    """Host addresses may be probed, also private and loopback ones."""
    assert is_address_allowed(address)


@pytest.mark.parametrize("address", ["239.1.2.3", "fe80::1", "not-an-address"])
def test_refusal_names_target_and_address(address: str) -> None:
    """The error has the target, the address and the reason."""
    with pytest.raises(ConfigError, match=f"target far: .*{address}"):
        check_targets([build_probe_target(address=address)], lambda _: True)


def test_local_policy_narrows() -> None:
    """The local policy can forbid an address."""
    with pytest.raises(ConfigError, match=r"forbids probing"):
        check_targets([build_probe_target()], lambda _: False)


def test_local_policy_cannot_widen() -> None:
    """Multicast stays forbidden under a local policy that allows everything."""
    with pytest.raises(ConfigError, match=r"forbids probing"):
        check_targets([build_probe_target(address="239.1.2.3")], lambda _: True)


def test_names_are_unique() -> None:
    """Two targets with the same name are an error."""
    with pytest.raises(ConfigError, match="appears twice"):
        check_targets([build_probe_target(), build_probe_target(address="192.0.2.9")], lambda _: True)


def test_the_packet_rate_limit_is_compiled() -> None:
    """Targets up to the packet rate limit are accepted, one more is not."""
    targets = [build_probe_target(f"t{number}", None, interval_ms=10) for number in range(PACKETS_PER_S_MAX // 100)]

    check_targets(targets, lambda _: True)

    with pytest.raises(ConfigError, match="packets a second"):
        check_targets([*targets, build_probe_target("one-more", None)], lambda _: True)
