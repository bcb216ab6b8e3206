"""The agent's side of HTTP: sends, reads what comes back, and decides nothing (``answers``, ``upload``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import urllib3

from leadline.errors import ConfigError, LeadlineError, UnavailableError, WireError
from leadline.wire import batch as wire
from leadline.wire import codec, control
from leadline.wire import headers as wire_headers
from leadline.wire.headers import SpoolBacklog
from leadline_agent.delivery.responses import BatchResponse, build_unavailable_response, parse_response
from leadline_agent.identity.signer import load_signer
from leadline_agent.identity.state_dir import Credential

TIMEOUT = urllib3.Timeout(connect=5.0, read=30.0)
#: Of an agent that ends: its service manager does not wait for ever, and what is not sent waits in the spool.
SHUTDOWN_TIMEOUT = urllib3.Timeout(connect=1.0, read=3.0)
#: Answers are small: a plan of 10,000 targets is 2 MB.
RESPONSE_BYTES_MAX = 8 << 20
#: No such key any more; not signed, or signed with a key that another replaced.
_KEY_REJECTED_STATUSES = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class _HttpResponse:
    """One HTTP answer, read to its end."""

    status: int
    retry_after: str
    data: bytes


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """There was no answer that says what was asked for, and why."""

    reason: str


class CollectorClient:
    """One agent's connection to its collector."""

    def __init__(
        self,
        url: str,
        credential: Credential,
        load_credential: Callable[[], Credential] | None = None,
        get_backlog: Callable[[], SpoolBacklog] | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._pool = _make_pool(credential.ca_file)
        self._timeout = TIMEOUT
        #: `leadline agent rotate` replaced the keys on disk while this process ran with the old ones.
        self._load_credential = load_credential
        #: What waits at the moment, for who watches the collector; None where nobody asks.
        self._get_backlog = get_backlog
        self.use_credential(credential)

    def use_credential(self, credential: Credential) -> None:
        """Use these keys from now on; UnavailableError if they sign and signing is not installed."""
        self._signer = None if credential.signing_key is None else load_signer(credential.signing_key)
        self._credential = credential

    @property
    def url(self) -> str:
        """Where it is."""
        return self._url

    def shorten_timeouts(self) -> None:
        """Do not wait for long from now on: the agent is about to end."""
        self._timeout = SHUTDOWN_TIMEOUT

    def send_batch(self, body: bytes) -> BatchResponse:
        """Send one packed batch."""
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        if self._get_backlog is not None:
            headers[wire_headers.SPOOL_HEADER] = self._get_backlog().to_header()
        answer = self._request("POST", "/api/v1/batches", headers, body)
        if isinstance(answer, RequestFailed):
            return build_unavailable_response(answer.reason)
        return parse_response(answer.status, answer.retry_after, answer.data, wire.compute_digest(body))

    def fetch_plan(self, known_version: int | None) -> control.Plan | RequestFailed | None:
        """The plan in force; None when it is still ``known_version``."""
        headers = {} if known_version is None else {"If-None-Match": f'"{known_version}"'}
        answer = self._request("GET", "/api/v1/plan", headers, None)
        if isinstance(answer, RequestFailed):
            return answer
        if answer.status == 304:
            return None
        if answer.status != 200:
            return RequestFailed(_describe_problem(answer.status, answer.data))
        try:
            return codec.decode(answer.data, control.Plan)
        except WireError as error:
            return RequestFailed(f"the plan is not one: {error}")

    def _request(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None
    ) -> _HttpResponse | RequestFailed:
        answer = self._send(method, path, headers, body)
        if not (
            isinstance(answer, _HttpResponse) and answer.status in _KEY_REJECTED_STATUSES and self._reload_credential()
        ):
            return answer
        return self._send(method, path, headers, body)

    def _reload_credential(self) -> bool:
        """True if a key was rotated meanwhile; the new one is used from now on."""
        if self._load_credential is None:
            return False
        before = self._credential
        try:
            self.use_credential(self._load_credential())
        except LeadlineError:
            return False
        return self._credential != before

    def _build_headers(self, body: bytes | None) -> dict[str, str]:
        """Who asks, and the signature of a batch."""
        headers = {"Authorization": f"Bearer {self._credential.key}"}
        return headers if body is None or self._signer is None else headers | self._signer.build_headers(body)

    def _send(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None
    ) -> _HttpResponse | RequestFailed:
        try:
            answer = self._pool.request(
                method,
                self._url + path,
                body=body,
                headers={"User-Agent": wire_headers.USER_AGENT} | headers | self._build_headers(body),
                redirect=False,
                preload_content=False,
                timeout=self._timeout,
            )
            try:
                data = answer.read(RESPONSE_BYTES_MAX + 1)
            finally:
                answer.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return RequestFailed(f"no answer from {self._url}: {error}")
        if len(data) > RESPONSE_BYTES_MAX:
            return RequestFailed(f"{self._url} answers without end")
        return _HttpResponse(answer.status, answer.headers.get("Retry-After", ""), data)


def _make_pool(ca_file: str | None) -> urllib3.PoolManager:
    return urllib3.PoolManager(timeout=TIMEOUT, retries=False, maxsize=1, ca_certs=ca_file)


def _describe_problem(status: int, data: bytes) -> str:
    try:
        problem = msgspec.json.decode(data, type=dict[str, object])
    except msgspec.DecodeError:
        problem = {}
    return f"{status} {problem.get('detail') or problem.get('title') or 'without a reason'}"


def enrol_agent(
    url: str, token: str, agent: str | None, ca_file: str | None = None, signing_key: str | None = None
) -> control.EnrolResponse:
    """Exchange a one-time token for the agent's key; ConfigError or UnavailableError says why not.

    ``signing_key`` is the public half, in hex, of what the agent will sign with.
    """
    try:
        body = codec.encode(control.EnrolRequest(token=token, agent=agent, signing_key=signing_key))
        answer = _make_pool(ca_file).request(
            "POST", url.rstrip("/") + "/api/v1/enroll", body=body, redirect=False,
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
    except urllib3.exceptions.LocationValueError as error:
        raise ConfigError("URL", f"{url!r} is no address of a collector: {error}") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnavailableError(f"no answer from {url}: {error}; is the collector running there?") from error
    if answer.status != 200:
        raise UnavailableError(f"{url} did not enrol this agent: {_describe_problem(answer.status, answer.data)}")
    return codec.decode(answer.data, control.EnrolResponse)
