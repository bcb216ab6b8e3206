"""The aims under way: which slot each comes to next, and when.

Rule 1: a slot is passed once, forwards. A wall clock stepping back makes streams wait until it has caught up; stepping
forward makes them pass the slots in between, as not sent.
Rule 2: beyond ``CATCH_UP_MS`` the clock is believed to have been wrong: the stream begins anew at the present slot, and
what lies between is passed without a word (nobody can say what those slots were). Only then may a slot come again,
an hour or more later by every clock but the one that stepped.
Rule 3: a change of aims is a cut at one wall time: streams that go on are not touched, those that end still have the
slots that begin before it, new ones begin with the first slot at or after it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from random import Random

from leadline.errors import ConfigError
from leadline_agent.probe import schedule
from leadline_agent.probe.address_policy import plain
from leadline_agent.probe.results import Aim
from leadline_agent.probe.transport import Lane

#: Sixty windows of "not sent" can be told one by one; a longer hole is a gap of the agent, not a list of slots.
CATCH_UP_MS = 3_600_000


class Stream:
    """One aim on its way from slot to slot."""

    __slots__ = ("address", "aim", "due_wall_ns", "end_slot", "is_cut", "lane", "rtt_ns_max", "slot")

    def __init__(self, aim: Aim, first_slot: int) -> None:
        self.aim = aim
        #: In the kernel's own spelling, as replies come from it.
        self.address: str | None = None
        self.lane: Lane | None = None
        if aim.address is not None:
            self._locate(aim.address)
        #: The next slot to be probed.
        self.slot = first_slot
        #: The first slot that is no longer probed; None: no end in sight.
        self.end_slot = None if aim.slots is None else first_slot + aim.slots
        #: It ends because the aims changed.
        self.is_cut = False
        self.due_wall_ns = 0
        #: The longest RTT seen, late ones included: how long its replies may be under way.
        self.rtt_ns_max = 0

    def _locate(self, address: str) -> None:
        try:
            ip = plain(address)
        except ValueError:
            raise ConfigError(f"target {self.aim.name}", f"{address!r} is not an IP address") from None
        self.address = str(ip)
        settings = self.aim.settings
        self.lane = Lane(
            ip_version=ip.version, dscp=settings.dscp, dont_fragment=settings.dont_fragment, source=self.aim.source
        )

    @property
    def interval_ms(self) -> int:
        return self.aim.settings.interval_ms

    @property
    def ended(self) -> bool:
        return self.end_slot is not None and self.slot >= self.end_slot

    @property
    def next_start_ns(self) -> int:
        """Wall nanoseconds at which its next slot begins: everything before has been given."""
        return schedule.start_ns(self.slot, self.interval_ms)

    def cut(self, wall_ns: int) -> None:
        """Keep only the slots that begin before ``wall_ns``."""
        cut = schedule.first_slot(wall_ns, self.interval_ms)
        self.end_slot = cut if self.end_slot is None else min(cut, self.end_slot)
        self.is_cut = True

    def begin_anew(self, slot: int) -> None:
        """Go to ``slot`` with as many slots left as before."""
        shift = slot - self.slot
        self.slot = slot
        self.end_slot = None if self.end_slot is None else self.end_slot + shift

    def skip_to(self, slot: int) -> range:
        """Pass what lies before ``slot``, at least the present slot. The slots passed, to be given as not sent.

        Empty when the way is longer than ``CATCH_UP_MS``.
        """
        slot = max(slot, self.slot + 1)
        if (slot - self.slot) * self.interval_ms > CATCH_UP_MS:
            self.begin_anew(slot)
            return range(0)
        if self.end_slot is not None:
            slot = min(slot, self.end_slot)
        passed, self.slot = range(self.slot, slot), slot
        return passed


class Agenda:
    """All streams in order of when they are due, on the monotonic clock."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._offset_ns = 0
        #: (due monotonic ns, number to break ties, stream)
        self._due: list[tuple[int, int, Stream]] = []
        self._count = 0
        #: Per name, wall nanoseconds up to which slots were given, where that is in the future.
        self._given_until_ns: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._due)

    def streams(self) -> Iterator[Stream]:
        return (stream for _, _, stream in self._due)

    @property
    def next_due_ns(self) -> int | None:
        """Monotonic; None when there is nothing to send any more."""
        return self._due[0][0] if self._due else None

    def replace(self, aims: Sequence[Aim], cut_wall_ns: int, offset_ns: int) -> None:
        """Make the aims these, from wall ``cut_wall_ns`` on. ``offset_ns`` is wall minus monotonic."""
        self._offset_ns = offset_ns
        wanted = set(aims)
        for stream in self.streams():
            if stream.aim not in wanted:
                stream.cut(cut_wall_ns)
        going_on = {stream.aim for stream in self.streams() if not stream.is_cut}
        self._remember(cut_wall_ns)
        new = [self._new(aim, cut_wall_ns) for aim in aims if aim not in going_on]
        self._rebuild([*self.streams(), *new])

    def _remember(self, wall_ns: int) -> None:
        """Note how far each name has been given, where that is ahead of ``wall_ns``, as after a step back (rule 1)."""
        given = self._given_until_ns | {stream.aim.name: stream.next_start_ns for stream in self.streams()}
        limit_ns = wall_ns + CATCH_UP_MS * schedule.NS_PER_MS
        self._given_until_ns = {name: until_ns for name, until_ns in given.items() if wall_ns < until_ns <= limit_ns}

    def _new(self, aim: Aim, cut_wall_ns: int) -> Stream:
        begin_ns = max(cut_wall_ns, self._given_until_ns.get(aim.name, 0))
        stream = Stream(aim, schedule.first_slot(begin_ns, aim.settings.interval_ms))
        self._place(stream)
        return stream

    def pop_due(self, now_ns: int) -> Stream | None:
        """Take out the longest overdue of the streams due by monotonic ``now_ns``; ``advance`` puts it back."""
        if self._due and self._due[0][0] <= now_ns:
            return heapq.heappop(self._due)[2]
        return None

    def advance(self, stream: Stream) -> None:
        """Put a stream back at its present slot, unless it has ended."""
        if not stream.ended:
            self._place(stream)
            self._push(stream)

    def due_ns(self, stream: Stream) -> int:
        """When it is due, monotonic."""
        return stream.due_wall_ns - self._offset_ns

    def anchor(self, offset_ns: int, now_wall_ns: int) -> bool:
        """Follow a step of the wall clock: slots keep their wall times (rules 1 and 2).

        True when a stream went back to begin anew: its slots come (again) from now on.
        """
        self._offset_ns = offset_ns
        went_back = False
        for stream in self.streams():
            slot = schedule.slot_at(now_wall_ns, stream.interval_ms) + 1
            if (stream.slot - slot) * stream.interval_ms > CATCH_UP_MS:
                stream.begin_anew(slot)
                self._place(stream)
                went_back = True
        self._rebuild(list(self.streams()))
        return went_back

    def clear(self) -> None:
        """Nothing is due any more."""
        self._due.clear()

    def _place(self, stream: Stream) -> None:
        stream.due_wall_ns = schedule.due_ns(stream.slot, stream.interval_ms, self._rng.random())

    def _push(self, stream: Stream) -> None:
        self._count += 1
        heapq.heappush(self._due, (self.due_ns(stream), self._count, stream))

    def _rebuild(self, streams: Iterable[Stream]) -> None:
        self._due.clear()
        for stream in streams:
            if not stream.ended:
                self._push(stream)
