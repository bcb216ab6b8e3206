"""What an HTTP answer says about a batch."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.wire import batch as wire
from leadline.wire import codec
from leadline_agent.delivery.responses import (
    REASON_LENGTH_MAX,
    BatchResponse,
    ResponseKind,
    build_unavailable_response,
    parse_response,
)

DIGEST = wire.compute_digest(b"a packed batch")
ACK = codec.encode(wire.Ack(digest=DIGEST, mesh_version=4, batches=7))
HTML = b"<html><h1>Bad request</h1></html>"


def problem(status: int) -> bytes:
    return msgspec.json.encode({"type": "about:blank", "title": "No", "status": status, "detail": "series[0]: wrong"})


def read(status: int, body: bytes = b"", retry_after: str = "") -> BatchResponse:
    return parse_response(status, retry_after, body, DIGEST)


def test_an_acknowledgement_repeats_the_digest() -> None:
    """200 with the digest of the very bytes: stored."""
    answer = read(200, ACK)

    assert answer.kind is ResponseKind.STORED
    assert answer.ack is not None
    assert answer.ack.batches == 7


@pytest.mark.parametrize("body", [HTML, b"", b"{}", b"[]", b"\xff", b"[" * 100_000, ACK[:-1], problem(200)])
def test_a_200_that_is_no_acknowledgement_is_a_strangers(body: bytes) -> None:
    """A captive portal answers 200 too."""
    assert read(200, body).kind is ResponseKind.NOT_A_COLLECTOR


def test_an_acknowledgement_of_other_bytes_is_a_strangers() -> None:
    """A proxy that replays the answer to an earlier batch."""
    assert parse_response(200, "", ACK, wire.compute_digest(b"other bytes")).kind is ResponseKind.NOT_A_COLLECTOR


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (201, ResponseKind.NOT_A_COLLECTOR), (204, ResponseKind.NOT_A_COLLECTOR), (301, ResponseKind.NOT_A_COLLECTOR), (302, ResponseKind.NOT_A_COLLECTOR), (307, ResponseKind.NOT_A_COLLECTOR),
        (400, ResponseKind.REFUSED), (401, ResponseKind.DENIED), (402, ResponseKind.DENIED), (403, ResponseKind.DENIED), (404, ResponseKind.DENIED),
        (405, ResponseKind.DENIED), (408, ResponseKind.UNAVAILABLE), (409, ResponseKind.CONFLICT), (413, ResponseKind.TOO_LARGE), (415, ResponseKind.VERSION_MISMATCH),
        (422, ResponseKind.REFUSED), (426, ResponseKind.VERSION_MISMATCH), (429, ResponseKind.UNAVAILABLE), (500, ResponseKind.UNAVAILABLE), (502, ResponseKind.UNAVAILABLE),
        (503, ResponseKind.UNAVAILABLE), (504, ResponseKind.UNAVAILABLE),
    ],
)  # fmt: skip
def test_every_status_has_its_kind(status: int, kind: ResponseKind) -> None:
    """As a collector says it, in a problem document."""
    answer = read(status, problem(status))

    assert answer.kind is kind
    assert answer.reason == f"{status} series[0]: wrong"


@pytest.mark.parametrize("status", [400, 409, 422])
@pytest.mark.parametrize("body", [HTML, b"", b'{"status": 500}', b'{"error": "no"}'])
def test_only_a_collector_refuses_for_ever(status: int, body: bytes) -> None:
    """A proxy's page with 400, 409 or 422 must not cost a batch."""
    assert read(status, body).kind is ResponseKind.NOT_A_COLLECTOR


@pytest.mark.parametrize(("header", "seconds"), [("17", 17.0), ("0", 0.0), ("soon", None), ("", None), ("-1", None)])
def test_retry_after_in_seconds(header: str, seconds: float | None) -> None:
    """A date or rubbish is passed over."""
    assert read(503, b"", header).retry_after_s == seconds


@pytest.mark.parametrize("header", ["²", "٣", "1" * 400])
def test_a_retry_after_that_is_strange_does_no_harm(header: str) -> None:
    """Digits that are none, and more than any clock counts."""
    read(503, b"", header)


def test_a_reason_fits_a_log_line() -> None:
    """A page of megabytes is cut."""
    long = msgspec.json.encode({"status": 400, "detail": "x" * 10_000})

    assert len(read(400, long).reason) == REASON_LENGTH_MAX
    assert len(build_unavailable_response("y" * 10_000).reason) == REASON_LENGTH_MAX


@given(st.integers(100, 999), st.binary(max_size=200), st.text(max_size=20))
def test_nothing_but_the_digest_acknowledges(status: int, body: bytes, retry_after: str) -> None:
    """Whatever arrives, it is an answer of some kind and never an acknowledgement."""
    answer = read(status, body, retry_after)

    assert answer.kind is not ResponseKind.STORED
