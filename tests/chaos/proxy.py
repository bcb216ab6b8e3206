"""HTTP proxy between one agent and the collector that injects network faults.

``acknowledged`` contains the digest of every batch that the collector itself acknowledged, even if the response did not
reach the agent.
"""

from __future__ import annotations

import hashlib
import http.client
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from random import Random

import msgspec

#: Share of the requests that a fault affects; the proxy forwards the others.
FAULT_SHARE = 0.6
#: Longer than the timeout of the agent.
HALF_OPEN_TIMEOUT_S = 1.5
SLOW_PIECES = 8
SLOW_PAUSE_S = 0.05
CONNECT_TIMEOUT_S = 3.0

HTML = b"<html><body>Please accept the terms of this network.</body></html>"


class ProxyFault(StrEnum):
    """Effect of the proxy on a request."""

    NONE = "calm"
    #: Closes the connection before anything is forwarded.
    CUT = "cut"
    #: Forwards the request, and closes before the response.
    CUT_ANSWER = "cut_answer"
    #: Forwards the request, and resets in the middle of the response.
    RESET = "reset"
    #: Reads the request and never responds.
    HALF_OPEN = "half_open"
    #: Sends the response in pieces.
    SLOW = "slow"
    #: Responds with bytes that are not HTTP.
    GARBAGE = "garbage"
    #: 200 with a page.
    PORTAL = "portal"
    #: 200 with JSON that has no digest.
    EMPTY_200 = "empty_200"
    #: 200 with the acknowledgement of an earlier batch.
    REPLAY = "replay"
    #: Sends the request to the collector twice.
    DUPLICATE = "duplicate"
    #: 503 with Retry-After.
    BUSY = "busy"
    REDIRECT = "redirect"
    #: 401, 404, 409, 422 as a proxy's page.
    FOREIGN_ERROR = "stranger"
    #: Closes every connection. Not part of the schedule: other faults use it to accumulate a backlog.
    BLOCKED = "blocked"


#: Faults of the schedule.
PROXY_FAULTS = tuple(fault for fault in ProxyFault if fault not in {ProxyFault.NONE, ProxyFault.BLOCKED})


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Proxy:
    """Proxy on a free loopback port; ``fault`` may be set at any time."""

    def __init__(self, collector_port: int, rng: Random) -> None:
        self._collector_port, self._rng = collector_port, rng
        self.fault = ProxyFault.NONE
        #: Number of requests that each fault affected.
        self.fault_counts: Counter[ProxyFault] = Counter()
        #: Digests of the batches that the collector acknowledged.
        self.acknowledged: set[str] = set()
        self._last_ack: bytes | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop accepting connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as stream, suppress(OSError, http.client.HTTPException):
            while (request := _read_request(stream.readline, stream.read)) is not None:
                if not self._handle(client, request):
                    return

    def _handle(self, client: socket.socket, request: _Request) -> bool:
        """Process a request; return whether the connection stays open."""
        fault = self.fault
        if fault is ProxyFault.BLOCKED:
            return False
        if fault is ProxyFault.NONE or self._rng.random() > FAULT_SHARE:
            client.sendall(self._forward(request))
            return True
        if fault is ProxyFault.REPLAY and (request.method != "POST" or self._last_ack is None):
            client.sendall(self._forward(request))
            return True
        self.fault_counts[fault] += 1
        return self._respond(client, request, fault)

    def _respond(self, client: socket.socket, request: _Request, fault: ProxyFault) -> bool:
        if fault is ProxyFault.CUT:
            return False
        if fault is ProxyFault.HALF_OPEN:
            threading.Event().wait(HALF_OPEN_TIMEOUT_S)
            return False
        if fault in _FAKE_RESPONSES:
            client.sendall(_FAKE_RESPONSES[fault](self))
            return fault is not ProxyFault.GARBAGE
        response = self._forward(request)
        if fault is ProxyFault.CUT_ANSWER:
            return False
        if fault is ProxyFault.RESET:
            client.sendall(response[: len(response) // 2])
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if fault is ProxyFault.DUPLICATE:
            response = self._forward(request)
        if fault is ProxyFault.SLOW:
            _send_slowly(client, response)
        else:
            client.sendall(response)
        return True

    def _forward(self, request: _Request) -> bytes:
        """Return the response of the collector as bytes. Raise OSError if it is unavailable."""
        connection = http.client.HTTPConnection("127.0.0.1", self._collector_port, timeout=CONNECT_TIMEOUT_S)
        try:
            connection.request(request.method, request.path, request.body or None, request.headers)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        self._record_ack(request, response.status, body)
        return _build_response(response.status, body, dict(response.getheaders()))

    def _record_ack(self, request: _Request, status: int, body: bytes) -> None:
        digest = hashlib.sha256(request.body).hexdigest()
        if request.method == "POST" and status == 200 and _extract_digest(body) == digest:
            self.acknowledged.add(digest)
            self._last_ack = body

    def build_foreign_error(self) -> bytes:
        """Return an error response that is not from a collector."""
        return _build_response(self._rng.choice((401, 404, 409, 422)), HTML, {"Content-Type": "text/html"})

    def replay_ack(self) -> bytes:
        """Return the last acknowledgement again."""
        assert self._last_ack is not None
        return _build_response(200, self._last_ack, {"Content-Type": "application/json"})


_FAKE_RESPONSES: dict[ProxyFault, Callable[[Proxy], bytes]] = {
    ProxyFault.GARBAGE: lambda _: b"\x16\x03\x01\x00\xff" * 40,
    ProxyFault.PORTAL: lambda _: _build_response(200, HTML, {"Content-Type": "text/html"}),
    ProxyFault.EMPTY_200: lambda _: _build_response(200, b'{"status":"ok"}', {"Content-Type": "application/json"}),
    ProxyFault.BUSY: lambda _: _build_response(503, b"", {"Retry-After": "2"}),
    ProxyFault.REDIRECT: lambda _: _build_response(302, b"", {"Location": "http://127.0.0.1:1/"}),
    ProxyFault.FOREIGN_ERROR: Proxy.build_foreign_error,
    ProxyFault.REPLAY: Proxy.replay_ack,
}


def _read_request(readline: Callable[[], bytes], read: Callable[[int], bytes]) -> _Request | None:
    """Read the next request of a connection; return None at its end."""
    words = readline().split()
    if len(words) != 3:
        return None
    headers: dict[str, str] = {}
    while line := readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    body = read(int(headers.get("content-length", "0")))
    forwarded = {name: value for name, value in headers.items() if name not in {"connection", "content-length", "host"}}
    return _Request(words[0].decode(), words[1].decode(), forwarded, body)


def _build_response(status: int, body: bytes, headers: dict[str, str]) -> bytes:
    skipped = {"connection", "content-length", "transfer-encoding"}
    lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in headers.items() if name.lower() not in skipped]
    length = [] if status == 304 else [f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *length, "", ""]).encode("latin-1") + body


def _send_slowly(client: socket.socket, response: bytes) -> None:
    size = -(-len(response) // SLOW_PIECES)
    for start in range(0, len(response), size):
        client.sendall(response[start : start + size])
        threading.Event().wait(SLOW_PAUSE_S)


def _extract_digest(body: bytes) -> str | None:
    try:
        return str(msgspec.json.decode(body, type=dict[str, object]).get("digest"))
    except msgspec.DecodeError:
        return None
