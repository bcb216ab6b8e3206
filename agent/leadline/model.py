"""The nouns: sites, pairs, paths, targets, and what became of every scheduled probe.

All are frozen and checked when made, so an invalid one cannot exist; ``Miss`` and ``ErrorBound``, which are on the wire
as well, are checked with their window. Durations inside a process are integer
nanoseconds; what a window holds is integer microseconds *rounded up* (``us_ceil``), so that for a limit of whole
microseconds ``rtt <= limit`` holds exactly when ``stored <= limit``. Lost is None, never 0 or -1.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

#: The unit of judgement (method.md §3.2): 60 s, aligned to the UTC minute.
WINDOW_S = 60
#: A probe counts as lost when no valid reply came within this time (method.md §3.2, Tmax).
TIMEOUT_MS_DEFAULT = 10_000
#: RFC 6703 §4.1.1 derives 51 s as the waiting time that separates loss from long delay.
TIMEOUT_MS_MAX = 51_000
INTERVAL_MS_DEFAULT = 1_000
#: 100 probes a second to one target is a flood to whoever owns it; a test migration needs 10 (method.md §1).
INTERVAL_MS_MIN = 10
#: The payload of a default `ping`, 64 bytes of ICMP, which every operator has seen in captures.
PAYLOAD_BYTES_DEFAULT = 56
#: Cookie and index, 8 bytes each.
PAYLOAD_BYTES_MIN = 16
#: 9000-byte jumbo frame less 20 bytes of IPv4 and 8 of ICMP.
PAYLOAD_BYTES_MAX = 8_972
DSCP_MAX = 63
NAME_LENGTH_MAX = 63
#: Slots of one window at the shortest interval, 10 ms.
SLOTS_MAX = 6_000
#: An RTT above one minute is beyond every timeout (RFC 6703 §4.1.1: 51 s).
RTT_US_MAX = 60_000_000

RttUs = Annotated[int, Meta(ge=0, le=RTT_US_MAX)]

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")


def us_ceil(ns: int) -> int:
    """Nanoseconds to microseconds, rounded up: the form in which an RTT travels and is stored."""
    return -(-ns // 1_000)


def check_name(label: str, name: str) -> None:
    """Raise ValueError unless ``name`` is 1 to 63 of a-z, 0-9, '-' and '.', with a letter or digit at both ends."""
    if len(name) > NAME_LENGTH_MAX or not _NAME.fullmatch(name):
        raise ValueError(
            f"{label} {name!r} is not a name: use 1 to {NAME_LENGTH_MAX} of a-z, 0-9, '-' and '.', "
            "beginning and ending with a letter or digit"
        )


class Failure(StrEnum):
    """Why a scheduled probe has no RTT. The list is closed: everything that can happen is one of these."""

    #: Sent; no valid reply within the timeout.
    TIMEOUT = "timeout"
    #: Sent; the reply came after the timeout. ``detail`` is its RTT in microseconds.
    LATE = "late"
    #: Sent; a router or the target answered with an ICMP error. ``detail`` is type * 256 + code.
    UNREACHABLE = "unreachable"
    #: Never left: the kernel refused it. ``detail`` is the errno (EPERM is a local firewall, ENETUNREACH no route).
    SEND_ERROR = "send_error"
    #: Our own receive queue overflowed while the probe was out: its fate is unknown.
    LOCAL_DROP = "local_drop"
    #: This host stood still or its wall clock stepped while the probe was out: its fate is unknown.
    LOCAL_STALL = "local_stall"
    #: The slot passed without a send: the agent was down, late or overloaded.
    NOT_SENT = "not_sent"
    #: The target's name had no address when the slot came.
    RESOLVE_ERROR = "resolve_error"

    @property
    def is_loss(self) -> bool:
        """True when the probe was really sent and the path had its chance: it counts as sent and lost.

        All others are "not measured": they lower coverage and never loss.
        """
        return self in _LOSSES


_LOSSES = frozenset({Failure.TIMEOUT, Failure.LATE, Failure.UNREACHABLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A data centre. Coordinates are WGS-84 degrees; ``uncertainty_km`` is the radius the true place lies in."""

    name: str
    latitude_deg: float
    longitude_deg: float
    uncertainty_km: float = 1.0
    time_zone: str = "UTC"
    #: Its measurements are generated; every page and every answer says so.
    simulated: bool = False

    def __post_init__(self) -> None:
        check_name("site", self.name)
        if not -90 <= self.latitude_deg <= 90:
            raise ValueError(f"latitude {self.latitude_deg} is outside -90..90")
        if not -180 <= self.longitude_deg <= 180:
            raise ValueError(f"longitude {self.longitude_deg} is outside -180..180")
        if not 0 <= self.uncertainty_km <= 1_000:
            raise ValueError(f"uncertainty_km {self.uncertainty_km} is outside 0..1000")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Pair:
    """A direction between two sites: RTT measured by the source."""

    source: str
    destination: str

    def __post_init__(self) -> None:
        if self.source == self.destination:
            raise ValueError(f"a pair joins two sites, and {self.source!r} is one")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """How a target is probed. Part of what the measurement means (RFC 2330 §13, Type-P), so it is stored with it."""

    interval_ms: int = INTERVAL_MS_DEFAULT
    timeout_ms: int = TIMEOUT_MS_DEFAULT
    payload_bytes: int = PAYLOAD_BYTES_DEFAULT
    dscp: int = 0
    dont_fragment: bool = False

    def __post_init__(self) -> None:
        if self.interval_ms < INTERVAL_MS_MIN or WINDOW_S * 1_000 % self.interval_ms:
            raise ValueError(
                f"interval of {self.interval_ms} ms: use one of at least {INTERVAL_MS_MIN} ms that divides a minute, "
                "such as 100, 200, 500, 1000, 2000 or 5000"
            )
        if not 1 <= self.timeout_ms <= TIMEOUT_MS_MAX:
            raise ValueError(f"timeout of {self.timeout_ms} ms is outside 1..{TIMEOUT_MS_MAX}")
        if not PAYLOAD_BYTES_MIN <= self.payload_bytes <= PAYLOAD_BYTES_MAX:
            raise ValueError(f"payload of {self.payload_bytes} B is outside {PAYLOAD_BYTES_MIN}..{PAYLOAD_BYTES_MAX}")
        if not 0 <= self.dscp <= DSCP_MAX:
            raise ValueError(f"DSCP {self.dscp} is outside 0..{DSCP_MAX}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An address to probe at a site. ``name`` is unique in the mesh; ``address`` is an IP literal or a host name."""

    name: str
    site: str
    address: str
    settings: ProbeSettings = field(default_factory=ProbeSettings)

    def __post_init__(self) -> None:
        check_name("target", self.name)
        check_address(self.address)


def check_address(address: str) -> None:
    """Raise ValueError unless ``address`` is an IPv4 or IPv6 literal or a host name (RFC 1123)."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        labels = address.rstrip(".").split(".")
        if len(address) > 253 or not all(re.fullmatch(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", label) for label in labels):
            raise ValueError(f"{address!r} is neither an IP address nor a host name") from None
        if labels[-1].isdigit():
            raise ValueError(f"{address!r} looks like an IPv4 address and is none") from None


class Miss(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """``[slot, failure, detail]``: why a slot has no RTT, and the number that goes with the failure (see Failure)."""

    slot: Annotated[int, Meta(ge=0, lt=SLOTS_MAX)]
    failure: Failure
    detail: Annotated[int, Meta(ge=0, le=RTT_US_MAX)] | None = None

    def check(self) -> None:
        """Raise ValueError if it cannot be in a window; not at construction, which the wire's decoder would pay for."""
        if self.slot < 0:
            raise ValueError(f"slot {self.slot} is negative")
        if self.detail is not None and self.detail < 0:
            raise ValueError(f"detail {self.detail} is negative")
        if self.failure in FAILURES_WITH_DETAIL and self.detail is None:
            raise ValueError(f"{self.failure} says nothing without its detail")


#: Failures that say nothing without their number.
FAILURES_WITH_DETAIL = frozenset({Failure.LATE, Failure.UNREACHABLE, Failure.SEND_ERROR})


class ErrorBound(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """``[p50, p99]``: how far the own host may have added to an RTT, in microseconds, as percentiles over the probes.

    The true network RTT is in [measured - bound, measured] (method.md §3.4, H).
    """

    p50_us: RttUs
    p99_us: RttUs

    def check(self) -> None:
        """Raise ValueError if it cannot be in a window."""
        if not 0 <= self.p50_us <= self.p99_us:
            raise ValueError(f"error bound p50 {self.p50_us} µs, p99 {self.p99_us} µs is not ordered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Every slot of one path in one UTC minute: an RTT or a miss, one of them for each slot and never both."""

    start_s: int
    interval_ms: int
    #: One entry per slot in order of schedule; None where ``misses`` says why.
    rtt_us: tuple[int | None, ...]
    misses: tuple[Miss, ...] = ()
    #: Replies beyond the first, over the whole window.
    duplicates: int = 0
    error_bound: ErrorBound | None = None

    def __post_init__(self) -> None:
        if self.start_s % WINDOW_S:
            raise ValueError(f"window starts at {self.start_s}, which is not a whole UTC minute")
        expected = WINDOW_S * 1_000 // self.interval_ms
        if len(self.rtt_us) != expected:
            raise ValueError(f"{len(self.rtt_us)} slots in a window of {expected}")
        empty = [slot for slot, rtt in enumerate(self.rtt_us) if rtt is None]
        if empty != [miss.slot for miss in self.misses]:
            raise ValueError("every slot without an RTT needs exactly one miss, in order of slot")
        for miss in self.misses:
            miss.check()
        if self.error_bound is not None:
            self.error_bound.check()
        if any(rtt is not None and rtt < 0 for rtt in self.rtt_us):
            raise ValueError("an RTT is negative")
        if self.duplicates < 0:
            raise ValueError(f"{self.duplicates} duplicates")


def build_window(
    start_s: int,
    interval_ms: int,
    rtts_us: Mapping[int, int],
    misses: Iterable[Miss],
    *,
    duplicates: int = 0,
    error_bound: ErrorBound | None = None,
) -> Window:
    """A window from what is known of its slots; a slot nobody speaks of was not sent. An RTT wins over a miss."""
    expected = WINDOW_S * 1_000 // interval_ms
    known = {miss.slot: miss for miss in misses}
    return Window(
        start_s=start_s,
        interval_ms=interval_ms,
        rtt_us=tuple(rtts_us.get(slot) for slot in range(expected)),
        misses=tuple(known.get(slot, Miss(slot, Failure.NOT_SENT)) for slot in range(expected) if slot not in rtts_us),
        duplicates=duplicates,
        error_bound=error_bound,
    )
