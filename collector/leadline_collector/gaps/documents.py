"""JSON documents of gaps. Times are epoch seconds, with ISO 8601 UTC beside them."""

from __future__ import annotations

from msgspec import Struct, field

from leadline.wire.batch import GapReason


class GapResponse(Struct, frozen=True, kw_only=True):
    """A gap in an agent's data."""

    start_s: int = field(name="from")
    start_iso: str = field(name="from_iso")
    end_s: int = field(name="to")
    end_iso: str = field(name="to_iso")
    reason: GapReason
    #: ``agent`` if the agent reported it, ``collector`` if the collector detected it.
    source: str
    #: Targets with missing windows; null for all targets of the agent.
    targets: list[str] | None
    #: Windows discarded or in quarantine; null if not counted.
    windows: int | None
    #: First and last batch number of the gap, inclusive; null if unknown or without a batch.
    epoch: str | None
    first_seq: int | None
    last_seq: int | None
    #: Time it was recorded; null if it was detected for this response.
    noted_at: int | None
    #: JSON path of the first quarantined window in the batch; null without quarantine.
    path: str | None


class GapListResponse(Struct, frozen=True, kw_only=True):
    """The gaps in an agent's data of a period, in order of time."""

    agent: str
    start_s: int = field(name="from")
    start_iso: str = field(name="from_iso")
    end_s: int = field(name="to")
    end_iso: str = field(name="to_iso")
    gaps: list[GapResponse]
    #: ``from`` of the next request if ``limit`` truncated the list; null if it is complete.
    next_from: int | None
