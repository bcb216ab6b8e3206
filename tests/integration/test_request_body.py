"""Hostile and damaged bodies: each gets its status and path; nothing is stored."""

from __future__ import annotations

import gzip
import socket
import tracemalloc
import zlib
from collections.abc import Iterator

import msgspec
import pytest

from leadline.wire import codec
from leadline.wire.batch import BODY_BYTES_MAX, INFLATED_BYTES_MAX, compute_digest
from leadline_collector.errors import TooLargeError
from leadline_collector.http.request_body import DRAIN_FACTOR, SMALL_BODY_BYTES_MAX
from leadline_collector.journal.body_codec import inflate_body
from tests.integration.conftest import Client
from tests.support.documents import build_batch, build_steady_window, encode_body

GOOD = build_batch(("ams1", build_steady_window(4_900)))
PLAIN = codec.encode(GOOD)


def with_members(**members: object) -> bytes:
    """Return the good batch with members added or replaced, compressed."""
    return gzip.compress(msgspec.json.encode(msgspec.json.decode(PLAIN) | members))


#: name: (body, Content-Encoding, status, path in the document)
BAD = {
    "not gzip": (PLAIN, "gzip", 400, None),
    "cut off": (encode_body(GOOD)[:-9], "gzip", 400, None),
    "flipped bit": (encode_body(GOOD)[:-6] + b"\x00" + encode_body(GOOD)[-5:], "gzip", 400, None),
    "followed by more": (encode_body(GOOD) + b"more", "gzip", 400, None),
    "second member": (encode_body(GOOD) * 2, "gzip", 400, None),
    "zlib and not gzip": (zlib.compress(PLAIN), "gzip", 400, None),
    "gzip declared as plain": (encode_body(GOOD), "identity", 400, "document"),
    "nothing": (b"", "identity", 400, "document"),
    "not JSON": (gzip.compress(b"{"), "gzip", 400, "document"),
    "not UTF-8": (gzip.compress(b'{"agent": "\xff\xfe"}'), "gzip", 400, "document"),
    "NaN": (gzip.compress(PLAIN.replace(b"4900", b"NaN", 1)), "gzip", 400, "document"),
    "an infinity": (gzip.compress(PLAIN.replace(b"4900", b"1e999", 1)), "gzip", 422, "series[0].rtt_us[0]"),
    "a fraction": (gzip.compress(PLAIN.replace(b"4900", b"49.5", 1)), "gzip", 422, "series[0].rtt_us[0]"),
    "a million brackets": (gzip.compress(b"[" * 1_000_000), "gzip", 422, "document"),
    "no windows at all": (with_members(series=None), "gzip", 422, "series"),
    "unknown key": (with_members(colour="red"), "gzip", 422, "document"),
    "later version": (with_members(v=4_000_000_000), "gzip", 426, "v"),
    "later version with an unknown key": (with_members(v=4_000_000_000, colour="red"), "gzip", 426, "v"),
    "no version": (with_members(v="1"), "gzip", 422, "v"),
    "list": (gzip.compress(b"[]"), "gzip", 422, "document"),
    "brotli": (encode_body(GOOD), "br", 415, None),
    "two encodings": (encode_body(GOOD), "gzip, gzip", 415, None),
    "a byte too large": (bytes(BODY_BYTES_MAX + 1), "gzip", 413, None),
    "a bomb": (gzip.compress(bytes(INFLATED_BYTES_MAX + 1)), "gzip", 413, None),
    "a large bomb": (gzip.compress(bytes(300 << 20)), "gzip", 413, None),
}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)  # these bodies do not reach the database
@pytest.mark.parametrize("name", BAD)
def test_a_bad_body_is_refused(client: Client, fra1: str, name: str) -> None:
    """Damaged bytes get 400, an invalid document 422 with the path, too large 413, an unknown encoding 415."""
    data, encoding, status, path = BAD[name]

    answer = client.post_bytes(data, fra1, encoding)

    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.json().get("path") == path


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_chunked_body_is_limited(client: Client, fra1: str) -> None:
    """A body without Content-Length gets the same 413, and the client can read the response."""

    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield bytes(64 << 10)

    answer = client.send("POST", "/api/v1/batches", chunks(), fra1, Content_Encoding="gzip")

    assert (answer.status, answer.json()["status"]) == (413, 413)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_body_of_the_maximum_size_is_read(client: Client, fra1: str) -> None:
    """Exactly the limit is accepted; the 400 is because it is not gzip."""
    answer = client.post_bytes(bytes(BODY_BYTES_MAX), fra1)

    assert answer.status == 400


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("encoding", ["identity", ""])
def test_an_uncompressed_body_is_accepted(client: Client, fra1: str, encoding: str) -> None:
    """So curl can send a batch."""
    headers = {"Content_Encoding": encoding} if encoding else {}

    answer = client.send("POST", "/api/v1/batches", PLAIN, fra1, **headers)

    assert (answer.status, answer.json()["digest"]) == (200, compute_digest(PLAIN))


def test_a_bomb_takes_no_more_memory_than_the_limit() -> None:
    """A body of 300 kB with 300 MB of zeros is inflated to about 8 MiB only."""
    bomb = gzip.compress(bytes(300 << 20))
    tracemalloc.start()

    with pytest.raises(TooLargeError):
        inflate_body(bomb)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * INFLATED_BYTES_MAX


def test_inflation_stops_at_its_limit() -> None:
    """The largest permitted document inflates, one byte more does not."""
    assert len(inflate_body(gzip.compress(bytes(INFLATED_BYTES_MAX)))) == INFLATED_BYTES_MAX
    with pytest.raises(TooLargeError):
        inflate_body(gzip.compress(bytes(INFLATED_BYTES_MAX + 1)))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("path", ["/api/v1/enroll", "/api/v1/tokens"])
def test_small_requests_have_a_small_limit(client: Client, fra1: str, path: str) -> None:
    """16 KiB are read; one byte more gets 413, with or without Content-Length."""

    def chunks() -> Iterator[bytes]:
        for _ in range(4):
            yield b" " * (SMALL_BODY_BYTES_MAX // 2)

    answers = [
        client.send("POST", path, body, client.admin_key)
        for body in (b" " * SMALL_BODY_BYTES_MAX, b" " * (SMALL_BODY_BYTES_MAX + 1), chunks())
    ]

    assert [answer.status for answer in answers] == [400, 413, 413]
    assert str(SMALL_BODY_BYTES_MAX) in answers[1].json()["detail"]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_an_oversized_body_is_read_up_to_a_limit(client: Client) -> None:
    """128 KiB of a large enrolment request are discarded; then the client gets its response."""
    with socket.create_connection(("127.0.0.1", int(client.url.rpartition(":")[2])), timeout=10) as stream:
        stream.sendall(b"POST /api/v1/enroll HTTP/1.1\r\nHost: x\r\nContent-Length: 99000000\r\n\r\n")
        stream.sendall(b" " * (DRAIN_FACTOR * SMALL_BODY_BYTES_MAX + 1))

        assert stream.recv(12) == b"HTTP/1.1 413"
