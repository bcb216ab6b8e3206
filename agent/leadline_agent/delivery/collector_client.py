"""HTTP client of the collector. It contains no policy (see ``responses`` and ``upload_policy``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import urllib3

from leadline.errors import ConfigError, LeadlineError, UnavailableError, WireError
from leadline.wire import codec
from leadline.wire.batch import compute_digest
from leadline.wire.control import EnrolRequest, EnrolResponse, Plan
from leadline.wire.headers import SPOOL_HEADER, USER_AGENT, SpoolBacklog
from leadline_agent.delivery.responses import BatchResponse, build_unavailable_response, parse_response
from leadline_agent.identity.signer import load_signer
from leadline_agent.identity.state_dir import Credential

TIMEOUT = urllib3.Timeout(connect=5.0, read=30.0)
#: Timeout during shutdown: the service manager waits only briefly, and unsent batches stay in the spool.
SHUTDOWN_TIMEOUT = urllib3.Timeout(connect=1.0, read=3.0)
#: Responses are small: a plan of 10,000 targets is 2 MB.
RESPONSE_BYTES_MAX = 8 << 20
#: 401: unknown key. 403: signature missing, or made with a replaced key.
_KEY_REJECTED_STATUSES = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class _HttpResponse:
    """One complete HTTP response."""

    status: int
    retry_after: str
    data: bytes


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """Result of a request without a valid response, with the reason."""

    reason: str


class CollectorClient:
    """Connection of one agent to one collector."""

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
        #: Reloads the keys after `leadline agent rotate` has replaced them on disk.
        self._load_credential = load_credential
        #: Returns the current backlog, which the collector displays; None: not reported.
        self._get_backlog = get_backlog
        self.use_credential(credential)

    def use_credential(self, credential: Credential) -> None:
        """Use other keys from now on. Raise UnavailableError if they need signing and it is not installed."""
        self._signer = None if credential.signing_key is None else load_signer(credential.signing_key)
        self._credential = credential

    @property
    def url(self) -> str:
        """URL of the collector."""
        return self._url

    def shorten_timeouts(self) -> None:
        """Use short timeouts from now on, for the shutdown."""
        self._timeout = SHUTDOWN_TIMEOUT

    def send_batch(self, body: bytes) -> BatchResponse:
        """Upload one encoded batch."""
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        if self._get_backlog is not None:
            headers[SPOOL_HEADER] = self._get_backlog().to_header()
        response = self._request("POST", "/api/v1/batches", headers, body)
        if isinstance(response, RequestFailed):
            return build_unavailable_response(response.reason)
        return parse_response(response.status, response.retry_after, response.data, compute_digest(body))

    def fetch_plan(self, known_version: int | None) -> Plan | RequestFailed | None:
        """Return the active plan; None if its version is still ``known_version``."""
        headers = {} if known_version is None else {"If-None-Match": f'"{known_version}"'}
        response = self._request("GET", "/api/v1/plan", headers, None)
        if isinstance(response, RequestFailed):
            return response
        if response.status == 304:
            return None
        if response.status != 200:
            return RequestFailed(_describe_problem(response.status, response.data))
        try:
            return codec.decode(response.data, Plan)
        except WireError as error:
            return RequestFailed(f"the response is not a valid plan: {error}")

    def _request(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None
    ) -> _HttpResponse | RequestFailed:
        response = self._send(method, path, headers, body)
        if isinstance(response, RequestFailed) or response.status not in _KEY_REJECTED_STATUSES:
            return response
        return self._send(method, path, headers, body) if self._reload_credential() else response

    def _reload_credential(self) -> bool:
        """Load the credential from disk; return whether its keys changed."""
        if self._load_credential is None:
            return False
        previous = self._credential
        try:
            self.use_credential(self._load_credential())
        except LeadlineError:
            return False
        return self._credential != previous

    def _build_headers(self, body: bytes | None) -> dict[str, str]:
        """Return the headers for authentication and, for a batch, its signature."""
        headers = {"Authorization": f"Bearer {self._credential.key}"}
        return headers if body is None or self._signer is None else headers | self._signer.build_headers(body)

    def _send(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None
    ) -> _HttpResponse | RequestFailed:
        try:
            response = self._pool.request(
                method,
                self._url + path,
                body=body,
                headers={"User-Agent": USER_AGENT} | headers | self._build_headers(body),
                redirect=False,
                preload_content=False,
                timeout=self._timeout,
            )
            try:
                data = response.read(RESPONSE_BYTES_MAX + 1)
            finally:
                response.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return RequestFailed(f"no answer from {self._url}: {error}")
        if len(data) > RESPONSE_BYTES_MAX:
            return RequestFailed(f"the response of {self._url} is larger than {RESPONSE_BYTES_MAX} bytes")
        return _HttpResponse(response.status, response.headers.get("Retry-After", ""), data)


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
) -> EnrolResponse:
    """Exchange a one-time token for a key of the agent. Raise ConfigError or UnavailableError on failure.

    ``signing_key`` is the public key of the agent's signatures, in hex.
    """
    try:
        body = codec.encode(EnrolRequest(token=token, agent=agent, signing_key=signing_key))
        response = _make_pool(ca_file).request(
            "POST", url.rstrip("/") + "/api/v1/enroll", body=body, redirect=False,
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
    except urllib3.exceptions.LocationValueError as error:
        raise ConfigError("URL", f"{url!r} is not a valid collector URL: {error}") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnavailableError(f"no answer from {url}: {error}; is the collector running there?") from error
    if response.status != 200:
        raise UnavailableError(f"{url} did not enrol this agent: {_describe_problem(response.status, response.data)}")
    return codec.decode(response.data, EnrolResponse)
