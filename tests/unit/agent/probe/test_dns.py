"""From names to addresses."""

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
def test_a_name_that_is_none_has_no_address(name: str) -> None:
    """A plan is data from elsewhere: a malformed name in it must not end the agent. No packet is needed to tell."""
    assert resolve_name(name) is None


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_an_address_stays_what_it_is(address: str) -> None:
    """Literals are not looked up."""
    assert resolve_name(address) == address


def test_a_name_without_an_address_keeps_its_place_in_the_plan() -> None:
    """Its slots are told as resolve errors; the source address is for targets of its family only."""
    found = resolve_plan(plan("192.0.2.1", "gone.test", "six.test", source="192.0.2.9"), {"six.test": "2001:db8::6"})

    assert [(one.address, one.source) for one in found.targets] == [
        ("192.0.2.1", "192.0.2.9"),
        (None, None),
        ("2001:db8::6", None),
    ]


def test_a_name_server_that_does_not_answer_holds_nobody_up() -> None:
    """The other names have their addresses at once, this one when the answer comes."""
    let_go = threading.Event()

    def look_up(name: str) -> str | None:
        if name == "slow.test":
            assert let_go.wait(30)
        return "192.0.2.7"

    resolver = Resolver(look_up)
    resolver.start_lookups(plan("slow.test", "quick.test", "192.0.2.1"))
    resolver.wait(0.2)
    assert (resolver.read_addresses(), resolver.has_new_addresses) == ({"quick.test": "192.0.2.7"}, False)

    let_go.set()
    resolver.wait(30)
    assert (resolver.has_new_addresses, resolver.read_addresses()) == (
        True,
        {"quick.test": "192.0.2.7", "slow.test": "192.0.2.7"},
    )


def test_a_name_is_not_asked_for_twice_at_once_and_threads_are_bounded() -> None:
    """However often a plan of many names comes while its name server is away."""
    let_go, asked, running = threading.Event(), [], []

    def look_up(name: str) -> str | None:
        asked.append(name)
        running.append(threading.current_thread())
        assert let_go.wait(30)
        return None

    resolver = Resolver(look_up)
    names = [f"n{number}.test" for number in range(3 * THREADS_MAX)]
    for _ in range(5):
        resolver.start_lookups(plan(*names))
    let_go.set()
    resolver.wait(30)

    assert sorted(asked) == sorted(names)
    assert len(set(running)) <= THREADS_MAX


def test_the_last_answer_is_kept_until_there_is_another() -> None:
    """Names that left the plan are forgotten."""
    answers = iter(["192.0.2.1", None])
    resolver = Resolver(lambda name: next(answers) if name == "a.test" else "192.0.2.2")
    for addresses in (["a.test", "b.test"], ["a.test"]):
        resolver.start_lookups(plan(*addresses))
        resolver.wait(30)

    assert resolver.read_addresses() == {"a.test": None}
