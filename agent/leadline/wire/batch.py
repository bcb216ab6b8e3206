"""What agent and collector say to each other: JSON, one integer version, every size bounded. docs/wire.md explains it.

History of WIRE_VERSION:
  1  2026-11  batches of whole windows, acknowledgement with digest, plan, enrolment
  2  2026-11  gaps, time anchors and the state of the clock in a batch; count and time of receipt in an acknowledgement;
              signatures; the end of the agent's key in enrolment, rotation and acknowledgement

Rule 1: what an agent sends is decoded strictly: an unknown key is an error, so a typing mistake cannot lose data.
Rule 2: what a collector answers is decoded leniently: an older agent must survive a newer collector's extra keys.
Rule 3: keys are only ever added, with a default that means what their absence meant.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from leadline.errors import WireError, WireVersionError
from leadline.model import (
    FAILURES_WITH_DETAIL,
    NAME_LENGTH_MAX,
    RTT_US_MAX,
    SLOTS_MAX,
    WINDOW_S,
    ErrorBound,
    Miss,
    RttUs,
    Window,
    check_name,
)
from leadline.wire.codec import decode

WIRE_VERSION = 2

#: A minute of 1,000 targets at one probe a second is about 120 kB compressed; eight times that is head room.
BODY_BYTES_MAX = 1 << 20
#: RTT columns compress about 3:1; more than 8:1 is not measurement data.
INFLATED_BYTES_MAX = 8 << 20
#: Windows in one batch. An agent with more targets sends several batches a minute.
SERIES_MAX = 4_096
#: Gaps in one batch: a spool that overflowed for days tells of its drops in a few records.
GAPS_MAX = 1_024
#: 2100-01-01, in seconds: keeps every stored time far from overflow.
TIME_S_MAX = 4_102_444_800
INT63_MAX = (1 << 63) - 1
#: Begins the name of a source whose measurements were imported: ``import:`` and a site or agent. No mesh can have such
#: a name, so nothing imported is ever taken for what an agent measured.
IMPORT_PREFIX = "import:"

Name = Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
Address = Annotated[str, Meta(min_length=1, max_length=253)]
Hex128 = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
UInt63 = Annotated[int, Meta(ge=0, le=INT63_MAX)]
TimeUs = Annotated[int, Meta(ge=0, le=TIME_S_MAX * 1_000_000)]


class StrictDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document that must say nothing we do not know."""


class TargetWindow(StrictDocument, frozen=True):
    """One window of one target."""

    target: Name
    #: The IP address that was probed.
    address: Address
    #: Epoch second of the UTC minute.
    start_s: Annotated[int, Meta(ge=0, le=TIME_S_MAX, multiple_of=WINDOW_S)]
    interval_ms: Annotated[int, Meta(ge=10, le=WINDOW_S * 1_000)]
    rtt_us: Annotated[list[RttUs | None], Meta(min_length=1, max_length=SLOTS_MAX)]
    misses: Annotated[list[Miss], Meta(max_length=SLOTS_MAX)] = []
    duplicates: Annotated[int, Meta(ge=0, le=RTT_US_MAX)] = 0
    error_us: ErrorBound | None = None


class GapReason(StrEnum):
    """Why windows are missing that should be there. The list is closed."""

    AGENT_DOWN = "agent_down"
    SPOOL_OVERFLOW = "spool_overflow"
    SPOOL_CORRUPT = "spool_corrupt"
    #: Refused by the collector for ever; the agent keeps the bytes in its dead letters.
    REFUSED = "refused"
    LOCAL_STALL = "local_stall"
    CLOCK_UNSYNC = "clock_unsync"
    CONFIG_CHANGE = "config_change"
    UNEXPLAINED = "unexplained"


