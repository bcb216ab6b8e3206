"""The agent's side of HTTP: translates answers into values and decides nothing.

Only a 200 that repeats the digest of the very bytes sent is an acknowledgement: a captive portal answers 200 too.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass

import msgspec
import urllib3

from leadline import wire
from leadline.errors import ConfigError, UnavailableError, WireError

TIMEOUT = urllib3.Timeout(connect=5.0, read=30.0)
#: Answers are small: a plan of 10,000 targets is 2 MB.
ANSWER_BYTES_MAX = 8 << 20
#: Level 6 takes twice the time for 3 % less on RTT columns.
GZIP_LEVEL = 4


@dataclass(frozen=True, slots=True)
class _Answer:
    """One HTTP answer, read to its end."""

    status: int
    retry_after: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """The batch is in the store."""

    ack: wire.Ack


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Nothing is known to be stored: keep it and try again. ``loud`` when a person has to act."""

    reason: str
    after_s: float | None = None
    loud: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The collector will never take these bytes."""

    reason: str


def pack(batch: wire.Batch) -> bytes:
    """The body as it travels; the same batch always gives the same bytes, so a retry is byte-identical."""
    return gzip.compress(wire.encode(batch), compresslevel=GZIP_LEVEL, mtime=0)


class CollectorClient:
    """One agent's connection to its collector."""

    def __init__(self, url: str, key: str, ca_file: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"}
        self._pool = _pool(ca_file)

    def push(self, body: bytes) -> Accepted | RetryLater | Refused:
        """Send one packed batch."""
        headers = {**self._headers, "Content-Type": "application/json", "Content-Encoding": "gzip"}
        answer = self._request("POST", "/api/v1/batches", headers, body)
        if isinstance(answer, RetryLater):
            return answer
        if answer.status == 200:
            return _acknowledged(answer.data, wire.digest(body))
        if answer.status in {400, 409, 413, 422}:
            return Refused(_reason(answer.status, answer.data))
        return _later(answer)

    def plan(self, known_version: int | None) -> wire.Plan | RetryLater | None:
        """The plan in force; None when it is still ``known_version``."""
        headers = dict(self._headers)
        if known_version is not None:
            headers["If-None-Match"] = f'"{known_version}"'
        answer = self._request("GET", "/api/v1/plan", headers, None)
        if isinstance(answer, RetryLater):
            return answer
        if answer.status == 304:
            return None
        if answer.status != 200:
            return _later(answer)
        try:
            return wire.decode(answer.data, wire.Plan)
        except WireError as error:
            return RetryLater(f"the plan is not one: {error}", loud=True)

    def _request(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> _Answer | RetryLater:
        try:
            answer = self._pool.request(
                method, self._url + path, body=body, headers=headers, redirect=False, preload_content=False
            )
            try:
                data = answer.read(ANSWER_BYTES_MAX + 1)
            finally:
                answer.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return RetryLater(f"no answer from {self._url}: {error}")
        if len(data) > ANSWER_BYTES_MAX:
            return RetryLater(f"{self._url} answers without end", loud=True)
        return _Answer(answer.status, answer.headers.get("Retry-After", ""), data)


def _pool(ca_file: str | None) -> urllib3.PoolManager:
    return urllib3.PoolManager(timeout=TIMEOUT, retries=False, maxsize=1, ca_certs=ca_file)


def _acknowledged(data: bytes, digest: str) -> Accepted | RetryLater:
    try:
        ack = wire.decode(data, wire.Ack)
    except WireError:
        return RetryLater("something that is no collector answered 200 (a portal or proxy?)", loud=True)
    if ack.digest != digest:
        return RetryLater("the acknowledgement is for other bytes (a proxy that replays?)", loud=True)
    return Accepted(ack)


def _later(answer: _Answer) -> RetryLater:
    return RetryLater(
        _reason(answer.status, answer.data),
        after_s=float(answer.retry_after) if answer.retry_after.isdecimal() else None,
        loud=300 <= answer.status < 500 and answer.status not in {408, 429},
    )


def _reason(status: int, data: bytes) -> str:
    try:
        problem = msgspec.json.decode(data, type=dict[str, object])
    except msgspec.DecodeError:
        problem = {}
    return f"{status} {problem.get('detail') or problem.get('title') or 'without a reason'}"


def enrol(url: str, token: str, agent: str | None, ca_file: str | None = None) -> wire.EnrolAnswer:
    """Exchange a one-time token for the agent's key; ConfigError or UnavailableError says why not."""
    try:
        body = wire.encode(wire.EnrolRequest(token=token, agent=agent))
        answer = _pool(ca_file).request(
            "POST", url.rstrip("/") + "/api/v1/enroll", body=body, redirect=False,
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
    except urllib3.exceptions.LocationValueError as error:
        raise ConfigError("URL", f"{url!r} is no address of a collector: {error}") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnavailableError(f"no answer from {url}: {error}; is the collector running there?") from error
    if answer.status != 200:
        raise UnavailableError(f"{url} did not enrol this agent: {_reason(answer.status, answer.data)}")
    return wire.decode(answer.data, wire.EnrolAnswer)
