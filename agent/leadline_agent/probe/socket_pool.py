"""Sockets of a prober, one for each SocketKey, opened on first use."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterator

from leadline_agent.probe.transport import ProbeSocket, SocketKey


class SocketPool:
    """Sockets by key. A failed open (for example no such source address yet) is retried at every probe."""

    def __init__(self, open_socket: Callable[[SocketKey], ProbeSocket]) -> None:
        self._open_socket = open_socket
        self._sockets: dict[SocketKey, ProbeSocket] = {}
        self._drop_counts: dict[SocketKey, int] = {}

    def get_or_open(self, key: SocketKey) -> ProbeSocket | int:
        """Return the socket of a key, or the errno of the refusal; UnavailableError without permission."""
        sock = self._sockets.get(key)
        if sock is not None:
            return sock
        try:
            sock = self._open_socket(key)
        except OSError as error:
            return error.errno or errno.EIO
        self._sockets[key] = sock
        self._drop_counts[key] = sock.read_drop_count()
        return sock

    def get_sockets(self) -> Collection[ProbeSocket]:
        return self._sockets.values()

    def iter_new_drops(self) -> Iterator[tuple[SocketKey, int]]:
        """Yield each key with packets dropped by a full queue since the last call, and their number."""
        for key, sock in self._sockets.items():
            drops = sock.read_drop_count()
            if drops != self._drop_counts[key]:
                yield key, (drops - self._drop_counts[key]) & 0xFFFFFFFF
                self._drop_counts[key] = drops

    def close_except(self, keys: Collection[SocketKey]) -> None:
        """Close all sockets except those of ``keys``."""
        for key in self._sockets.keys() - set(keys):
            self._sockets.pop(key).close()
            del self._drop_counts[key]

    def close(self) -> None:
        self.close_except(())
