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


class Kind(StrEnum):
    """What an answer means. The list is closed, and every status has its place in it (``kind_of``)."""

    #: The batch is in the store.
    STORED = "stored"
    #: Nobody answered in time, or something broke, or it is too busy.
    AWAY = "away"
    #: Something answered that does not speak as a collector does: a portal, a proxy, a wrong address.
    STRANGER = "stranger"
    #: The collector will never take these bytes.
    REFUSED = "refused"
    #: No valid key, another's key, or no such route.
    DENIED = "denied"
    #: The name of the batch is taken by other bytes.
    CLONED = "cloned"
    #: Too many bytes at once.
    TOO_LARGE = "too_large"
    #: The collector is of another version and does not understand this one's.
    SKEWED = "skewed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back for one batch."""

    kind: Kind
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
        assert (self.kind is Kind.STORED) == (self.ack is not None)


_KINDS = {
    400: Kind.REFUSED,
    422: Kind.REFUSED,
    401: Kind.DENIED,
    403: Kind.DENIED,
    404: Kind.DENIED,
    409: Kind.CLONED,
    413: Kind.TOO_LARGE,
    415: Kind.SKEWED,
    426: Kind.SKEWED,
    408: Kind.AWAY,
    429: Kind.AWAY,
}
#: What costs the agent a batch or its epoch is believed from a collector only.
_COLLECTORS_WORD = frozenset({Kind.REFUSED, Kind.CLONED})


def no_answer(reason: str) -> Answer:
    """A timeout, a reset, a refused connection, a name without an address, a certificate that is not good."""
    return Answer(kind=Kind.AWAY, reason=reason[:REASON_LENGTH_MAX])


def read_answer(status: int, retry_after: str, body: bytes, digest: str) -> Answer:
    """What an HTTP answer says about the batch whose bytes have ``digest``. ``retry_after`` is that header or ""."""
    if status == 200:
        return _read_200(body, digest)
    problem = _problem(status, body)
    kind = kind_of(status)
    if kind in _COLLECTORS_WORD and problem is None:
        kind = Kind.STRANGER
    return Answer(
        kind=kind,
        reason=f"{status} {problem or 'without a reason'}"[:REASON_LENGTH_MAX],
        status=status,
        retry_after_s=float(retry_after) if retry_after.isascii() and retry_after.isdecimal() else None,
        is_problem=problem is not None,
    )


def kind_of(status: int) -> Kind:
    """The kind of every status but 200, before it is asked who wrote it."""
    if status >= 500:
        return Kind.AWAY
    if status < 400:
        return Kind.STRANGER
    return _KINDS.get(status, Kind.DENIED)


def _read_200(body: bytes, digest: str) -> Answer:
    try:
        ack = codec.decode(body, wire.Ack)
    except WireError:
        return _stranger("200 from something that is no collector (a portal or proxy?)")
    if ack.digest != digest:
        return _stranger("200 with an acknowledgement for other bytes (a proxy that replays?)")
    return Answer(kind=Kind.STORED, reason="stored", status=200, ack=ack)


def _stranger(reason: str) -> Answer:
    return Answer(kind=Kind.STRANGER, reason=reason, status=200)


def _problem(status: int, body: bytes) -> str | None:
    """What a problem document about ``status`` says; None if ``body`` is none."""
    try:
        document = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if document.get("status") != status:
        return None
    return str(document.get("detail") or document.get("title") or "without a reason")
