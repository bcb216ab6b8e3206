"""Domain model: sites, pairs, targets, probe settings, and the result of every scheduled probe.

All classes are frozen and validate themselves on construction, except ``Miss`` and ``ErrorBound``: these are wire types
as well, and their window validates them. Durations inside a process are integer nanoseconds. RTTs in a window are
integer microseconds, *rounded up* (``us_ceil``): for a limit of whole microseconds ``rtt <= limit`` is true exactly if
``stored <= limit`` is true. A lost probe is None, never 0 or -1.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

#: Length of the evaluated windows (method.md §3.2): 60 s, aligned to the UTC minute.
WINDOW_S = 60
#: A probe without a valid reply within this time counts as lost (method.md §3.2, Tmax).
TIMEOUT_MS_DEFAULT = 10_000
#: RFC 6703 §4.1.1 derives 51 s as the waiting time that separates loss from long delay.
TIMEOUT_MS_MAX = 51_000
INTERVAL_MS_DEFAULT = 1_000
#: More than 100 probes a second would flood the target; a test migration needs 10 (method.md §1).
INTERVAL_MS_MIN = 10
#: Payload of a default `ping` (64 bytes of ICMP), familiar from packet captures.
PAYLOAD_BYTES_DEFAULT = 56
#: Cookie and index, 8 bytes each.
PAYLOAD_BYTES_MIN = 16
#: 9000-byte jumbo frame minus 20 bytes of IPv4 header and 8 bytes of ICMP header.
PAYLOAD_BYTES_MAX = 8_972
DSCP_MAX = 63
NAME_LENGTH_MAX = 63
#: Slots of one window at the shortest interval, 10 ms.
SLOTS_MAX = 6_000
#: Longest RTT, one minute; every timeout is shorter (RFC 6703 §4.1.1: 51 s).
RTT_US_MAX = 60_000_000

RttUs = Annotated[int, Meta(ge=0, le=RTT_US_MAX)]

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")


def us_ceil(ns: int) -> int:
    """Convert nanoseconds to microseconds, rounded up; RTTs are sent and stored in this form."""
    return -(-ns // 1_000)


def check_name(label: str, name: str) -> None:
    """Raise ValueError unless ``name`` is 1 to 63 of a-z, 0-9, '-' and '.', with a letter or digit at both ends."""
    if len(name) > NAME_LENGTH_MAX or not _NAME.fullmatch(name):
        raise ValueError(
            f"{label} {name!r} is not a valid name: use 1 to {NAME_LENGTH_MAX} of a-z, 0-9, '-' and '.', "
            "with a letter or digit at both ends"
        )


class Failure(StrEnum):
    """Reason why a scheduled probe has no RTT. The list is complete."""

    #: Sent; no valid reply, also none until 5 s after the timeout.
    TIMEOUT = "timeout"
    #: Sent; the reply arrived after the timeout. ``detail`` is its RTT in microseconds.
    LATE = "late"
    #: Sent; a router or the target replied with an ICMP error. ``detail`` is type * 256 + code.
    UNREACHABLE = "unreachable"
    #: Not sent: the kernel refused it. ``detail`` is the errno (EPERM: local firewall, ENETUNREACH: no route).
    SEND_ERROR = "send_error"
    #: The local receive queue overflowed while the probe was in flight; the result is unknown.
    LOCAL_DROP = "local_drop"
    #: This host stalled, or its wall clock stepped, while the probe was in flight; the result is unknown.
    LOCAL_STALL = "local_stall"
    #: The slot passed without a send: the agent was down, late or overloaded.
    NOT_SENT = "not_sent"
    #: The target's name did not resolve at the time of the slot.
    RESOLVE_ERROR = "resolve_error"

    @property
    def is_loss(self) -> bool:
        """True if the probe was sent and the path lost it: it counts as sent and lost.

        All other failures mean "not measured": they lower coverage and do not count as loss.
        """
        return self in _LOSSES


_LOSSES = frozenset({Failure.TIMEOUT, Failure.LATE, Failure.UNREACHABLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A data centre. Coordinates are WGS-84 degrees; the true location is within ``uncertainty_km`` of them."""

    name: str
    latitude_deg: float
    longitude_deg: float
    uncertainty_km: float = 1.0
    time_zone: str = "UTC"
    #: The measurements of the site are generated; pages and responses mark them.
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
    """A direction between two sites; the source measures the RTT."""

    source: str
    destination: str

    def __post_init__(self) -> None:
        if self.source == self.destination:
            raise ValueError(f"source and destination of a pair are both {self.source!r}; use two different sites")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """Settings of the probes to one target (RFC 2330 §13, Type-P); stored with the measurement."""

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
    """An address to probe at a site. ``name`` is unique in the mesh; ``address`` is an IP address or a host name."""

    name: str
    site: str
    address: str
    settings: ProbeSettings = field(default_factory=ProbeSettings)

    def __post_init__(self) -> None:
        check_name("target", self.name)
        check_address(self.address)


