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
from leadline_agent.probe.address_policy import parse_address
from leadline_agent.probe.results import ProbeTarget
from leadline_agent.probe.transport import SocketKey

#: Sixty windows of "not sent" can be told one by one; a longer hole is a gap of the agent, not a list of slots.
CATCH_UP_MS_MAX = 3_600_000


class ProbeSchedule:
    """One aim on its way from slot to slot."""

    __slots__ = ("address", "due_wall_ns", "end_slot", "is_truncated", "rtt_ns_max", "slot", "socket_key", "target")

    def __init__(self, target: ProbeTarget, first_slot: int) -> None:
        self.target = target
        #: In the kernel's own spelling, as replies come from it.
        self.address: str | None = None
        self.socket_key: SocketKey | None = None
        if target.address is not None:
            self._set_address(target.address)
        #: The next slot to be probed.
        self.slot = first_slot
        #: The first slot that is no longer probed; None: no end in sight.
        self.end_slot = None if target.slots is None else first_slot + target.slots
        #: It ends because the aims changed.
        self.is_truncated = False
        self.due_wall_ns = 0
        #: The longest RTT seen, late ones included: how long its replies may be under way.
        self.rtt_ns_max = 0

    def _set_address(self, address: str) -> None:
        try:
            ip = parse_address(address)
        except ValueError:
            raise ConfigError(f"target {self.target.name}", f"{address!r} is not an IP address") from None
        self.address = str(ip)
        settings = self.target.settings
        self.socket_key = SocketKey(
            ip_version=ip.version, dscp=settings.dscp, dont_fragment=settings.dont_fragment, source=self.target.source
        )

    @property
    def interval_ms(self) -> int:
        return self.target.settings.interval_ms

    @property
    def is_finished(self) -> bool:
        return self.end_slot is not None and self.slot >= self.end_slot

    @property
    def next_start_ns(self) -> int:
        """Wall nanoseconds at which its next slot begins: everything before has been given."""
        return schedule.compute_slot_start_ns(self.slot, self.interval_ms)

    def truncate(self, wall_ns: int) -> None:
        """Keep only the slots that begin before ``wall_ns``."""
        cut = schedule.find_first_slot(wall_ns, self.interval_ms)
        self.end_slot = cut if self.end_slot is None else min(cut, self.end_slot)
        self.is_truncated = True

    def restart_at(self, slot: int) -> None:
        """Go to ``slot`` with as many slots left as before."""
        shift = slot - self.slot
        self.slot = slot
        self.end_slot = None if self.end_slot is None else self.end_slot + shift

    def skip_to(self, slot: int) -> range:
        """Pass what lies before ``slot``, at least the present slot. The slots passed, to be given as not sent.

        Empty when the way is longer than ``CATCH_UP_MS``.
        """
        slot = max(slot, self.slot + 1)
        if (slot - self.slot) * self.interval_ms > CATCH_UP_MS_MAX:
            self.restart_at(slot)
            return range(0)
        if self.end_slot is not None:
            slot = min(slot, self.end_slot)
        passed, self.slot = range(self.slot, slot), slot
        return passed


class DueQueue:
    """All streams in order of when they are due, on the monotonic clock."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._wall_offset_ns = 0
        #: (due monotonic ns, number to break ties, stream)
        self._heap: list[tuple[int, int, ProbeSchedule]] = []
        self._push_count = 0
        #: Per name, wall nanoseconds up to which slots were given, where that is in the future.
        self._reported_until_ns: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._heap)

    def iter_schedules(self) -> Iterator[ProbeSchedule]:
        return (stream for _, _, stream in self._heap)

    @property
    def next_due_ns(self) -> int | None:
        """Monotonic; None when there is nothing to send any more."""
        return self._heap[0][0] if self._heap else None

    def replace_targets(self, targets: Sequence[ProbeTarget], cutover_wall_ns: int, offset_ns: int) -> None:
        """Make the aims these, from wall ``cut_wall_ns`` on. ``offset_ns`` is wall minus monotonic."""
        self._wall_offset_ns = offset_ns
        wanted = set(targets)
        for stream in self.iter_schedules():
            if stream.target not in wanted:
                stream.truncate(cutover_wall_ns)
        going_on = {stream.target for stream in self.iter_schedules() if not stream.is_truncated}
        self._record_reported_slots(cutover_wall_ns)
        new = [self._create_schedule(aim, cutover_wall_ns) for aim in targets if aim not in going_on]
        self._rebuild([*self.iter_schedules(), *new])

    def _record_reported_slots(self, wall_ns: int) -> None:
        """Note how far each name has been given, where that is ahead of ``wall_ns``, as after a step back (rule 1)."""
        given = self._reported_until_ns | {stream.target.name: stream.next_start_ns for stream in self.iter_schedules()}
        limit_ns = wall_ns + CATCH_UP_MS_MAX * schedule.NS_PER_MS
        self._reported_until_ns = {name: until_ns for name, until_ns in given.items() if wall_ns < until_ns <= limit_ns}

    def _create_schedule(self, aim: ProbeTarget, cut_wall_ns: int) -> ProbeSchedule:
        begin_ns = max(cut_wall_ns, self._reported_until_ns.get(aim.name, 0))
        stream = ProbeSchedule(aim, schedule.find_first_slot(begin_ns, aim.settings.interval_ms))
        self._draw_due_time(stream)
        return stream

    def pop_due(self, now_ns: int) -> ProbeSchedule | None:
        """Take out the longest overdue of the streams due by monotonic ``now_ns``; ``advance`` puts it back."""
        if self._heap and self._heap[0][0] <= now_ns:
            return heapq.heappop(self._heap)[2]
        return None

    def reschedule(self, probe_schedule: ProbeSchedule) -> None:
        """Put a stream back at its present slot, unless it has ended."""
        if not probe_schedule.is_finished:
            self._draw_due_time(probe_schedule)
            self._push(probe_schedule)

    def compute_due_ns(self, probe_schedule: ProbeSchedule) -> int:
        """When it is due, monotonic."""
        return probe_schedule.due_wall_ns - self._wall_offset_ns

    def apply_clock_step(self, offset_ns: int, now_wall_ns: int) -> bool:
        """Follow a step of the wall clock: slots keep their wall times (rules 1 and 2).

        True when a stream went back to begin anew: its slots come (again) from now on.
        """
        self._wall_offset_ns = offset_ns
        went_back = False
        for stream in self.iter_schedules():
            slot = schedule.find_slot(now_wall_ns, stream.interval_ms) + 1
            if (stream.slot - slot) * stream.interval_ms > CATCH_UP_MS_MAX:
                stream.restart_at(slot)
                self._draw_due_time(stream)
                went_back = True
        self._rebuild(list(self.iter_schedules()))
        return went_back

    def clear(self) -> None:
        """Nothing is due any more."""
        self._heap.clear()

    def _draw_due_time(self, stream: ProbeSchedule) -> None:
        stream.due_wall_ns = schedule.compute_due_ns(stream.slot, stream.interval_ms, self._rng.random())

    def _push(self, stream: ProbeSchedule) -> None:
        self._push_count += 1
        heapq.heappush(self._heap, (self.compute_due_ns(stream), self._push_count, stream))

    def _rebuild(self, streams: Iterable[ProbeSchedule]) -> None:
        self._heap.clear()
        for stream in streams:
            if not stream.is_finished:
                self._push(stream)
