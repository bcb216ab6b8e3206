"""Schedules of the targets: next slot and due time of each.

Rule 1: each slot is visited once, in ascending order. After a step back of the wall clock, a schedule waits until the
clock catches up. After a step forward, it reports the slots in between as not sent.
Rule 2: after a step of more than ``CATCH_UP_MS_MAX``, the clock was wrong before. The schedule restarts at the current
slot and reports nothing for the slots in between. Only in this case can a slot repeat, an hour or more later by every
clock except the one that stepped.
Rule 3: a change of targets takes effect at one wall time. Unchanged schedules continue. Removed ones keep the slots
that begin before that time. New ones start with the first slot at or after it.
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

#: At most sixty windows are reported as "not sent". A longer hole is a gap of the agent.
CATCH_UP_MS_MAX = 3_600_000


class ProbeSchedule:
    """The slots of one target, in order."""

    __slots__ = ("address", "due_wall_ns", "end_slot", "is_truncated", "rtt_ns_max", "slot", "socket_key", "target")

    def __init__(self, target: ProbeTarget, first_slot: int) -> None:
        self.target = target
        #: In the kernel's canonical form, as in the source address of replies.
        self.address: str | None = None
        self.socket_key: SocketKey | None = None
        if target.address is not None:
            self._set_address(target.address)
        #: Next slot to probe.
        self.slot = first_slot
        #: First slot after the last one to probe; None without an end.
        self.end_slot = None if target.slots is None else first_slot + target.slots
        #: A change of targets set the end.
        self.is_truncated = False
        self.due_wall_ns = 0
        #: Longest measured RTT, including late replies: the time a reply can be in transit.
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
        """Wall nanoseconds of the start of the next slot. All earlier slots were reported."""
        return schedule.compute_slot_start_ns(self.slot, self.interval_ms)

    def truncate(self, wall_ns: int) -> None:
        """Keep only the slots that begin before ``wall_ns``."""
        end_slot = schedule.find_first_slot(wall_ns, self.interval_ms)
        self.end_slot = end_slot if self.end_slot is None else min(end_slot, self.end_slot)
        self.is_truncated = True

    def restart_at(self, slot: int) -> None:
        """Continue at ``slot`` with the same number of remaining slots."""
        shift = slot - self.slot
        self.slot = slot
        self.end_slot = None if self.end_slot is None else self.end_slot + shift

    def skip_to(self, slot: int) -> range:
        """Skip to ``slot``, at least by one slot; return the skipped slots, to report as not sent.

        The range is empty if the distance is longer than ``CATCH_UP_MS_MAX``.
        """
        slot = max(slot, self.slot + 1)
        if (slot - self.slot) * self.interval_ms > CATCH_UP_MS_MAX:
            self.restart_at(slot)
            return range(0)
        if self.end_slot is not None:
            slot = min(slot, self.end_slot)
        skipped, self.slot = range(self.slot, slot), slot
        return skipped


class DueQueue:
    """Schedules in order of their due time on the monotonic clock."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._wall_offset_ns = 0
        #: (due monotonic ns, tie-break number, schedule)
        self._heap: list[tuple[int, int, ProbeSchedule]] = []
        self._push_count = 0
        #: Wall nanoseconds up to which slots were reported, by target name. Only times in the future.
        self._reported_until_ns: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._heap)

    def iter_schedules(self) -> Iterator[ProbeSchedule]:
        return (probe_schedule for _, _, probe_schedule in self._heap)

    @property
    def next_due_ns(self) -> int | None:
        """Monotonic nanoseconds of the next send; None if the queue is empty."""
        return self._heap[0][0] if self._heap else None

    def replace_targets(self, targets: Sequence[ProbeTarget], cutover_wall_ns: int, offset_ns: int) -> None:
        """Replace the targets from wall ``cutover_wall_ns``. ``offset_ns`` is wall minus monotonic time."""
        self._wall_offset_ns = offset_ns
        target_set = set(targets)
        for probe_schedule in self.iter_schedules():
            if probe_schedule.target not in target_set:
                probe_schedule.truncate(cutover_wall_ns)
        unchanged = {
            probe_schedule.target for probe_schedule in self.iter_schedules() if not probe_schedule.is_truncated
        }
        self._record_reported_slots(cutover_wall_ns)
        new = [self._create_schedule(target, cutover_wall_ns) for target in targets if target not in unchanged]
        self._rebuild([*self.iter_schedules(), *new])

    def _record_reported_slots(self, wall_ns: int) -> None:
        """Record up to which time each target was reported, if that is after ``wall_ns`` (a step back, rule 1)."""
        reported_until_ns = self._reported_until_ns | {
            probe_schedule.target.name: probe_schedule.next_start_ns for probe_schedule in self.iter_schedules()
        }
        limit_ns = wall_ns + CATCH_UP_MS_MAX * schedule.NS_PER_MS
        self._reported_until_ns = {
            name: until_ns for name, until_ns in reported_until_ns.items() if wall_ns < until_ns <= limit_ns
        }

    def _create_schedule(self, target: ProbeTarget, cutover_wall_ns: int) -> ProbeSchedule:
        start_ns = max(cutover_wall_ns, self._reported_until_ns.get(target.name, 0))
        probe_schedule = ProbeSchedule(target, schedule.find_first_slot(start_ns, target.settings.interval_ms))
        self._draw_due_time(probe_schedule)
        return probe_schedule

    def pop_due(self, now_ns: int) -> ProbeSchedule | None:
        """Remove and return the most overdue schedule at monotonic ``now_ns``; ``reschedule`` adds it again."""
        if self._heap and self._heap[0][0] <= now_ns:
            return heapq.heappop(self._heap)[2]
        return None

    def reschedule(self, probe_schedule: ProbeSchedule) -> None:
        """Add a schedule at its current slot, unless it has ended."""
        if not probe_schedule.is_finished:
            self._draw_due_time(probe_schedule)
            self._push(probe_schedule)

    def compute_due_ns(self, probe_schedule: ProbeSchedule) -> int:
        """Return the due time in monotonic nanoseconds."""
        return probe_schedule.due_wall_ns - self._wall_offset_ns

    def apply_clock_step(self, offset_ns: int, now_wall_ns: int) -> bool:
        """Apply a step of the wall clock: slots keep their wall times (rules 1 and 2).

        Return True if a schedule restarted at an earlier slot: its slots repeat from now.
        """
        self._wall_offset_ns = offset_ns
        has_restarted = False
        for probe_schedule in self.iter_schedules():
            slot = schedule.find_slot(now_wall_ns, probe_schedule.interval_ms) + 1
            if (probe_schedule.slot - slot) * probe_schedule.interval_ms > CATCH_UP_MS_MAX:
                probe_schedule.restart_at(slot)
                self._draw_due_time(probe_schedule)
                has_restarted = True
        self._rebuild(list(self.iter_schedules()))
        return has_restarted

    def clear(self) -> None:
        """Remove all schedules."""
        self._heap.clear()

    def _draw_due_time(self, probe_schedule: ProbeSchedule) -> None:
        probe_schedule.due_wall_ns = schedule.compute_due_ns(
            probe_schedule.slot, probe_schedule.interval_ms, self._rng.random()
        )

    def _push(self, probe_schedule: ProbeSchedule) -> None:
        self._push_count += 1
        heapq.heappush(self._heap, (self.compute_due_ns(probe_schedule), self._push_count, probe_schedule))

    def _rebuild(self, schedules: Iterable[ProbeSchedule]) -> None:
        self._heap.clear()
        for probe_schedule in schedules:
            if not probe_schedule.is_finished:
                self._push(probe_schedule)
