"""Accuracy of the test bed on this machine: ``python -m tests.network [RATE…]`` prints the table of docs/testbed.md.

A sender in A sends echoes at each rate for two seconds, 5 ms ± 1 ms each way, with kernel timestamps. ``late`` is the
delay between the planned and the real release of a frame in W; ``error`` is measured RTT minus true RTT. Both are in
µs.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from fractions import Fraction

from leadline.clock import SystemClock
from leadline.statistics import nearest_rank
from tests.network.wan import A4, B4, FrameRecord, ProbeKey, Wan, compute_true_rtts

RATES = (100, 1_000, 5_000, 10_000, 15_000)
SECONDS = 2
COOKIE = 0x1EAD_11E0
#: Time to wait for the last replies; longer than any RTT.
LINGER_NS = 100_000_000
_SO_RCVBUFFORCE, _SO_TIMESTAMPING = 33, 37
_STAMPS = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 11
_ECHO = struct.Struct(">BBHHHQQ32x")


class EchoSender:
    """Minimal datagram ICMP socket with kernel timestamps; its own cost must stay far below that of W."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _STAMPS)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)
        self.sent_ns: dict[int, int] = {}
        self.received_ns: dict[int, int] = {}

    def send(self, index: int) -> None:
        """Send a probe and store its kernel timestamp, which is in the error queue when ``sendto`` returns."""
        self._socket.sendto(_ECHO.pack(8, 0, 0, 0, index & 0xFFFF, COOKIE, index), (B4, 0))
        _, ancillary, _, _ = self._socket.recvmsg(0, 256, socket.MSG_ERRQUEUE)
        self.sent_ns[index] = _stamp_ns(ancillary)

    def receive_replies(self) -> None:
        """Read all pending replies."""
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(128, 256)
            except BlockingIOError:
                return
            self.received_ns.setdefault(struct.unpack_from(">Q", data, 16)[0], _stamp_ns(ancillary))

    def close(self) -> None:
        self._socket.close()


def _stamp_ns(ancillary: Iterable[tuple[int, int, bytes]]) -> int:
    data = next(data for level, kind, data in ancillary if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPING))
    seconds, ns = struct.unpack_from("@ll", data)
    return int(seconds * 1_000_000_000 + ns)


def measure_rate(rate: int) -> str:
    """Run one measurement and return its row of the table."""
    with Wan() as wan:
        wan.add_rule("a->b", delay_ms=5, jitter_ms=1)
        wan.add_rule("b->a", delay_ms=5, jitter_ms=1)
        with wan.enter("a"):
            sender = EchoSender()
        elapsed_ns = _send_all(sender, rate)
        sender.close()
        return _format_row(rate, elapsed_ns, sender, wan.read_frame_log())


def _send_all(sender: EchoSender, rate: int) -> int:
    clock = SystemClock()
    start_ns, count = clock.monotonic_ns(), rate * SECONDS
    for index in range(count):
        clock.sleep_until(start_ns + index * 1_000_000_000 // rate)
        sender.send(index)
        sender.receive_replies()
    elapsed_ns = clock.monotonic_ns() - start_ns
    clock.sleep_until(clock.monotonic_ns() + LINGER_NS)
    sender.receive_replies()
    return elapsed_ns


def _format_row(rate: int, elapsed_ns: int, sender: EchoSender, log: Sequence[FrameRecord]) -> str:
    sent, received = len(sender.sent_ns), len(sender.received_ns)
    lateness = [frame.lateness_ns for frame in log if frame.lateness_ns is not None]
    truth = compute_true_rtts(log)
    errors = [
        received_ns - sender.sent_ns[index] - truth[ProbeKey(A4, B4, COOKIE, index)].rtt_ns
        for index, received_ns in sender.received_ns.items()
    ]
    per_s = sent * 1_000_000_000 // elapsed_ns
    counts = f"{rate:>7,} {per_s:>8,} {sent - received:>5} {2 * per_s:>9,}"
    return f"{counts}  {_format_percentiles(lateness)}  {_format_percentiles(errors)}"


def _format_percentiles(values_ns: list[int]) -> str:
    ordered = sorted(values_ns)
    ranks = (nearest_rank(ordered, len(ordered), Fraction(*q)) or 0 for q in ((1, 2), (99, 100), (1, 1)))
    return " ".join(f"{rank / 1_000:>8,.1f}" for rank in ranks)


def main() -> None:
    """Print the table for the rates on the command line, by default for ``RATES``."""
    spread = f"{'p50':>8} {'p99':>8} {'max':>8}"
    print(f"{'':34}{'late':<28}{'error':<28}")
    print(f"{'probes':>7} {'reached':>8} {'lost':>5} {'frames/s':>9}  {spread}  {spread}")
    for rate in map(int, sys.argv[1:]) if sys.argv[1:] else RATES:
        print(measure_rate(rate), flush=True)


if __name__ == "__main__":
    main()
