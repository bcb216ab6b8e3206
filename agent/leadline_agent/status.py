"""Status file of a running agent: ``status.json`` in its state directory, written once a minute.

Informational only: replaced as a whole, not synced, and not used for delivery. It does not leave the host, so it is not
part of the wire contract; unknown keys of another version are ignored.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct, field

from leadline.errors import ConfigError
from leadline.wire.batch import ClockState
from leadline_agent.probe.counters import ProberCounters

FILE_NAME = "status.json"
WRITE_INTERVAL_S = 60
#: Two missed writes plus 30 s for a busy disk.
STALE_AFTER_S = 150


class SpoolStatus(Struct, frozen=True, kw_only=True):
    """Usage of the spool; the values of ``spool.usage.SpoolUsage`` at the time of writing."""

    bytes: int = 0
    bytes_max: int = 0
    #: Batches in memory that are not on disk yet.
    pending: int = 0
    unacked: int = 0
    acked: int = 0
    dead: int = 0
    #: Unacknowledged batches that currently fail to read.
    unreadable: int = 0
    oldest_unacked_s: int | None = None
    days_left: float | None = None
    #: Why batches are in memory only; None when the disk works.
    degraded: str | None = None


class AgentStatus(Struct, frozen=True, kw_only=True):
    """State of an agent at one time.

    Times are epoch seconds of its wall clock; None if the event has not happened since the start.
    """

    written_at_s: int
    started_at_s: int
    version: str
    agent: str
    site: str
    #: URL of the active collector.
    collector: str
    process_id: int
    #: None before the first plan.
    plan_version: int | None = None
    targets: int = 0
    #: Targets of the plan that the local policy rejects.
    targets_refused: int = 0
    #: End of the newest complete window.
    sealed_until_s: int | None = None
    last_ack_at_s: int | None = None
    last_error: str | None = None
    last_error_at_s: int | None = None
    #: Consecutive failed uploads.
    failures: int = 0
    #: When the collector last reported that another agent uses this identity.
    cloned_at_s: int | None = None
    spool: SpoolStatus = SpoolStatus()
    #: Counters since the start of the prober process.
    prober: ProberCounters = field(default_factory=ProberCounters)
    clock: ClockState | None = None
    clock_offset_us: int | None = None
    clock_offset_error_us: int | None = None
    #: None for a key that does not expire.
    key_expires_at_s: int | None = None
    #: Last failed key rotation: reason, consecutive failures and time; None without a failure.
    key_error: str | None = None
    key_failures: int = 0
    key_failed_at_s: int | None = None


def write_status(directory: Path, status: AgentStatus) -> None:
    """Replace the status file, mode 0644. Raise OSError on failure; callers log it and continue."""
    path = directory / FILE_NAME
    temporary_path = path.with_suffix(".new")
    temporary_path.write_bytes(msgspec.json.encode(status))
    temporary_path.chmod(0o644)
    temporary_path.replace(path)


def read_status(directory: Path) -> AgentStatus:
    """Return the last status of the agent. Raise ConfigError if the file is missing or invalid."""
    path = directory / FILE_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=AgentStatus)
    except FileNotFoundError:
        raise ConfigError(
            "--state-dir",
            f"{path} does not exist: a running agent writes it within its first minute; is the agent running?",
        ) from None
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(str(path), f"cannot be read: {error}") from error


def compute_age_s(status: AgentStatus, now_s: int) -> int:
    """Return seconds since the status was written, by the wall clock; negative if the clock stepped back."""
    return now_s - status.written_at_s


def is_stale(status: AgentStatus, now_s: int) -> bool:
    """Return whether the agent has stopped writing its status: it is down, it hangs, or its disk is full."""
    return abs(compute_age_s(status, now_s)) > STALE_AFTER_S
