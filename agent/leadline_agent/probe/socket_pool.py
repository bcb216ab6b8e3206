"""The sockets of a prober, one per lane, opened when first needed."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterator

from leadline_agent.probe.transport import ProbeSocket, SocketKey


class SocketPool:
    """Sockets by lane. A lane that cannot be had now (no such source address yet) is tried again at every probe."""

    def __init__(self, open_socket: Callable[[SocketKey], ProbeSocket]) -> None:
        self._open_socket = open_socket
        self._sockets: dict[SocketKey, ProbeSocket] = {}
        self._drop_counts: dict[SocketKey, int] = {}

    def get_or_open(self, key: SocketKey) -> ProbeSocket | int:
        """The lane's socket, or the errno with which the kernel refuses it. UnavailableError without permission."""
        found = self._sockets.get(key)
        if found is not None:
            return found
        try:
            opened = self._open_socket(key)
        except OSError as error:
            return error.errno or errno.EIO
        self._sockets[key] = opened
        self._drop_counts[key] = opened.read_drop_count()
        return opened

    def get_sockets(self) -> Collection[ProbeSocket]:
        return self._sockets.values()

    def iter_new_drops(self) -> Iterator[tuple[SocketKey, int]]:
        """The lanes that lost packets to a full queue since the last call, and how many."""
        for lane, sock in self._sockets.items():
            drops = sock.read_drop_count()
            if drops != self._drop_counts[lane]:
                yield lane, (drops - self._drop_counts[lane]) & 0xFFFFFFFF
                self._drop_counts[lane] = drops

    def close_except(self, keys: Collection[SocketKey]) -> None:
        """Close those that are not among ``lanes``."""
        for lane in self._sockets.keys() - set(keys):
            self._sockets.pop(lane).close()
            del self._drop_counts[lane]

    def close(self) -> None:
        self.close_except(())
