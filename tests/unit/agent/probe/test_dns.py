"""DNS resolution of target names."""

from __future__ import annotations

import threading

import pytest

from leadline.wire import control
from leadline_agent.probe.dns import THREADS_MAX, Resolver, resolve_name, resolve_plan


def plan(*addresses: str, source: str | None = None) -> control.Plan:
    targets = [
        control.PlanTarget(
            name=f"t{number}", site="zrh", address=address, interval_ms=1_000, timeout_ms=2_000, payload_bytes=56,
            dscp=0, dont_fragment=False,
        )
        for number, address in enumerate(addresses)
    ]  # fmt: skip
    return control.Plan(mesh_version=1, agent="fra1", site="fra", source_address=source, targets=targets)


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".com", "\udcff", ".", ""])
def test_malformed_name_has_no_address(name: str) -> None:
    """A malformed name in a plan does not end the agent, and sends no packet."""
    assert resolve_name(name) is None


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_ip_literal_is_returned_unchanged(address: str) -> None:
    """IP literals need no lookup."""
    assert resolve_name(address) == address


def test_name_without_address_stays_in_the_plan() -> None:
    """Its address is None. The source address applies only to targets of its family."""
    message = resolve_plan(plan("192.0.2.1", "gone.test", "six.test", source="192.0.2.9"), {"six.test": "2001:db8::6"})

    assert [(target.address, target.source) for target in message.targets] == [
        ("192.0.2.1", "192.0.2.9"),
        (None, None),
        ("2001:db8::6", None),
    ]


def test_unresponsive_name_server_delays_no_other_name() -> None:
    """The other names resolve at once, this one when the response arrives."""
    release = threading.Event()

    def look_up(name: str) -> str | None:
        if name == "slow.test":
            assert release.wait(30)
        return "192.0.2.7"

    resolver = Resolver(look_up)
    resolver.start_lookups(plan("slow.test", "quick.test", "192.0.2.1"))
    resolver.wait(0.2)
    assert (resolver.read_addresses(), resolver.has_new_addresses) == ({"quick.test": "192.0.2.7"}, False)

    release.set()
    resolver.wait(30)
    assert (resolver.has_new_addresses, resolver.read_addresses()) == (
        True,
        {"quick.test": "192.0.2.7", "slow.test": "192.0.2.7"},
    )


def test_lookups_and_threads_are_bounded() -> None:
    """Repeated plans start no second lookup of a name and no more than ``THREADS_MAX`` threads."""
    release, lookups, threads = threading.Event(), [], []

    def look_up(name: str) -> str | None:
        lookups.append(name)
        threads.append(threading.current_thread())
        assert release.wait(30)
        return None

    resolver = Resolver(look_up)
    names = [f"n{number}.test" for number in range(3 * THREADS_MAX)]
    for _ in range(5):
        resolver.start_lookups(plan(*names))
    release.set()
    resolver.wait(30)

    assert sorted(lookups) == sorted(names)
    assert len(set(threads)) <= THREADS_MAX


def test_latest_address_replaces_the_previous_one() -> None:
    """Names that are not in the plan are removed."""
    addresses_of_a = iter(["192.0.2.1", None])
    resolver = Resolver(lambda name: next(addresses_of_a) if name == "a.test" else "192.0.2.2")
    for addresses in (["a.test", "b.test"], ["a.test"]):
        resolver.start_lookups(plan(*addresses))
        resolver.wait(30)

    assert resolver.read_addresses() == {"a.test": None}
