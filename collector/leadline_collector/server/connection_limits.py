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
ACCEPT_BURST_MAX = 128
#: Files and sockets of the database, logs, the event loop: 16 readers of SQLite have three each.
RESERVED_DESCRIPTORS = 96
#: More than enough for that; a process may usually raise its limit as far.
TARGET_DESCRIPTORS = 8_192
#: Between two lines of the log that say the same.
WARNING_INTERVAL_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBudget:
    """How many connections a process may hold, and how many it accepts in one go."""

    connections_max: int
    accept_burst: int


def compute_connection_budget(descriptor_limit: int) -> ConnectionBudget:
    """The room in a process that may have so many descriptors.

    asyncio accepts a burst of connections before the first of them is counted, and may do so four times before one
    that makes room is closed: half of the descriptors are for those.
    """
    ours = max(descriptor_limit - RESERVED_DESCRIPTORS, 32)
    return ConnectionBudget(
        connections_max=min(CONNECTIONS_MAX, ours // 2), accept_burst=min(ACCEPT_BURST_MAX, ours // 8)
    )


def raise_descriptor_limit() -> int:
    """How many descriptors this process may have, after it has asked for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= TARGET_DESCRIPTORS:
        return soft
    wanted = TARGET_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, TARGET_DESCRIPTORS)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):  # a sandbox may forbid the call
        return soft
    return wanted


class ConnectionLimiter:
    """Which connections of one server wait for a request, the longest first."""

    def __init__(self, connections_max: int, head_s_max: float) -> None:
        self.head_s_max = head_s_max
        self._connections_max = connections_max
        self._idle_connections: dict[LimitedProtocol, None] = {}
        self._full_warning = _RateLimitedWarning("connections are full: those that wait longest are closed")

    def protocol_factory(self) -> type[asyncio.Protocol]:
        """What uvicorn makes for every connection."""

        def connection(**options: Any) -> LimitedProtocol:
            return LimitedProtocol(limiter=self, **options)

        return cast("type[asyncio.Protocol]", connection)  # it is called and nothing else

    def mark_idle(self, connection: LimitedProtocol) -> None:
        """It has no request from now on."""
        self._idle_connections.pop(connection, None)
        self._idle_connections[connection] = None

    def mark_busy(self, connection: LimitedProtocol) -> None:
        """It has a request, or is gone."""
        self._idle_connections.pop(connection, None)

    def evict_if_full(self, count: int, now_s: float) -> None:
        """Make room if these are too many with the one that has just come: it is the last of those that wait."""
        if count <= self._connections_max:
            return
        self._full_warning.log_if_due(now_s, {"connections": count})
        longest = next(iter(self._idle_connections))
        self.mark_busy(longest)
        longest.abort()


class _RateLimitedWarning:
    """A line of the log that may be due many times a second."""

    def __init__(self, message: str) -> None:
        self._message = message
        self._logged_at_s: float | None = None

    def log_if_due(self, now_s: float, extra: dict[str, object]) -> None:
        """Write it, unless it was written within ``WARN_EVERY_S``."""
        if self._logged_at_s is None or now_s - self._logged_at_s >= WARNING_INTERVAL_S:
            self._logged_at_s = now_s
            log.warning(self._message, extra=extra)


def rate_limit_exhaustion_warnings(loop: asyncio.AbstractEventLoop) -> None:
    """Have the loop say in one line that it cannot accept: it tries once a second, and fails for a whole burst."""
    warning = _RateLimitedWarning(
        "no connection can be accepted: the process or the machine is out of descriptors or memory"
    )

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _EXHAUSTION_ERRNOS:
            warning.log_if_due(loop.time(), {"error": error.strerror})
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)


#: What asyncio waits a second for before it accepts again.
_EXHAUSTION_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class LimitedProtocol(H11Protocol):
    """One connection."""

    def __init__(
        self,
        *,
        limiter: ConnectionLimiter,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limiter = limiter
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, and begin to wait."""
        super().connection_made(transport)
        self._limiter.mark_idle(self)
        self._start_head_timer()
        self._limiter.evict_if_full(len(self.connections), self.loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._end_head_wait()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A piece of a head, of a body, or of what nobody reads any more because the answer is out."""
        super().data_received(data)
        if self._has_request_in_progress:
            self._end_head_wait()
        elif self._head_timer is None:
            self._start_head_timer()

    def on_response_complete(self) -> None:
        """The next request is waited for; it may be here already."""
        self._limiter.mark_idle(self)
        super().on_response_complete()
        if self._has_request_in_progress:
            self._end_head_wait()

    def abort(self) -> None:
        """Close it at once, whatever is on its way."""
        self.transport.abort()

    @property
    def _has_request_in_progress(self) -> bool:
        """True from the head of a request to the end of its answer."""
        return not getattr(self.cycle, "response_complete", True)  # None before the first

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(self._limiter.head_s_max, self.abort)

    def _end_head_wait(self) -> None:
        self._limiter.mark_busy(self)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
