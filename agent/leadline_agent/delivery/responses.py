"""What came back for a POST, and what it says about the batch: a value of values, no I/O.

Rule 1: only a 200 whose acknowledgement repeats the digest of the very bytes sent is ``STORED``. A captive portal
answers 200 too.
Rule 2: only a collector can refuse a batch for ever. It does so in a problem document (RFC 9457) that repeats the
status; a proxy's page with 400, 409 or 422 is taken for a failure of the network, and so is every redirect.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from leadline.errors import WireError
from leadline.wire import batch as wire
from leadline.wire import codec

#: A detail longer than this is not for a log line.
REASON_LENGTH_MAX = 300


class ResponseKind(StrEnum):
    """What an answer means. The list is closed, and every status has its place in it (``kind_of``)."""

    #: The batch is in the store.
    STORED = "stored"
    #: Nobody answered in time, or something broke, or it is too busy.
    UNAVAILABLE = "away"
    #: Something answered that does not speak as a collector does: a portal, a proxy, a wrong address.
    NOT_A_COLLECTOR = "stranger"
    #: The collector will never take these bytes.
    REFUSED = "refused"
    #: No valid key, another's key, or no such route.
    DENIED = "denied"
    #: The name of the batch is taken by other bytes.
    CONFLICT = "cloned"
    #: Too many bytes at once.
    TOO_LARGE = "too_large"
    #: The collector is of another version and does not understand this one's.
    VERSION_MISMATCH = "skewed"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResponse:
    """What came back for one batch."""

    kind: ResponseKind
    #: For a person; never holds a secret.
    reason: str
    #: None when there was no answer at all.
    status: int | None = None
    #: With STORED only.
    ack: wire.Ack | None = None
    #: Seconds the collector asks to be left alone; None when it says nothing that can be understood.
    retry_after_s: float | None = None
    #: It is a problem document, so a collector wrote it.
    is_problem: bool = False

    def __post_init__(self) -> None:
        assert (self.kind is ResponseKind.STORED) == (self.ack is not None)


_KIND_BY_STATUS = {
    400: ResponseKind.REFUSED,
    422: ResponseKind.REFUSED,
    401: ResponseKind.DENIED,
    403: ResponseKind.DENIED,
    404: ResponseKind.DENIED,
    409: ResponseKind.CONFLICT,
    413: ResponseKind.TOO_LARGE,
    415: ResponseKind.VERSION_MISMATCH,
    426: ResponseKind.VERSION_MISMATCH,
    408: ResponseKind.UNAVAILABLE,
    429: ResponseKind.UNAVAILABLE,
}
#: What costs the agent a batch or its epoch is believed from a collector only.
_COLLECTOR_ONLY_KINDS = frozenset({ResponseKind.REFUSED, ResponseKind.CONFLICT})


def build_unavailable_response(reason: str) -> BatchResponse:
    """A timeout, a reset, a refused connection, a name without an address, a certificate that is not good."""
    return BatchResponse(kind=ResponseKind.UNAVAILABLE, reason=reason[:REASON_LENGTH_MAX])


def parse_response(status: int, retry_after: str, body: bytes, digest: str) -> BatchResponse:
    """What an HTTP answer says about the batch whose bytes have ``digest``. ``retry_after`` is that header or ""."""
    if status == 200:
        return _parse_success(body, digest)
    problem = _parse_problem(status, body)
    kind = classify_status(status)
    if kind in _COLLECTOR_ONLY_KINDS and problem is None:
        kind = ResponseKind.NOT_A_COLLECTOR
    return BatchResponse(
        kind=kind,
        reason=f"{status} {problem or 'without a reason'}"[:REASON_LENGTH_MAX],
        status=status,
        retry_after_s=float(retry_after) if retry_after.isascii() and retry_after.isdecimal() else None,
        is_problem=problem is not None,
    )


def classify_status(status: int) -> ResponseKind:
    """The kind of every status but 200, before it is asked who wrote it."""
    if status >= 500:
        return ResponseKind.UNAVAILABLE
    if status < 400:
        return ResponseKind.NOT_A_COLLECTOR
    return _KIND_BY_STATUS.get(status, ResponseKind.DENIED)


def _parse_success(body: bytes, digest: str) -> BatchResponse:
    try:
        ack = codec.decode(body, wire.Ack)
    except WireError:
        return _build_not_a_collector_response("200 from something that is no collector (a portal or proxy?)")
    if ack.digest != digest:
        return _build_not_a_collector_response("200 with an acknowledgement for other bytes (a proxy that replays?)")
    return BatchResponse(kind=ResponseKind.STORED, reason="stored", status=200, ack=ack)


def _build_not_a_collector_response(reason: str) -> BatchResponse:
    return BatchResponse(kind=ResponseKind.NOT_A_COLLECTOR, reason=reason, status=200)


def _parse_problem(status: int, body: bytes) -> str | None:
    """What a problem document about ``status`` says; None if ``body`` is none."""
    try:
        document = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if document.get("status") != status:
        return None
    return str(document.get("detail") or document.get("title") or "without a reason")
