"""The sockets of a prober, one per lane, opened when first needed."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterator

from leadline_agent.probe.transport import EchoSocket, Lane


class Lanes:
    """Sockets by lane. A lane that cannot be had now (no such source address yet) is tried again at every probe."""

    def __init__(self, open_lane: Callable[[Lane], EchoSocket]) -> None:
        self._open_lane = open_lane
        self._sockets: dict[Lane, EchoSocket] = {}
        self._drops: dict[Lane, int] = {}

    def socket(self, lane: Lane) -> EchoSocket | int:
        """The lane's socket, or the errno with which the kernel refuses it. UnavailableError without permission."""
        found = self._sockets.get(lane)
        if found is not None:
            return found
        try:
            opened = self._open_lane(lane)
        except OSError as error:
            return error.errno or errno.EIO
        self._sockets[lane] = opened
        self._drops[lane] = opened.drops()
        return opened

    def sockets(self) -> Collection[EchoSocket]:
        return self._sockets.values()

    def take_drops(self) -> Iterator[tuple[Lane, int]]:
        """The lanes that lost packets to a full queue since the last call, and how many."""
        for lane, sock in self._sockets.items():
            drops = sock.drops()
            if drops != self._drops[lane]:
                yield lane, (drops - self._drops[lane]) & 0xFFFFFFFF
                self._drops[lane] = drops

    def keep(self, lanes: Collection[Lane]) -> None:
        """Close those that are not among ``lanes``."""
        for lane in self._sockets.keys() - set(lanes):
            self._sockets.pop(lane).close()
            del self._drops[lane]

    def close(self) -> None:
        self.keep(())
