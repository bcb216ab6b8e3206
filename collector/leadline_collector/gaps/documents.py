"""JSON documents of gaps. Times are epoch seconds, with ISO 8601 UTC beside them."""

from __future__ import annotations

from msgspec import Struct, field

from leadline.wire.batch import GapReason


class GapAnswer(Struct, frozen=True, kw_only=True):
    """A hole in what an agent delivered."""

    start_s: int = field(name="from")
    start_iso: str = field(name="from_iso")
    end_s: int = field(name="to")
    end_iso: str = field(name="to_iso")
    reason: GapReason
    #: Who says so: ``agent`` told it, ``collector`` found it.
    source: str
    #: The targets that miss windows; null for all of the agent.
    targets: list[str] | None
    #: Windows given up or not believed; null where nobody counted.
    windows: int | None
    #: The batches it is about, both included; null where there are none or nobody knows.
    epoch: str | None
    first_seq: int | None
    last_seq: int | None
    #: When it was noted; null if it was found for this answer.
    noted_at: int | None
    #: Where in the batch stands what was not believed; null for nothing.
    path: str | None


class GapsAnswer(Struct, frozen=True, kw_only=True):
    """The holes in what an agent delivered of a period, in order of time."""

    agent: str
    start_s: int = field(name="from")
    start_iso: str = field(name="from_iso")
    end_s: int = field(name="to")
    end_iso: str = field(name="to_iso")
    gaps: list[GapAnswer]
    #: Where to go on if ``limit`` cut the answer; null if it is complete.
    next_from: int | None
