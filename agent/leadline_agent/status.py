"""What a running agent writes about itself once a minute, and who asks reads: ``status.json`` in its state directory.

It is news and no evidence: it is replaced as a whole and not synced, and nothing that is delivered depends on it. It
does not leave the host, so it is no wire contract; keys that another version wrote are passed over.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct, field

from leadline.errors import ConfigError
from leadline.wire import batch as wire
from leadline_agent.probe.counters import ProberCounters

FILE_NAME = "status.json"
WRITE_INTERVAL_S = 60
#: Two writings missed, and half a minute for a busy disk.
STALE_AFTER_S = 150


class SpoolStatus(Struct, frozen=True, kw_only=True):
    """How full the spool is; ``usage.Usage`` at the time of writing."""

    bytes: int = 0
    bytes_max: int = 0
    #: Sealed and not on disk yet.
    pending: int = 0
    unacked: int = 0
    acked: int = 0
    dead: int = 0
    #: Waiting batches that the disk does not read for the moment.
    unreadable: int = 0
    oldest_unacked_s: int | None = None
    days_left: float | None = None
    #: Why batches are held in memory only; None when the disk works.
    degraded: str | None = None


class AgentStatus(Struct, frozen=True, kw_only=True):
    """An agent at one moment. Times are epoch seconds by its wall clock; None: has not happened since its start."""

    written_at_s: int
    started_at_s: int
    version: str
    agent: str
    site: str
    #: The collector in use.
    collector: str
    process_id: int
    #: None before the first plan.
    plan_version: int | None = None
    targets: int = 0
    #: What the local policy left out of the plan.
    targets_refused: int = 0
    #: End of the last window that was sealed.
    sealed_until_s: int | None = None
    last_ack_at_s: int | None = None
    last_error: str | None = None
    last_error_at_s: int | None = None
    #: Posts that failed since the last one that did not.
    failures: int = 0
    #: When the collector last said that another agent uses this identity.
    cloned_at_s: int | None = None
    spool: SpoolStatus = SpoolStatus()
    #: Counted up since the probing process began.
    prober: ProberCounters = field(default_factory=ProberCounters)
    clock: wire.ClockState | None = None
    clock_offset_us: int | None = None
    clock_offset_error_us: int | None = None
    #: None for a key without an end.
    key_expires_at_s: int | None = None
    #: Why the key could not be rotated when it was time, how often in a row, and when last; None: it did not fail.
    key_error: str | None = None
    key_failures: int = 0
    key_failed_at_s: int | None = None


def write_status(directory: Path, status: AgentStatus) -> None:
    """Replace the file, readable by all who may enter the directory. OSError where that fails: log it and go on."""
    path = directory / FILE_NAME
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(status))
    new.chmod(0o644)
    new.replace(path)


def read_status(directory: Path) -> AgentStatus:
    """What the agent wrote last; ConfigError says why there is nothing to read."""
    path = directory / FILE_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=AgentStatus)
    except FileNotFoundError:
        raise ConfigError(
            "--state-dir", f"{path} is not there: an agent writes it in its first minute; is one running there?"
        ) from None
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(str(path), f"cannot be read: {error}") from error


def compute_age_s(status: AgentStatus, now_s: int) -> int:
    """Seconds since it was written, by the wall clock; negative when that stepped back."""
    return now_s - status.written_at_s


def is_stale(status: AgentStatus, now_s: int) -> bool:
    """True when the agent has stopped writing: it is down, hangs, or its disk is full."""
    return abs(compute_age_s(status, now_s)) > STALE_AFTER_S
