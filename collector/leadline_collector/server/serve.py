"""Runs the collector: opens the database, binds the socket, serves until a signal, and closes in reverse order."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from leadline.clock import Clock
from leadline.errors import UnavailableError
from leadline_collector.config import CollectorConfig
from leadline_collector.db import schema
from leadline_collector.db.engine import Database
from leadline_collector.db.transactions import Store
from leadline_collector.http.app_state import AppState
from leadline_collector.live.worker import run_live_worker
from leadline_collector.rollup.worker import run_rollup_worker
from leadline_collector.server.app import create_app
from leadline_collector.server.connection_limits import (
    ConnectionBudget,
    ConnectionLimiter,
    compute_connection_budget,
    raise_descriptor_limit,
    rate_limit_exhaustion_warnings,
)

#: Time for running requests to end at shutdown. Longer ones are cut off; the agent sends the batch again.
SHUTDOWN_GRACE_S = 10
#: Agents send once a minute; an idle connection costs less than a new one.
KEEP_ALIVE_S = 75
#: Connections the kernel queues until they are accepted: all agents of 500 sites may reconnect in the same second.
LISTEN_BACKLOG = 1_024


@contextmanager
def open_store(config: CollectorConfig) -> Iterator[Store]:
    """Open the store with a current schema; close it on exit."""
    database = Database(config.database)
    try:
        schema.ensure_schema(database)
        yield Store(database)
    finally:
        database.close()


def serve(config: CollectorConfig, clock: Clock, on_listening: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. Call ``on_listening`` with the URL as soon as connections are accepted."""
    budget = compute_connection_budget(raise_descriptor_limit())
    with (
        open_store(config) as store,
        _open_listener(config) as listener,
        _ignore_repeated_signals(),
        _application(config, store, clock) as app,
    ):
        uvicorn_config = _build_uvicorn_config(config, app, budget)
        _CollectorServer(uvicorn_config, lambda: on_listening(_format_url(config, listener))).run(sockets=[listener])


@contextmanager
def serve_in_thread(config: CollectorConfig, store: Store, clock: Clock) -> Iterator[str]:
    """Run a collector in a thread of this process and yield its URL. For the demo and tests."""
    accepting, budget = threading.Event(), compute_connection_budget(raise_descriptor_limit())
    with _open_listener(config) as listener, _application(config, store, clock) as app:
        server = _CollectorServer(_build_uvicorn_config(config, app, budget), accepting.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="collector")
        thread.start()
        try:
            if not accepting.wait(SHUTDOWN_GRACE_S):
                raise UnavailableError(f"the collector did not start within {SHUTDOWN_GRACE_S} s; see its log")
            yield _format_url(config, listener)
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def _application(config: CollectorConfig, store: Store, clock: Clock) -> Iterator[FastAPI]:
    """Create the application and run its background workers."""
    app = create_app(config, store, clock)
    app_state: AppState = app.state.app_state
    # Reading a mesh of 500 sites takes seconds: do it before the first batch arrives.
    app_state.metrics.rtt_counters.get_edges_us()
    with run_rollup_worker(store, clock, config.retention), run_live_worker(store, clock, app_state.reports):
        yield app


class _CollectorServer(uvicorn.Server):
    """uvicorn server that calls ``on_listening`` once it accepts connections."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        rate_limit_exhaustion_warnings(asyncio.get_running_loop())
        await super().startup(sockets=sockets)
        for listener in sockets or ():
            # asyncio uses one number for the accept burst and for the kernel's queue; the queue may be longer.
            listener.listen(LISTEN_BACKLOG)
        self._on_listening()


def _build_uvicorn_config(config: CollectorConfig, app: FastAPI, budget: ConnectionBudget) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=ConnectionLimiter(budget.connections_max, config.header_timeout_s).protocol_factory(),
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=config.behind_proxy,
        forwarded_allow_ips="*" if config.behind_proxy else None,
        backlog=budget.accept_burst,
        # uvicorn's limit counts idle connections too; ``connection_limits`` bounds connections instead.
        limit_concurrency=None,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
        ssl_certfile=config.tls_cert,
        ssl_keyfile=config.tls_key,
    )


@contextmanager
def _open_listener(config: CollectorConfig) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        listener = socket.create_server((config.host, config.port), family=family, backlog=LISTEN_BACKLOG)
    except OSError as error:
        raise UnavailableError(
            f"cannot listen on {config.host} port {config.port}: {error.strerror or error}; choose another with --port"
        ) from error
    with listener:
        yield listener


def _format_url(config: CollectorConfig, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "https" if config.tls_cert else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@contextmanager
def _ignore_repeated_signals() -> Iterator[None]:
    """Ignore the signal that uvicorn raises again after a shutdown by that signal."""

    def ignore_signal(number: int, frame: FrameType | None) -> None:
        pass

    previous_handlers = {number: signal.signal(number, ignore_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
