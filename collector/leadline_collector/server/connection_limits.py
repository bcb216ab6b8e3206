"""The connections of a server, beside uvicorn, which waits for ever for a request and counts idle ones as busy.

Rule 1: a connection without a whole head of a request within ``config.HEAD_S_MAX`` is closed, however its bytes
trickle. The time runs from its beginning, and after an answer from the first byte that follows; until one follows it is
``serve.KEEP_ALIVE_S``.
Rule 2: where there is no room for another connection, the one that has waited longest for a request makes it. Agents
send at once and connect again; who holds connections to keep others out displaces himself.
Rule 3: there is always a descriptor left for the database: connections have their share of what the process may open.

Everything here runs on the event loop, which is one thread.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
from dataclasses import dataclass
from typing import Any, cast

from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

log = logging.getLogger(__name__)

#: As many as there are agents in the figures (``metrics.AGENTS_MAX``), and some who read. 9 kB each when idle.
CONNECTIONS_MAX = 2_048
#: Connections that are accepted in one go, before anything else is done.
BURST_MAX = 128
#: Files and sockets of the database, logs, the event loop: 16 readers of SQLite have three each.
DESCRIPTORS_OF_OTHERS = 96
#: More than enough for that; a process may usually raise its limit as far.
DESCRIPTORS_WANTED = 8_192
#: Between two lines of the log that say the same.
WARN_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many connections a process may hold, and how many it accepts in one go."""

    connections_max: int
    burst: int


def room(descriptors: int) -> Room:
    """The room in a process that may have so many descriptors.

    asyncio accepts a burst of connections before the first of them is counted, and may do so four times before one
    that makes room is closed: half of the descriptors are for those.
    """
    ours = max(descriptors - DESCRIPTORS_OF_OTHERS, 32)
    return Room(connections_max=min(CONNECTIONS_MAX, ours // 2), burst=min(BURST_MAX, ours // 8))


def descriptors() -> int:
    """How many descriptors this process may have, after it has asked for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= DESCRIPTORS_WANTED:
        return soft
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_WANTED)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):  # a sandbox may forbid the call
        return soft
    return wanted


class Guard:
    """Which connections of one server wait for a request, the longest first."""

    def __init__(self, connections_max: int, head_s_max: float) -> None:
        self.head_s_max = head_s_max
        self._connections_max = connections_max
        self._waiting: dict[Guarded, None] = {}
        self._is_full = _SeldomWarning("connections are full: those that wait longest are closed")

    def protocol(self) -> type[asyncio.Protocol]:
        """What uvicorn makes for every connection."""

        def connection(**options: Any) -> Guarded:
            return Guarded(guard=self, **options)

        return cast("type[asyncio.Protocol]", connection)  # it is called and nothing else

    def waits(self, connection: Guarded) -> None:
        """It has no request from now on."""
        self._waiting.pop(connection, None)
        self._waiting[connection] = None

    def works(self, connection: Guarded) -> None:
        """It has a request, or is gone."""
        self._waiting.pop(connection, None)

    def admit(self, count: int, now_s: float) -> None:
        """Make room if these are too many with the one that has just come: it is the last of those that wait."""
        if count <= self._connections_max:
            return
        self._is_full.say(now_s, {"connections": count})
        longest = next(iter(self._waiting))
        self.works(longest)
        longest.cut()


class _SeldomWarning:
    """A line of the log that may be due many times a second."""

    def __init__(self, message: str) -> None:
        self._message = message
        self._said_at_s: float | None = None

    def say(self, now_s: float, facts: dict[str, object]) -> None:
        """Write it, unless it was written within ``WARN_EVERY_S``."""
        if self._said_at_s is None or now_s - self._said_at_s >= WARN_EVERY_S:
            self._said_at_s = now_s
            log.warning(self._message, extra=facts)


def report_exhaustion_seldom(loop: asyncio.AbstractEventLoop) -> None:
    """Have the loop say in one line that it cannot accept: it tries once a second, and fails for a whole burst."""
    warning = _SeldomWarning(
        "no connection can be accepted: the process or the machine is out of descriptors or memory"
    )

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _EXHAUSTED:
            warning.say(loop.time(), {"error": error.strerror})
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)


#: What asyncio waits a second for before it accepts again.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Guarded(H11Protocol):
    """One connection."""

    def __init__(
        self,
        *,
        guard: Guard,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._guard = guard
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, and begin to wait."""
        super().connection_made(transport)
        self._guard.waits(self)
        self._limit_head()
        self._guard.admit(len(self.connections), self.loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._has_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A piece of a head, of a body, or of what nobody reads any more because the answer is out."""
        super().data_received(data)
        if self._is_asked:
            self._has_head()
        elif self._head_timer is None:
            self._limit_head()

    def on_response_complete(self) -> None:
        """The next request is waited for; it may be here already."""
        self._guard.waits(self)
        super().on_response_complete()
        if self._is_asked:
            self._has_head()

    def cut(self) -> None:
        """Close it at once, whatever is on its way."""
        self.transport.abort()

    @property
    def _is_asked(self) -> bool:
        """True from the head of a request to the end of its answer."""
        return not getattr(self.cycle, "response_complete", True)  # None before the first

    def _limit_head(self) -> None:
        self._head_timer = self.loop.call_later(self._guard.head_s_max, self.cut)

    def _has_head(self) -> None:
        self._guard.works(self)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
