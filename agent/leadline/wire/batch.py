"""Batches and acknowledgements between agent and collector: JSON with one integer version and bounded sizes.

docs/wire.md describes the format.

History of WIRE_VERSION:
  1  2026-11  batches of whole windows, acknowledgement with digest, plan, enrolment
  2  2026-11  gaps, time anchors and the state of the clock in a batch; count and time of receipt in an acknowledgement;
              signatures; expiry of the agent's key in enrolment, rotation and acknowledgement

Rule 1: documents from an agent are decoded strictly: an unknown key is an error, so a typing mistake cannot lose data.
Rule 2: documents from a collector are decoded leniently: an older agent must accept a newer collector's extra keys.
Rule 3: keys are only added; the default of a new key has the same meaning as its absence before.
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

#: Eight times the size of a minute of 1,000 targets at one probe a second (about 120 kB compressed).
BODY_BYTES_MAX = 1 << 20
#: RTT columns compress about 3:1; a ratio above 8:1 is not measurement data.
INFLATED_BYTES_MAX = 8 << 20
#: Windows in one batch. An agent with more targets sends several batches a minute.
SERIES_MAX = 4_096
#: Gaps in one batch; a spool that overflows for days reports its losses in a few records.
GAPS_MAX = 1_024
#: 2100-01-01 in epoch seconds; keeps stored times far from integer overflow.
TIME_S_MAX = 4_102_444_800
INT63_MAX = (1 << 63) - 1
#: Prefix of a source of imported measurements: ``import:`` and a site or agent. The prefix is not valid in a mesh, so
#: imported windows cannot be mistaken for those of an agent.
IMPORT_PREFIX = "import:"

Name = Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
Address = Annotated[str, Meta(min_length=1, max_length=253)]
Hex128 = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
UInt63 = Annotated[int, Meta(ge=0, le=INT63_MAX)]
TimeUs = Annotated[int, Meta(ge=0, le=TIME_S_MAX * 1_000_000)]


class StrictDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Document without unknown keys."""


class TargetWindow(StrictDocument, frozen=True):
    """One window of one target."""

    target: Name
    #: Probed IP address.
    address: Address
    #: Epoch second of the UTC minute.
    start_s: Annotated[int, Meta(ge=0, le=TIME_S_MAX, multiple_of=WINDOW_S)]
    interval_ms: Annotated[int, Meta(ge=10, le=WINDOW_S * 1_000)]
    rtt_us: Annotated[list[RttUs | None], Meta(min_length=1, max_length=SLOTS_MAX)]
    misses: Annotated[list[Miss], Meta(max_length=SLOTS_MAX)] = []
    duplicates: Annotated[int, Meta(ge=0, le=RTT_US_MAX)] = 0
    error_us: ErrorBound | None = None


class GapReason(StrEnum):
    """Reason why expected windows are missing. The list is complete."""

    AGENT_DOWN = "agent_down"
    SPOOL_OVERFLOW = "spool_overflow"
    SPOOL_CORRUPT = "spool_corrupt"
    #: Permanently refused by the collector; the agent stores the batch as a dead letter.
    REFUSED = "refused"
    LOCAL_STALL = "local_stall"
    CLOCK_UNSYNC = "clock_unsync"
    CONFIG_CHANGE = "config_change"
    UNEXPLAINED = "unexplained"


class Gap(StrictDocument, frozen=True):
    """Missing windows of an agent and the reason; [from_s, to_s) in epoch seconds of the windows."""

    reason: GapReason
    from_s: Annotated[int, Meta(ge=0, le=TIME_S_MAX)]
    to_s: Annotated[int, Meta(ge=0, le=TIME_S_MAX)]
    #: Number of lost windows; None if unknown.
    windows: UInt63 | None = None
    #: First and last number of the lost batches, both included, and their epoch; None if no batch was lost.
    first_seq: UInt63 | None = None
    last_seq: UInt63 | None = None
    epoch: Hex128 | None = None


class ClockState(StrictDocument, frozen=True):
    """State of the wall clock on the agent's host, from the kernel (adjtimex(2)); microseconds."""

    synchronised: bool
    #: Remaining offset that NTP is correcting by slewing, signed.
    offset_us: Annotated[int, Meta(ge=-INT63_MAX, le=INT63_MAX)]
    max_error_us: UInt63
    estimated_error_us: UInt63


class Batch(StrictDocument, frozen=True):
    """Windows and gaps of an agent, sent until acknowledged. A batch is immutable and numbered."""

    v: Annotated[int, Meta(ge=1, le=WIRE_VERSION)]
    agent: Name
    #: Random number from the creation of the agent's state; (agent, epoch, seq) identifies a batch uniquely.
    epoch: Hex128
    seq: UInt63
    #: Version of the mesh at the time of the probes.
    mesh_version: UInt63
    #: Wall clock and monotonic clock of the agent when it built the batch.
    sealed_at_us: TimeUs
    monotonic_us: UInt63
    series: Annotated[list[TargetWindow], Meta(max_length=SERIES_MAX)]
    #: CLOCK_BOOTTIME when the batch was built; with ``boot_id`` it orders batches independently of the wall clock.
    boottime_us: UInt63 | None = None
    #: /proc/sys/kernel/random/boot_id.
    boot_id: Annotated[str, Meta(pattern=r"^[0-9A-Za-z-]{1,36}\Z")] | None = None
    clock: ClockState | None = None
    #: Agent's wall clock minus the collector's, measured by the last answered POST, and the error bound of that value.
    clock_offset_us: Annotated[int, Meta(ge=-INT63_MAX, le=INT63_MAX)] | None = None
    clock_offset_error_us: UInt63 | None = None
    gaps: Annotated[list[Gap], Meta(max_length=GAPS_MAX)] = []