class Gap(StrictDocument, frozen=True):
    """A hole in what an agent delivers, and why; [from_s, to_s) in epoch seconds of its windows."""

    reason: GapReason
    from_s: Annotated[int, Meta(ge=0, le=TIME_S_MAX)]
    to_s: Annotated[int, Meta(ge=0, le=TIME_S_MAX)]
    #: Windows given up; None where nobody can tell.
    windows: UInt63 | None = None
    #: Numbers of the batches given up, both included, and their epoch; None where the hole has none.
    first_seq: UInt63 | None = None
    last_seq: UInt63 | None = None
    epoch: Hex128 | None = None


class ClockState(StrictDocument, frozen=True):
    """What the kernel of the agent's host says of its wall clock (adjtimex(2)); microseconds."""

    synchronised: bool
    #: Offset NTP is slewing away, signed.
    offset_us: Annotated[int, Meta(ge=-INT63_MAX, le=INT63_MAX)]
    max_error_us: UInt63
    estimated_error_us: UInt63


class Batch(StrictDocument, frozen=True):
    """What an agent seals at the end of a window and sends until it is acknowledged: immutable and numbered."""

    v: Annotated[int, Meta(ge=1, le=WIRE_VERSION)]
    agent: Name
    #: Drawn at random when the agent's state was made; (agent, epoch, seq) names a batch for ever.
    epoch: Hex128
    seq: UInt63
    #: Version of the mesh the probes were sent under.
    mesh_version: UInt63
    #: Wall clock and monotonic clock of the agent at the moment of sealing.
    sealed_at_us: TimeUs
    monotonic_us: UInt63
    series: Annotated[list[TargetWindow], Meta(max_length=SERIES_MAX)]
    #: CLOCK_BOOTTIME at the moment of sealing; with ``boot_id`` it orders batches whatever the wall clock did.
    boottime_us: UInt63 | None = None
    #: /proc/sys/kernel/random/boot_id.
    boot_id: Annotated[str, Meta(pattern=r"^[0-9A-Za-z-]{1,36}\Z")] | None = None
    clock: ClockState | None = None
    #: Agent's wall clock minus collector's, as the last answered POST showed it, and how uncertain that is.
    clock_offset_us: Annotated[int, Meta(ge=-INT63_MAX, le=INT63_MAX)] | None = None
    clock_offset_error_us: UInt63 | None = None
    gaps: Annotated[list[Gap], Meta(max_length=GAPS_MAX)] = []


class Ack(Struct, frozen=True, kw_only=True):
    """The only answer that means "stored": the digest of the very bytes that were sent."""

    digest: Sha256
    #: The batch was already stored.
    duplicate: bool = False
    #: The mesh in force; an agent that has another one asks for its plan.
    mesh_version: UInt63 = 0
    #: Batches of this epoch the store has. Fewer than the agent had acknowledged means that the database was restored
    #: from a backup: the agent sends again what it still keeps. None from a collector of version 1.
    batches: UInt63 | None = None
    #: The collector's wall clock when the body was there, microseconds; None from a collector of version 1.
    received_at_us: UInt63 | None = None
    #: When the key that sent the batch ends; None for a key without an end.
    key_expires_at_s: UInt63 | None = None


def decode_batch(data: bytes) -> Batch:
    """A batch whose every window is valid; WireVersionError if it is of a newer version, WireError otherwise."""
    try:
        batch = decode(data, Batch)
    except WireError as error:
        raise _newer_version_error(data) or error from error.__cause__
    _check_duplicate_windows(batch)
    for index, one in enumerate(batch.series):
        try:
            _check_series(one)
        except ValueError as error:
            raise WireError(f"series[{index}]", str(error)) from error
    for index, gap in enumerate(batch.gaps):
        _check_gap(f"gaps[{index}]", gap)
    try:
        check_name("agent", batch.agent.removeprefix(IMPORT_PREFIX))
    except ValueError as error:
        raise WireError("agent", str(error)) from error
    return batch


