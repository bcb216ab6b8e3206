"""Client of the collector's admin API. Only the collector process writes to its database."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import urllib3

from leadline.errors import ConfigError, UnavailableError
from leadline.user_dirs import resolve_data_dir
from leadline.wire import codec

URL_DEFAULT = "http://127.0.0.1:8427"
URL_VARIABLE = "LEADLINE_COLLECTOR_URL"
KEY_VARIABLE = "LEADLINE_ADMIN_KEY_FILE"

#: Enough for three hundred verdicts in one response.
READ_TIMEOUT_S = 300
#: Bytes of a download in memory.
PIECE_BYTES = 1 << 17
#: A key as it fits into a header: printable ASCII without spaces.
_KEY = re.compile(rb"[!-~]{1,1024}")

ResponseT = TypeVar("ResponseT")


def add_collector_options(parser: argparse.ArgumentParser) -> None:
    """Add the two options of every administration command."""
    parser.add_argument(
        "--collector", metavar="URL", default=os.environ.get(URL_VARIABLE, URL_DEFAULT),
        help=f"URL of the collector (default ${URL_VARIABLE}, or {URL_DEFAULT})",
    )  # fmt: skip
    parser.add_argument(
        "--admin-key-file", metavar="FILE", type=Path, default=None,
        help=f"file with the admin key (default ${KEY_VARIABLE}, or admin.key in the collector's data directory)",
    )  # fmt: skip


def read_admin_key(args: argparse.Namespace) -> str:
    """Return the admin key from its file; raise ConfigError if the file cannot be read or has no key."""
    option = args.admin_key_file or os.environ.get(KEY_VARIABLE)
    path = Path(option) if option else resolve_data_dir(os.environ) / "admin.key"
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(
            "--admin-key-file",
            f"cannot read {path}: {error.strerror}; the collector creates admin.key in its data directory at its first "
            "start: run this command on its host as its user, or pass a copy of the file",
        ) from error
    if not _KEY.fullmatch(key):
        # The content stays out of the message: it may be another secret.
        raise ConfigError(
            "--admin-key-file", f"{path} does not contain a key: expected one line of at most 1,024 characters"
        )
    return key.decode("ascii")


def send_admin_request(
    args: argparse.Namespace, method: str, path: str, body: bytes, response_type: type[ResponseT]
) -> ResponseT:
    """Send one request with the admin key and decode the response; raise UnavailableError or ConfigError."""
    return codec.decode(_request(args, method, path, body), response_type)


def fetch_bytes(args: argparse.Namespace, path: str) -> bytes:
    """Fetch a file from the collector with the admin key."""
    return _request(args, "GET", path, b"")


def _request(args: argparse.Namespace, method: str, path: str, body: bytes) -> bytes:
    return _send(args, method, path, body).data


def _send(
    args: argparse.Namespace, method: str, path: str, body: bytes, *, preload: bool = True
) -> urllib3.BaseHTTPResponse:
    headers = {"Authorization": f"Bearer {read_admin_key(args)}", "Content-Type": _detect_content_type(body)}
    url = args.collector.rstrip("/") + path
    pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=READ_TIMEOUT_S), retries=False)
    try:
        response = pool.request(method, url, body=body, headers=headers, redirect=False, preload_content=preload)
    except urllib3.exceptions.HTTPError as error:
        raise UnavailableError(f"no response from {url}: {error}; check that the collector runs there") from error
    if response.status != 200:
        raise UnavailableError(format_problem(url, response.status, response.data))
    return response


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A response that is read in pieces."""

    headers: Mapping[str, str]
    #: UnavailableError if the response ends early.
    pieces: Iterator[bytes]


@contextmanager
def open_download(args: argparse.Namespace, path: str) -> Iterator[Download]:
    """Request a file from the collector with the admin key, without reading it into memory."""
    response = _send(args, "GET", path, b"", preload=False)
    try:
        yield Download(headers=response.headers, pieces=_iter_pieces(response, args.collector))
    finally:
        response.close()


def _iter_pieces(response: urllib3.BaseHTTPResponse, url: str) -> Iterator[bytes]:
    try:
        yield from response.stream(PIECE_BYTES)
    except urllib3.exceptions.HTTPError as error:
        raise UnavailableError(
            f"the download from {url} ended early: {error}; run the command again, or look into the collector's log"
        ) from error


def _detect_content_type(body: bytes) -> str:
    return "application/json" if body.startswith(b"{") else "application/toml"


def format_problem(url: str, status: int, body: bytes) -> str:
    """Return the detail of a problem document (RFC 9457) as one line."""
    try:
        problem = msgspec.json.decode(body, type=dict[str, object])
    except msgspec.DecodeError:
        return f"{url} responded with status {status} and no problem document (is it a collector?): {body[:80]!r}"
    return str(problem.get("detail") or problem.get("title") or f"{url} responded with status {status}")
