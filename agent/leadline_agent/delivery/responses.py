"""Classification of the response to an uploaded batch. No I/O.

Rule 1: only a 200 with an acknowledgement that repeats the digest of the sent bytes is ``STORED``. A captive portal
returns 200 too.
Rule 2: only a collector can refuse a batch permanently, by a problem document (RFC 9457) that repeats the status. A
proxy's page with 400, 409 or 422 counts as a network failure, and so does every redirect.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from leadline.errors import WireError
from leadline.wire import codec
from leadline.wire.batch import Ack

#: Longest reason in a log line, in characters.
REASON_LENGTH_MAX = 300


class ResponseKind(StrEnum):
    """Class of a response. The list is closed; ``classify_status`` maps every status."""

    #: The collector has stored the batch.
    STORED = "stored"
    #: No response in time, a network or server error, or an overloaded collector.
    UNAVAILABLE = "away"
    #: The response is not from a collector: a captive portal, a proxy, a wrong URL.
    NOT_A_COLLECTOR = "stranger"
    #: The collector refuses these bytes permanently.
    REFUSED = "refused"
    #: No valid key, the key of another agent, or an unknown route.
    DENIED = "denied"
    #: The collector has other bytes under the id of the batch.
    CONFLICT = "cloned"
    #: The batch is larger than the collector or a proxy accepts.
    TOO_LARGE = "too_large"
    #: The collector does not support the wire version of this agent.
    VERSION_MISMATCH = "skewed"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResponse:
    """Classified response to one batch."""

    kind: ResponseKind
    #: Human-readable; never contains a secret.
    reason: str
    #: None without a response.
    status: int | None = None
    #: Set for STORED only.
    ack: Ack | None = None
    #: ``Retry-After`` in seconds; None if it is missing or not a number.
    retry_after_s: float | None = None
    #: True if the body is a problem document, so a collector wrote it.
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
#: Kinds with lasting effect on a batch or an epoch; accepted only from a collector.
_COLLECTOR_ONLY_KINDS = frozenset({ResponseKind.REFUSED, ResponseKind.CONFLICT})


def build_unavailable_response(reason: str) -> BatchResponse:
    """Return the result of a failed request: a timeout, a reset, a DNS error, an invalid certificate."""
    return BatchResponse(kind=ResponseKind.UNAVAILABLE, reason=reason[:REASON_LENGTH_MAX])


def parse_response(status: int, retry_after: str, body: bytes, digest: str) -> BatchResponse:
    """Classify an HTTP response to the batch with ``digest``. ``retry_after`` is the header, or "" without it."""
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
    """Return the kind of a status other than 200, by the status alone."""
    if status >= 500:
        return ResponseKind.UNAVAILABLE
    if status < 400:
        return ResponseKind.NOT_A_COLLECTOR
    return _KIND_BY_STATUS.get(status, ResponseKind.DENIED)


def _parse_success(body: bytes, digest: str) -> BatchResponse:
    try:
        ack = codec.decode(body, Ack)
    except WireError:
        return _build_not_a_collector_response("200, but not from a collector (a captive portal or a proxy?)")
    if ack.digest != digest:
        return _build_not_a_collector_response("200 with an acknowledgement for other bytes (a caching proxy?)")
    return BatchResponse(kind=ResponseKind.STORED, reason="stored", status=200, ack=ack)


def _build_not_a_collector_response(reason: str) -> BatchResponse:
    return BatchResponse(kind=ResponseKind.NOT_A_COLLECTOR, reason=reason, status=200)


def _parse_problem(status: int, body: bytes) -> str | None:
    """Return the detail of a problem document with this status; None if ``body`` is not one."""
    try:
        document = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if document.get("status") != status:
        return None
    return str(document.get("detail") or document.get("title") or "without a reason")