def check_address(address: str) -> None:
    """Raise ValueError unless ``address`` is an IPv4 address, an IPv6 address or a host name (RFC 1123)."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        labels = address.rstrip(".").split(".")
        if len(address) > 253 or not all(re.fullmatch(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", label) for label in labels):
            raise ValueError(f"{address!r} is neither an IP address nor a host name") from None
        if labels[-1].isdigit():
            raise ValueError(f"{address!r} looks like an IPv4 address but is not valid") from None


class Miss(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """``[slot, failure, detail]``: a slot without an RTT; ``Failure`` defines the meaning of ``detail``."""

    slot: Annotated[int, Meta(ge=0, lt=SLOTS_MAX)]
    failure: Failure
    detail: Annotated[int, Meta(ge=0, le=RTT_US_MAX)] | None = None

    def check(self) -> None:
        """Raise ValueError if the miss is invalid. Not called on construction, to keep the wire decoder fast."""
        if self.slot < 0:
            raise ValueError(f"slot {self.slot} is negative")
        if self.detail is not None and self.detail < 0:
            raise ValueError(f"detail {self.detail} is negative")
        if self.failure in FAILURES_WITH_DETAIL and self.detail is None:
            raise ValueError(f"{self.failure} requires a detail")


#: Failures that require a detail.
FAILURES_WITH_DETAIL = frozenset({Failure.LATE, Failure.UNREACHABLE, Failure.SEND_ERROR})


class ErrorBound(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """``[p50, p99]``: upper bound of the delay that the agent's host added, in microseconds, percentiles of the probes.

    Of an imported window: width of the interval that a printed RTT represents. The true network RTT is in
    [measured - bound, measured] (method.md §3.4, H).
    """

    p50_us: RttUs
    p99_us: RttUs

    def check(self) -> None:
        """Raise ValueError if the bound is invalid."""
        if not 0 <= self.p50_us <= self.p99_us:
            raise ValueError(f"error bound p50 {self.p50_us} µs, p99 {self.p99_us} µs is not ordered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """All slots of one path in one UTC minute: each slot has either an RTT or a miss."""

    start_s: int
    interval_ms: int
    #: One entry per slot in order of schedule; None for a slot with an entry in ``misses``.
    rtt_us: tuple[int | None, ...]
    misses: tuple[Miss, ...] = ()
    #: Replies after the first one to a probe, summed over the window.
    duplicates: int = 0
    error_bound: ErrorBound | None = None

    def __post_init__(self) -> None:
        if self.start_s % WINDOW_S:
            raise ValueError(f"window starts at {self.start_s}, which is not a whole UTC minute")
        expected = WINDOW_S * 1_000 // self.interval_ms
        if len(self.rtt_us) != expected:
            raise ValueError(f"the window has {len(self.rtt_us)} slots instead of {expected}")
        slots_without_rtt = [slot for slot, rtt in enumerate(self.rtt_us) if rtt is None]
        if slots_without_rtt != [miss.slot for miss in self.misses]:
            raise ValueError("every slot without an RTT needs exactly one miss, in order of slot")
        for miss in self.misses:
            miss.check()
        if self.error_bound is not None:
            self.error_bound.check()
        if any(rtt is not None and rtt < 0 for rtt in self.rtt_us):
            raise ValueError("an RTT is negative")
        if self.duplicates < 0:
            raise ValueError(f"the number of duplicates is negative: {self.duplicates}")


def build_window(
    start_s: int,
    interval_ms: int,
    rtts_us: Mapping[int, int],
    misses: Iterable[Miss],
    *,
    duplicates: int = 0,
    error_bound: ErrorBound | None = None,
) -> Window:
    """Build a window. A slot without RTT and miss becomes NOT_SENT; an RTT takes precedence over a miss."""
    expected = WINDOW_S * 1_000 // interval_ms
    miss_by_slot = {miss.slot: miss for miss in misses}
    return Window(
        start_s=start_s,
        interval_ms=interval_ms,
        rtt_us=tuple(rtts_us.get(slot) for slot in range(expected)),
        misses=tuple(
            miss_by_slot.get(slot, Miss(slot, Failure.NOT_SENT)) for slot in range(expected) if slot not in rtts_us
        ),
        duplicates=duplicates,
        error_bound=error_bound,
    )
