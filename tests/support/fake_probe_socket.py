"""A network on paper: the ``EchoSocket`` port, with a clock that jumps and a fate decided for every probe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from leadline.clock import make_rng
from leadline.model import ProbeSettings
from leadline_agent.probe.engine import Prober
from leadline_agent.probe.results import ProbeResult, ProbeTarget
from leadline_agent.probe.transport import IcmpError, Reply, SocketKey, TxTimestamp
from tests.support.clock import FakeClock
from tests.support.probing import has_finished

MS = 1_000_000
#: From the call to the departure, as the kernel stamps it.
TX_DELAY_NS = 700
#: From the stamp of a bridge or VLAN to the stamp of the card below it.
NEXT_DEVICE_NS = 40_000
TARGET = "198.51.100.7"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of one probe."""

    #: The errno of a send that is refused.
    send_errno: int = 0
    #: When replies arrive, nanoseconds after the departure; several are duplicates, none is a loss.
    replies_ns: tuple[int, ...] = ()
    #: An ICMP error, type and code, that comes at once.
    icmp_error: tuple[int, int] | None = None
    #: The router quotes the index too, and not only the first 8 bytes.
    quotes_index: bool = True
    #: The kernel stamps departure and arrival.
    is_stamped: bool = True
    #: Who answers, if not the target.
    source: str | None = None


@dataclass(slots=True)
class Packet:
    """A request on its way, or an answer."""

    at_ns: int
    reply: Reply


@dataclass(slots=True)
class FakeNetwork:
    """Every lane's socket at once: sends go in, and what the fates say comes out when the clock has come to it."""

    clock: FakeClock
    fate: Callable[[int], Fate]
    sent: list[tuple[int, str, int]] = field(default_factory=list)
    dropped: int = 0
    #: Requests since the queues were read, and the most there have been.
    unread_count: int = 0
    unread_count_max: int = 0
    has_rx_timestamps: bool = True
    is_closed: bool = False
    _in_flight: list[Packet] = field(default_factory=list)
    _error_queue: list[TxTimestamp | IcmpError] = field(default_factory=list)
    #: For the read after the next one.
    _later_notices: list[TxTimestamp | IcmpError] = field(default_factory=list)

    def open(self, lane: SocketKey, cookie: bytes) -> FakeNetwork:
        return self

    def fileno(self) -> int:
        raise AssertionError("nobody waits on a socket whose arrivals are stamped")

    def send(self, index: int, address: str, payload_bytes: int) -> int:
        fate = self.fate(index)
        if fate.send_errno:
            return fate.send_errno
        self.unread_count += 1
        self.unread_count_max = max(self.unread_count_max, self.unread_count)
        self.sent.append((index, address, self.clock.wall_ns() + TX_DELAY_NS))
        if fate.is_stamped:
            self._note_departures(index, self.clock.wall_ns() + TX_DELAY_NS)
        if fate.icmp_error is not None:
            quoted = index if fate.quotes_index else None
            # Twice, as from two routers on the way.
            self._error_queue += [IcmpError(quoted, index & 0xFFFF, address, *fate.icmp_error)] * 2
        now_ns = self.clock.monotonic_ns() + TX_DELAY_NS
        for delay_ns in fate.replies_ns:
            # The stamp is filled in on arrival, as the clock stands then; 0 says that it shall be.
            reply = Reply(index, fate.source or address, 0 if fate.is_stamped else None, 57)
            self._in_flight.append(Packet(now_ns + delay_ns, reply))
        return 0

    def _note_departures(self, index: int, sent_at_ns: int) -> None:
        """Stamp the departure once for each of two devices; the second stamp of every other probe is read later."""
        self._error_queue.append(TxTimestamp(index, sent_at_ns))
        second = TxTimestamp(index, sent_at_ns + NEXT_DEVICE_NS)
        (self._later_notices if index % 2 else self._error_queue).append(second)

    def read_replies(self) -> list[Reply]:
        self.unread_count = 0
        now_ns = self.clock.monotonic_ns()
        # Newest probe first: the queue has no order between probes. The replies to one probe stay in order.
        arrived = sorted(
            (packet for packet in self._in_flight if packet.at_ns <= now_ns),
            key=lambda packet: (-packet.reply.probe_index, packet.at_ns),
        )
        self._in_flight = [packet for packet in self._in_flight if packet.at_ns > now_ns]
        return [self._stamp_reply(packet) for packet in arrived]

    def _stamp_reply(self, packet: Packet) -> Reply:
        if packet.reply.received_at_ns is None:
            return packet.reply
        offset_ns = self.clock.wall_ns() - self.clock.monotonic_ns()
        return packet.reply._replace(received_at_ns=packet.at_ns + offset_ns)

    def read_error_queue(self) -> list[TxTimestamp | IcmpError]:
        notices, self._error_queue, self._later_notices = self._error_queue, self._later_notices, []
        return notices

    def read_drop_count(self) -> int:
        return self.dropped

    def close(self) -> None:
        self.is_closed = True


class ProberHarness:
    """A prober on a fake network, and everything it says."""

    def __init__(self, fate: Callable[[int], Fate], *, seed: int = 1, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.network = FakeNetwork(self.clock, fate)
        self.results: list[ProbeResult] = []
        self.duplicates: list[tuple[str, int]] = []
        self.prober = Prober(
            clock=self.clock,
            rng=make_rng(seed),
            on_result=self.results.append,
            on_duplicate=lambda aim, slot: self.duplicates.append((aim.name, slot)),
            open_socket=self.network.open,
        )

    def run_ms(self, ms: int) -> None:
        self.prober.run(self.clock.monotonic_ns() + ms * MS)

    def run_targets(self, targets: Sequence[ProbeTarget]) -> list[ProbeResult]:
        """Run the aims, which must have an end, to it."""
        self.prober.set_targets(targets)
        return self.run_to_end()

    def run_to_end(self) -> list[ProbeResult]:
        for _ in range(10_000):
            if has_finished(self.prober):
                return self.results
            self.run_ms(1_000)
        raise AssertionError("the prober does not come to an end")


def build_probe_target(
    name: str = "far", address: str | None = TARGET, *, slots: int | None = None, interval_ms: int = 1_000,
    timeout_ms: int = 2_000,
) -> ProbeTarget:  # fmt: skip
    """An aim with little to say about it."""
    settings = ProbeSettings(interval_ms=interval_ms, timeout_ms=timeout_ms)
    return ProbeTarget(name=name, address=address, settings=settings, slots=slots)
