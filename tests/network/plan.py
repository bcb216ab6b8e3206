"""Rules for frames and their seeded decisions. Pure: no socket and no clock.

Rule 1: the newest matching rule decides about a frame. A frame without a matching rule passes without delay.
Rule 2: a rule with the same match (direction, src, dst, icmp_type) replaces the older one and starts its counts again.
Rule 3: each rule has its own random numbers, seeded by the seed of the table and its match; other flows do not affect
them.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal

from leadline.clock import make_rng
from tests.network.frames import Flow

Direction = Literal["a->b", "b->a"]
DIRECTIONS: tuple[Direction, Direction] = ("a->b", "b->a")
#: Longer than any timeout of leadline (51 s), with a margin for late replies.
DELAY_NS_MAX = 120_000_000_000
#: Maximum size of the cache of rules by flow; a full cache is cleared.
FLOWS_MAX = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSelector:
    """Selection of frames of a rule: at most one of the three fields is set. See ratio(), every() and indexes()."""

    ratio: float = 0.0
    every: int = 0
    indexes: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if not 0.0 <= self.ratio <= 1.0:
            raise ValueError(f"ratio {self.ratio} is outside 0..1")
        if self.every < 0:
            raise ValueError(f"every {self.every}th frame: use 1 or more")
        if sum(map(bool, (self.ratio, self.every, self.indexes))) > 1:
            raise ValueError("set only one of ratio, every and indexes")


ALL_FRAMES = FrameSelector(ratio=1.0)


def ratio(share: float) -> FrameSelector:
    """Select each frame with probability ``share`` (0..1), by the seeded random numbers of the rule."""
    return FrameSelector(ratio=share)


def every(k: int) -> FrameSelector:
    """Select the k-th, 2k-th, 3k-th … frame of the rule, counted since the rule was added."""
    return FrameSelector(every=k)


def indexes(*probe_indexes: int) -> FrameSelector:
    """Select frames with one of these probe indexes in the payload."""
    return FrameSelector(indexes=frozenset(probe_indexes))


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRule:
    """Match and effects of a rule. ``src`` and ``dst`` are addresses or prefixes; None matches everything.

    All times are one way. Order of application: drop, then ICMP error, then delay, then duplicate.
    """

    direction: Direction | None = None
    src: str | None = None
    dst: str | None = None
    icmp_type: int | None = None
    delay_ns: int = 0
    #: One number: uniform within ± that number. Several: added in turn, cyclically. A total delay below 0 counts as 0.
    jitter_ns: tuple[int, ...] = ()
    drop: FrameSelector | None = None
    duplicate: FrameSelector | None = None
    #: Delay of the copy after the original.
    duplicate_ns: int = 0
    reorder: FrameSelector | None = None
    #: Extra delay of the frames that ``reorder`` selects, so that later frames overtake them.
    reorder_ns: int = 0
    late: FrameSelector | None = None
    #: Extra delay of the frames that ``late`` selects.
    late_ns: int = 0
    #: Type and code of the ICMP error that the sender gets after the delay; the frame itself is dropped.
    icmp_error: tuple[int, int] | None = None
    #: Source address of the error; None for the emulator's router address.
    error_from: str | None = None
    #: Next-hop MTU of "fragmentation needed" or "packet too big".
    error_mtu: int = 0

    def __post_init__(self) -> None:
        for prefix in (self.src, self.dst):
            if prefix is not None:
                ipaddress.ip_network(prefix)
        if self.error_from is not None:
            ipaddress.ip_address(self.error_from)
        for name in ("delay_ns", "duplicate_ns", "reorder_ns", "late_ns"):
            if not 0 <= getattr(self, name) <= DELAY_NS_MAX:
                raise ValueError(f"{name} of {getattr(self, name)} is outside 0..{DELAY_NS_MAX}")
        if any(abs(step) > DELAY_NS_MAX for step in self.jitter_ns):
            raise ValueError(f"jitter_ns {self.jitter_ns} is outside ±{DELAY_NS_MAX}")

    @property
    def match_key(self) -> tuple[Direction | None, str | None, str | None, int | None]:
        """The key of the rule; unique within a table."""
        return self.direction, self.src, self.dst, self.icmp_type


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class FrameDecider:
    """State of a rule: parsed networks, random numbers and the count of its frames."""

    def __init__(self, rule: FrameRule, seed: int) -> None:
        self.rule = rule
        self.needs_index = any(
            selector.indexes for selector in (rule.drop, rule.duplicate, rule.reorder, rule.late) if selector
        )
        self._src, self._dst = _parse_network(rule.src), _parse_network(rule.dst)
        self._draw = make_rng(f"{seed} {rule.match_key}").random
        self._count = 0

    def matches(self, direction: Direction, flow: Flow, icmp_type: int | None) -> bool:
        """Return True if the rule matches frames of this flow."""
        return (
            self.rule.direction in (None, direction)
            and self.rule.icmp_type in (None, icmp_type)
            and _is_within(flow.src, self._src)
            and _is_within(flow.dst, self._dst)
        )

    def decide_delays_ns(self, index: int | None) -> tuple[int, ...]:
        """Return the delay of each copy of the next frame: empty for a dropped frame, two for a duplicated one."""
        self._count += 1
        rule = self.rule
        if self._is_selected(rule.drop, index):
            return ()
        delay_ns = rule.delay_ns + self._draw_jitter_ns()
        if self._is_selected(rule.reorder, index):
            delay_ns += rule.reorder_ns
        if self._is_selected(rule.late, index):
            delay_ns += rule.late_ns
        delay_ns = max(0, delay_ns)
        if self._is_selected(rule.duplicate, index):
            return delay_ns, delay_ns + rule.duplicate_ns
        return (delay_ns,)

    def _is_selected(self, selector: FrameSelector | None, index: int | None) -> bool:
        if selector is None:
            return False
        if selector.every:
            return self._count % selector.every == 0
        return index in selector.indexes or (selector.ratio > 0 and self._draw() < selector.ratio)

    def _draw_jitter_ns(self) -> int:
        steps = self.rule.jitter_ns
        if not steps:
            return 0
        if len(steps) == 1:
            return round((2 * self._draw() - 1) * steps[0])
        return steps[(self._count - 1) % len(steps)]


def _parse_network(prefix: str | None) -> Network | None:
    return None if prefix is None else ipaddress.ip_network(prefix)


def _is_within(packed: bytes, network: Network | None) -> bool:
    if network is None:
        return True
    return bool(packed) and ipaddress.ip_address(packed) in network


class RuleTable:
    """The active rules."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._rules: dict[object, FrameDecider] = {}
        self._default = FrameDecider(FrameRule(), seed)
        self._deciders_by_flow: dict[tuple[Direction, Flow, int | None], FrameDecider] = {}

    def add(self, rule: FrameRule) -> None:
        """Add a rule; it takes precedence over all older ones."""
        self._rules.pop(rule.match_key, None)
        self._rules[rule.match_key] = FrameDecider(rule, self._seed)
        self._deciders_by_flow.clear()

    def clear(self) -> None:
        """Remove all rules: all frames pass without delay."""
        self._rules.clear()
        self._deciders_by_flow.clear()

    def find_decider(self, direction: Direction, flow: Flow, icmp_type: int | None) -> FrameDecider:
        """Return the newest matching rule for frames of this flow."""
        key = direction, flow, icmp_type
        decider = self._deciders_by_flow.get(key)
        if decider is None:
            if len(self._deciders_by_flow) >= FLOWS_MAX:
                self._deciders_by_flow.clear()
            decider = self._deciders_by_flow[key] = self._match_decider(direction, flow, icmp_type)
        return decider

    def _match_decider(self, direction: Direction, flow: Flow, icmp_type: int | None) -> FrameDecider:
        newest_first = reversed(self._rules.values())
        return next((decider for decider in newest_first if decider.matches(direction, flow, icmp_type)), self._default)
