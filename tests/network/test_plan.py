"""Unit tests of the rules: which rule decides, and its decision."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.network.frames import NOT_IP, Flow, compute_checksum
from tests.network.plan import FrameDecider, FrameRule, FrameSelector, RuleTable, every, ratio
from tests.network.ports import RealtimeOffset
from tests.network.wan import A4, B4
from tests.support.clock import FakeClock

MS = 1_000_000


def _decide_delays(rule: FrameRule, count: int, seed: int = 1) -> list[tuple[int, ...]]:
    decider = FrameDecider(rule, seed)
    return [decider.decide_delays_ns(None) for _ in range(count)]


def test_the_same_seed_gives_the_same_decisions() -> None:
    """Loss, jitter and copies depend on the seed only."""
    rule = FrameRule(delay_ns=5 * MS, jitter_ns=(MS,), drop=ratio(0.1), duplicate=ratio(0.1))

    assert _decide_delays(rule, 500) == _decide_delays(rule, 500)
    assert _decide_delays(rule, 500) != _decide_delays(rule, 500, seed=2)


def test_a_loss_ratio_is_met() -> None:
    """A ratio of 0.1 drops between 9 and 11 % of 10,000 frames (3.3 standard deviations)."""
    dropped = _decide_delays(FrameRule(drop=ratio(0.1)), 10_000).count(())

    assert 900 < dropped < 1_100


def test_jitter_stays_within_its_bounds() -> None:
    """Uniform jitter covers delay ± jitter and nothing beyond."""
    delays = [copies[0] for copies in _decide_delays(FrameRule(delay_ns=5 * MS, jitter_ns=(MS,)), 2_000)]

    assert 4 * MS <= min(delays) < 4.1 * MS
    assert 5.9 * MS < max(delays) <= 6 * MS


def test_listed_jitter_is_taken_in_turn() -> None:
    """A list of jitters is added cyclically and never makes a delay negative."""
    delays = _decide_delays(FrameRule(delay_ns=5, jitter_ns=(0, 3, -9)), 4)

    assert delays == [(5,), (8,), (0,), (5,)]


def test_the_newest_matching_rule_decides() -> None:
    """Newer rules take precedence; a replaced rule counts as new."""
    flow, table = Flow(socket.inet_aton(A4), socket.inet_aton(B4), 1, 34), RuleTable(1)
    for rule in (FrameRule(dst=B4, delay_ns=1), FrameRule(delay_ns=2)):
        table.add(rule)
    by_age = table.find_decider("a->b", flow, 8).rule.delay_ns
    table.add(FrameRule(dst=B4, delay_ns=3))

    assert by_age == 2
    assert table.find_decider("a->b", flow, 8).rule.delay_ns == 3
    assert table.find_decider("b->a", flow._replace(dst=flow.src), 0).rule.delay_ns == 2


def test_a_rule_of_another_family_does_not_match() -> None:
    """An IPv6 prefix matches neither IPv4 nor non-IP frames; an ICMP type matches only ICMP frames."""
    flow, table = Flow(socket.inet_aton(A4), socket.inet_aton(B4), 6, 0), RuleTable(1)
    table.add(FrameRule(dst="::/0", delay_ns=1))
    table.add(FrameRule(icmp_type=8, delay_ns=1))

    assert table.find_decider("a->b", flow, None).rule == FrameRule()
    assert table.find_decider("a->b", NOT_IP, None).rule == FrameRule()


@pytest.mark.parametrize(
    "make",
    [
        lambda: ratio(1.01),
        lambda: every(-1),
        lambda: FrameSelector(ratio=0.5, every=2),
        lambda: FrameRule(delay_ns=-1),
        lambda: FrameRule(dst="nowhere"),
    ],
)
def test_an_invalid_rule_is_refused(make: Callable[[], object]) -> None:
    """Values out of range, mixed selectors and invalid addresses raise ValueError."""
    with pytest.raises(ValueError):
        make()


def test_the_checksum_is_the_internet_checksum() -> None:
    """The example of RFC 1071 §3; odd lengths are padded with zero."""
    assert compute_checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2
    assert compute_checksum(b"\x01") == compute_checksum(b"\x01\x00")


def test_the_offset_follows_a_step_of_the_wall_clock() -> None:
    """After a step, realtime timestamps still map to the correct monotonic time."""
    clock = FakeClock(wall_ns=1_000)
    offset = RealtimeOffset(clock)

    clock.advance(5)
    clock.step(7_000)
    offset.sample()

    assert offset.ns == 8_000
