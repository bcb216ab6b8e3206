"""Classification of HTTP responses to a batch."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.wire import codec
from leadline.wire.batch import Ack, compute_digest
from leadline_agent.delivery.responses import (
    REASON_LENGTH_MAX,
    BatchResponse,
    ResponseKind,
    build_unavailable_response,
    parse_response,
)

DIGEST = compute_digest(b"a packed batch")
ACK = codec.encode(Ack(digest=DIGEST, mesh_version=4, batches=7))
HTML = b"<html><h1>Bad request</h1></html>"
STATUSES = {
    ResponseKind.NOT_A_COLLECTOR: (201, 204, 301, 302, 307),
    ResponseKind.REFUSED: (400, 422),
    ResponseKind.DENIED: (401, 402, 403, 404, 405),
    ResponseKind.CONFLICT: (409,),
    ResponseKind.TOO_LARGE: (413,),
    ResponseKind.VERSION_MISMATCH: (415, 426),
    ResponseKind.UNAVAILABLE: (408, 429, 500, 502, 503, 504),
}


def problem(status: int) -> bytes:
    return msgspec.json.encode({"type": "about:blank", "title": "No", "status": status, "detail": "series[0]: wrong"})


def parse(status: int, body: bytes = b"", retry_after: str = "") -> BatchResponse:
    return parse_response(status, retry_after, body, DIGEST)


def test_an_acknowledgement_repeats_the_digest() -> None:
    """200 with the digest of the sent bytes is STORED."""
    response = parse(200, ACK)

    assert response.kind is ResponseKind.STORED
    assert response.ack is not None
    assert response.ack.batches == 7


@pytest.mark.parametrize("body", [HTML, b"", b"{}", b"[]", b"\xff", b"[" * 100_000, ACK[:-1], problem(200)])
def test_200_without_acknowledgement_is_not_a_collector(body: bytes) -> None:
    """A captive portal returns 200 too."""
    assert parse(200, body).kind is ResponseKind.NOT_A_COLLECTOR


def test_acknowledgement_of_other_bytes_is_not_a_collector() -> None:
    """A proxy may replay the response to an earlier batch."""
    assert parse_response(200, "", ACK, compute_digest(b"other bytes")).kind is ResponseKind.NOT_A_COLLECTOR


@pytest.mark.parametrize(
    ("status", "kind"), [(status, kind) for kind, statuses in STATUSES.items() for status in statuses]
)
def test_every_status_has_its_kind(status: int, kind: ResponseKind) -> None:
    """Each status has its kind when the body is a problem document."""
    response = parse(status, problem(status))

    assert response.kind is kind
    assert response.reason == f"{status} series[0]: wrong"


@pytest.mark.parametrize("status", [400, 409, 422])
@pytest.mark.parametrize("body", [HTML, b"", b'{"status": 500}', b'{"error": "no"}'])
def test_only_a_collector_refuses_permanently(status: int, body: bytes) -> None:
    """A proxy's page with 400, 409 or 422 must not cost a batch."""
    assert parse(status, body).kind is ResponseKind.NOT_A_COLLECTOR


@pytest.mark.parametrize(("header", "seconds"), [("17", 17.0), ("0", 0.0), ("soon", None), ("", None), ("-1", None)])
def test_retry_after_in_seconds(header: str, seconds: float | None) -> None:
    """A date or an invalid value is ignored."""
    assert parse(503, b"", header).retry_after_s == seconds


@pytest.mark.parametrize("header", ["²", "٣", "1" * 400])
def test_unusual_retry_after_is_harmless(header: str) -> None:
    """Non-ASCII digits and huge numbers raise no exception."""
    parse(503, b"", header)


def test_reason_is_limited() -> None:
    """A long reason is truncated to the limit."""
    body = msgspec.json.encode({"status": 400, "detail": "x" * 10_000})

    assert len(parse(400, body).reason) == REASON_LENGTH_MAX
    assert len(build_unavailable_response("y" * 10_000).reason) == REASON_LENGTH_MAX


@given(st.integers(100, 999), st.binary(max_size=200), st.text(max_size=20))
def test_only_the_digest_acknowledges(status: int, body: bytes, retry_after: str) -> None:
    """Every response is classified, and random bytes are never an acknowledgement."""
    response = parse(status, body, retry_after)

    assert response.kind is not ResponseKind.STORED