class Ack(Struct, frozen=True, kw_only=True):
    """Acknowledgement: the batch with this digest is stored. No other response means "stored"."""

    digest: Sha256
    #: The batch was already stored.
    duplicate: bool = False
    #: Active mesh version; an agent with a different version requests its plan.
    mesh_version: UInt63 = 0
    #: Number of batches of this epoch in the store. A number below that of the acknowledged batches means that the
    #: database was restored from a backup; the agent then resends all batches that are still in its spool.
    #: None from a version 1 collector.
    batches: UInt63 | None = None
    #: Collector's wall clock when it had received the body, microseconds; None from a version 1 collector.
    received_at_us: UInt63 | None = None
    #: Expiry of the key used for the request; None for a key that does not expire.
    key_expires_at_s: UInt63 | None = None


def decode_batch(data: bytes) -> Batch:
    """Decode a batch and validate its windows; raise WireVersionError for a newer version, WireError if invalid."""
    try:
        batch = decode(data, Batch)
    except WireError as error:
        raise _newer_version_error(data) or error from error.__cause__
    _check_duplicate_windows(batch)
    for index, target_window in enumerate(batch.series):
        try:
            _check_target_window(target_window)
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
    """Raise WireError if a target has two windows of the same minute, or an invalid name; check each name once."""
    start_times: dict[str, set[int]] = {}
    for index, window in enumerate(batch.series):
        times = start_times.get(window.target)
        if times is None:
            times = start_times[window.target] = set()
            try:
                check_name("target", window.target)
            except ValueError as error:
                raise WireError(f"series[{index}]", str(error)) from error
        elif window.start_s in times:
            raise WireError(f"series[{index}]", f"second window of {window.target!r} at {window.start_s}")
        times.add(window.start_s)


def _check_target_window(window: TargetWindow) -> None:
    """Raise ValueError if ``to_window`` does; call it only if one of the faster checks fails."""
    if not (
        _is_bound_ordered(window.error_us)
        and (_has_consistent_misses(window) if window.misses else _has_all_rtts(window))
    ):
        to_window(window)


def _is_bound_ordered(bound: ErrorBound | None) -> bool:
    return bound is None or bound.p50_us <= bound.p99_us


def _has_all_rtts(window: TargetWindow) -> bool:
    """True if every slot has an RTT, the usual case. sum() raises TypeError on None and runs at C speed."""
    if len(window.rtt_us) != WINDOW_S * 1_000 // window.interval_ms:
        return False
    try:
        sum(window.rtt_us)  # type: ignore[arg-type]  # the test for None
    except TypeError:
        return False
    return True


def _has_consistent_misses(window: TargetWindow) -> bool:
    if len(window.rtt_us) != WINDOW_S * 1_000 // window.interval_ms:
        return False
    if any(miss.detail is None and miss.failure in FAILURES_WITH_DETAIL for miss in window.misses):
        return False
    return [miss.slot for miss in window.misses] == [slot for slot, rtt in enumerate(window.rtt_us) if rtt is None]


def _check_gap(path: str, gap: Gap) -> None:
    if gap.from_s > gap.to_s:
        raise WireError(path, f"from_s {gap.from_s} is after to_s {gap.to_s}")
    if gap.first_seq is not None and gap.last_seq is not None and gap.first_seq > gap.last_seq:
        raise WireError(path, f"first_seq {gap.first_seq} is after last_seq {gap.last_seq}")


class _Version(Struct):
    """Part of a batch that all versions have in common."""

    v: int


def _newer_version_error(data: bytes) -> WireVersionError | None:
    """Return the error for a batch of a newer wire version; None for other data."""
    try:
        v = decode(data, _Version).v
    except WireError:
        return None
    if v <= WIRE_VERSION:
        return None
    return WireVersionError("v", f"version {v} is newer than {WIRE_VERSION}, the newest supported version")


def to_window(target_window: TargetWindow) -> Window:
    """Convert to the window of the model; raise ValueError if it is invalid."""
    return Window(
        start_s=target_window.start_s,
        interval_ms=target_window.interval_ms,
        rtt_us=tuple(target_window.rtt_us),
        misses=tuple(target_window.misses),
        duplicates=target_window.duplicates,
        error_bound=target_window.error_us,
    )


def to_target_window(target: str, address: str, window: Window) -> TargetWindow:
    """Convert a window to its wire form."""
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
    """Yield the windows of a decoded batch, each with its wire form."""
    for target_window in batch.series:
        yield target_window, to_window(target_window)


def compute_digest(body: bytes) -> str:
    """Return the SHA-256 of the compressed body; the acknowledgement must contain it."""
    return hashlib.sha256(body).hexdigest()


def is_imported(source: str) -> bool:
    """Return True if the windows of a source were imported from a file, not sent by an agent."""
    return source.startswith(IMPORT_PREFIX)