def _check_duplicate_windows(batch: Batch) -> None:
    """A minute of a target may be there once; each name is looked at once, however often it stands there."""
    seen: dict[str, set[int]] = {}
    for index, one in enumerate(batch.series):
        times = seen.get(one.target)
        if times is None:
            times = seen[one.target] = set()
            try:
                check_name("target", one.target)
            except ValueError as error:
                raise WireError(f"series[{index}]", str(error)) from error
        elif one.start_s in times:
            raise WireError(f"series[{index}]", f"second window of {one.target!r} at {one.start_s}")
        times.add(one.start_s)


def _check_series(one: TargetWindow) -> None:
    """ValueError where ``window`` would raise it; what the types above have checked is not checked again."""
    if not (_is_bound_ordered(one.error_us) and (_has_consistent_misses(one) if one.misses else _has_all_rtts(one))):
        to_window(one)


def _is_bound_ordered(bound: ErrorBound | None) -> bool:
    return bound is None or bound.p50_us <= bound.p99_us


def _has_all_rtts(one: TargetWindow) -> bool:
    """True if every slot has an RTT, which is nearly always: told by sum(), which fails on None, at C speed."""
    if len(one.rtt_us) != WINDOW_S * 1_000 // one.interval_ms:
        return False
    try:
        sum(one.rtt_us)  # type: ignore[arg-type]  # that is the question
    except TypeError:
        return False
    return True


def _has_consistent_misses(one: TargetWindow) -> bool:
    if len(one.rtt_us) != WINDOW_S * 1_000 // one.interval_ms:
        return False
    if any(miss.detail is None and miss.failure in FAILURES_WITH_DETAIL for miss in one.misses):
        return False
    return [miss.slot for miss in one.misses] == [slot for slot, rtt in enumerate(one.rtt_us) if rtt is None]


def _check_gap(path: str, gap: Gap) -> None:
    if gap.from_s > gap.to_s:
        raise WireError(path, f"from_s {gap.from_s} is after to_s {gap.to_s}")
    if gap.first_seq is not None and gap.last_seq is not None and gap.first_seq > gap.last_seq:
        raise WireError(path, f"first_seq {gap.first_seq} is after last_seq {gap.last_seq}")


class _Version(Struct):
    """As much of a batch as every version has."""

    v: int


def _newer_version_error(data: bytes) -> WireVersionError | None:
    """The error of a batch that a later version of leadline wrote; None if it is none."""
    try:
        v = decode(data, _Version).v
    except WireError:
        return None
    if v <= WIRE_VERSION:
        return None
    return WireVersionError("v", f"version {v} is newer than {WIRE_VERSION}, the newest that is understood here")


def to_window(series: TargetWindow) -> Window:
    """The window a series carries; ValueError where it is none."""
    return Window(
        start_s=series.start_s,
        interval_ms=series.interval_ms,
        rtt_us=tuple(series.rtt_us),
        misses=tuple(series.misses),
        duplicates=series.duplicates,
        error_bound=series.error_us,
    )


def to_target_window(target: str, address: str, window: Window) -> TargetWindow:
    """A window as it travels."""
    return TargetWindow(
        target=target,
        address=address,
        start_s=window.start_s,
        interval_ms=window.interval_ms,
        rtt_us=list(window.rtt_us),
        misses=list(window.misses),
        duplicates=window.duplicates,
        error_us=window.error_bound,
    )


def iter_windows(batch: Batch) -> Iterator[tuple[TargetWindow, Window]]:
    """The windows of a decoded batch, each beside the series it came in."""
    for one in batch.series:
        yield one, to_window(one)


def compute_digest(body: bytes) -> str:
    """SHA-256 of the bytes as they travel, compressed: what an acknowledgement must repeat."""
    return hashlib.sha256(body).hexdigest()


def is_imported(source: str) -> bool:
    """True if a source of windows is no agent: its windows were brought in from a file."""
    return source.startswith(IMPORT_PREFIX)
