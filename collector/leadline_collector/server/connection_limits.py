"""Connection limits of the server.

uvicorn has no timeout for the header of a request and counts idle connections as busy.

Rule 1: a connection must deliver a complete request header within ``config.header_timeout_s``, else it is closed. The
time starts with the connection, and after a response with the next byte. Between a response and the next byte, the
limit is ``serve.KEEP_ALIVE_S``.
Rule 2: at the connection limit, a new connection closes the connection that has been idle longest. Agents send at once
and reconnect; a client with many idle connections loses its own first.
Rule 3: connections get a share of the process's descriptors; the rest is reserved for the database.

All of this runs on the single thread of the event loop.
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

#: ``metrics.AGENTS_MAX`` agents, and some viewers. An idle connection takes 9 kB.
CONNECTIONS_MAX = 2_048
#: Connections accepted in one call, before the event loop does other work.
ACCEPT_BURST_MAX = 128
#: Descriptors for the database, logs and the event loop: 16 SQLite readers have three each.
RESERVED_DESCRIPTORS = 96
#: Enough for all of the above; most systems let a process raise its limit this far.
TARGET_DESCRIPTORS = 8_192
#: Minimum time between two identical warnings.
WARNING_INTERVAL_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBudget:
    """Maximum number of open connections, and of connections accepted in one call."""

    connections_max: int
    accept_burst: int


def compute_connection_budget(descriptor_limit: int) -> ConnectionBudget:
    """Return the connection budget of a process with ``descriptor_limit`` descriptors.

    asyncio accepts a burst of connections before the first one is counted, and may accept four bursts before an
    evicted connection is closed. Half of the descriptors are for these bursts.
    """
    usable = max(descriptor_limit - RESERVED_DESCRIPTORS, 32)
    return ConnectionBudget(
        connections_max=min(CONNECTIONS_MAX, usable // 2), accept_burst=min(ACCEPT_BURST_MAX, usable // 8)
    )


def raise_descriptor_limit() -> int:
    """Raise the descriptor limit of this process if possible, and return the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= TARGET_DESCRIPTORS:
        return soft
    target = TARGET_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, TARGET_DESCRIPTORS)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    except (ValueError, OSError):  # a sandbox may forbid the call
        return soft
    return target


class ConnectionLimiter:
    """Idle connections of one server, longest idle first; evicts one when the server is full."""

    def __init__(self, connections_max: int, head_s_max: float) -> None:
        self.head_s_max = head_s_max
        self._connections_max = connections_max
        self._idle_connections: dict[LimitedProtocol, None] = {}
        self._full_warning = _RateLimitedWarning("connection limit reached: closing the longest idle connections")

    def protocol_factory(self) -> type[asyncio.Protocol]:
        """Return the factory uvicorn calls for every connection."""

        def create_protocol(**options: Any) -> LimitedProtocol:
            return LimitedProtocol(limiter=self, **options)

        return cast("type[asyncio.Protocol]", create_protocol)  # uvicorn only calls it

    def mark_idle(self, connection: LimitedProtocol) -> None:
        """Note that the connection has no request; it becomes the last to be evicted."""
        self._idle_connections.pop(connection, None)
        self._idle_connections[connection] = None

    def mark_busy(self, connection: LimitedProtocol) -> None:
        """Note that the connection has a request or is closed: it cannot be evicted."""
        self._idle_connections.pop(connection, None)

    def evict_if_full(self, count: int, now_s: float) -> None:
        """Close the longest idle connection if ``count`` exceeds the limit. The newest connection is always idle."""
        if count <= self._connections_max:
            return
        self._full_warning.log_if_due(now_s, {"connections": count})
        longest_idle = next(iter(self._idle_connections))
        self.mark_busy(longest_idle)
        longest_idle.abort()


class _RateLimitedWarning:
    """Warning that is logged at most once per ``WARNING_INTERVAL_S``."""

    def __init__(self, message: str) -> None:
        self._message = message
        self._logged_at_s: float | None = None

    def log_if_due(self, now_s: float, extra: dict[str, object]) -> None:
        """Log the warning unless it was logged within ``WARNING_INTERVAL_S``."""
        if self._logged_at_s is None or now_s - self._logged_at_s >= WARNING_INTERVAL_S:
            self._logged_at_s = now_s
            log.warning(self._message, extra=extra)


def rate_limit_exhaustion_warnings(loop: asyncio.AbstractEventLoop) -> None:
    """Replace asyncio's traceback per failed accept with one warning per interval.

    The loop retries once a second, and each retry fails for a whole burst of connections.
    """
    warning = _RateLimitedWarning("cannot accept connections: out of descriptors or memory")

    def handle_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _EXHAUSTION_ERRNOS:
            warning.log_if_due(loop.time(), {"error": error.strerror})
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle_loop_error)


#: Errors of ``accept`` after which asyncio waits one second before it tries again.
_EXHAUSTION_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class LimitedProtocol(H11Protocol):
    """HTTP connection with a header timeout that reports to a ``ConnectionLimiter``."""

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
        """Register the connection, start the header timer, and evict another connection if the server is full."""
        super().connection_made(transport)
        self._limiter.mark_idle(self)
        self._start_head_timer()
        self._limiter.evict_if_full(len(self.connections), self.loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        """Unregister the connection."""
        self._end_head_wait()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process received bytes: of a header, of a body, or of the rest of a body after its response."""
        super().data_received(data)
        if self._has_request_in_progress:
            self._end_head_wait()
        elif self._head_timer is None:
            self._start_head_timer()

    def on_response_complete(self) -> None:
        """Mark the connection idle, unless a pipelined request has already arrived."""
        self._limiter.mark_idle(self)
        super().on_response_complete()
        if self._has_request_in_progress:
            self._end_head_wait()

    def abort(self) -> None:
        """Close the connection immediately; unsent data is lost."""
        self.transport.abort()

    @property
    def _has_request_in_progress(self) -> bool:
        """True from the header of a request to the end of its response."""
        return not getattr(self.cycle, "response_complete", True)  # cycle is None before the first request

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(self._limiter.head_s_max, self.abort)

    def _end_head_wait(self) -> None:
        self._limiter.mark_busy(self)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
