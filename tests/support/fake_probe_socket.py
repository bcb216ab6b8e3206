"""In-memory network: the ``ProbeSocket`` port with a fake clock and a scripted fate for every probe."""

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
#: Time from the send call to the kernel's transmit timestamp.
TX_DELAY_NS = 700
#: Time from the timestamp of a bridge or VLAN to that of the network card below it.
NEXT_DEVICE_NS = 40_000
TARGET = "198.51.100.7"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """Scripted result of one probe."""

    #: Errno of the send call; 0 for a probe that is sent.
    send_errno: int = 0
    #: Arrival times of replies, in nanoseconds after sending; several are duplicates, an empty tuple is a loss.
    replies_ns: tuple[int, ...] = ()
    #: Type and code of an ICMP error that arrives at once.
    icmp_error: tuple[int, int] | None = None
    #: The ICMP error quotes the probe index, not only the first 8 bytes.
    quotes_index: bool = True
    #: The kernel has timestamps for transmit and receive.
    is_stamped: bool = True
    #: Source address of the reply; None for the target's.
    source: str | None = None


@dataclass(slots=True)
class Packet:
    """A reply in flight."""

    at_ns: int
    reply: Reply


@dataclass(slots=True)
class FakeNetwork:
    """One socket for all socket keys; replies become readable when the clock reaches their arrival time."""

    clock: FakeClock
    fate: Callable[[int], Fate]
    sent: list[tuple[int, str, int]] = field(default_factory=list)
    dropped: int = 0
    #: Probes sent since the last read, and the maximum of that.
    unread_count: int = 0
    unread_count_max: int = 0
    has_rx_timestamps: bool = True
    is_closed: bool = False
    _in_flight: list[Packet] = field(default_factory=list)
    _error_queue: list[TxTimestamp | IcmpError] = field(default_factory=list)
    #: Delivered by the read after the next one.
    _later_notices: list[TxTimestamp | IcmpError] = field(default_factory=list)

    def open(self, lane: SocketKey, cookie: bytes) -> FakeNetwork:
        return self

    def fileno(self) -> int:
        raise AssertionError("the prober does not poll a socket with receive timestamps")

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
            # Twice, like errors of two routers.
            self._error_queue += [IcmpError(quoted, index & 0xFFFF, address, *fate.icmp_error)] * 2
        now_ns = self.clock.monotonic_ns() + TX_DELAY_NS
        for delay_ns in fate.replies_ns:
            # 0 is a placeholder: the timestamp is set on arrival, from the clock at that time.
            reply = Reply(index, fate.source or address, 0 if fate.is_stamped else None, 57)
            self._in_flight.append(Packet(now_ns + delay_ns, reply))
        return 0

    def _note_departures(self, index: int, sent_at_ns: int) -> None:
        """Queue a transmit timestamp for each of two devices; the second one of every other probe is read later."""
        self._error_queue.append(TxTimestamp(index, sent_at_ns))
        second = TxTimestamp(index, sent_at_ns + NEXT_DEVICE_NS)
        (self._later_notices if index % 2 else self._error_queue).append(second)

    def read_replies(self) -> list[Reply]:
        self.unread_count = 0
        now_ns = self.clock.monotonic_ns()
        # Newest probe first, because the order between probes is undefined. Replies to one probe stay in order.
        packets = sorted(
            (packet for packet in self._in_flight if packet.at_ns <= now_ns),
            key=lambda packet: (-packet.reply.probe_index, packet.at_ns),
        )
        self._in_flight = [packet for packet in self._in_flight if packet.at_ns > now_ns]
        return [self._stamp_reply(packet) for packet in packets]

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
    """A prober on a fake network, with its results and duplicates."""

    def __init__(self, fate: Callable[[int], Fate], *, seed: int = 1, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.network = FakeNetwork(self.clock, fate)
        self.results: list[ProbeResult] = []
        self.duplicates: list[tuple[str, int]] = []
        self.prober = Prober(
            clock=self.clock,
            rng=make_rng(seed),
            on_result=self.results.append,
            on_duplicate=lambda target, slot: self.duplicates.append((target.name, slot)),
            open_socket=self.network.open,
        )

    def run_ms(self, ms: int) -> None:
        self.prober.run(self.clock.monotonic_ns() + ms * MS)

    def run_targets(self, targets: Sequence[ProbeTarget]) -> list[ProbeResult]:
        """Run targets with a limited number of slots until all are probed."""
        self.prober.set_targets(targets)
        return self.run_to_end()

    def run_to_end(self) -> list[ProbeResult]:
        for _ in range(10_000):
            if has_finished(self.prober):
                return self.results
            self.run_ms(1_000)
        raise AssertionError("the prober did not finish")


def build_probe_target(
    name: str = "far", address: str | None = TARGET, *, slots: int | None = None, interval_ms: int = 1_000,
    timeout_ms: int = 2_000,
) -> ProbeTarget:  # fmt: skip
    """Build a target with default settings."""
    settings = ProbeSettings(interval_ms=interval_ms, timeout_ms=timeout_ms)
    return ProbeTarget(name=name, address=address, settings=settings, slots=slots)
