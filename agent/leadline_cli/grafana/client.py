"""Client of Grafana's HTTP API. Only this module imports ``grafana-api`` (docs/decisions/0011-grafana-client.md).

It uses the authenticated transport of that package directly, because the package has no calls for some routes. This
module never follows redirects, because a POST would become a GET. Every error has the URL, the status and a remedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from grafana_api.grafana_api import GrafanaAPI, GrafanaException

from leadline.errors import ConfigError, UnavailableError

Document = dict[str, Any]

#: The health check of a datasource queries its database. Grafana ends the query after 30 s.
TIMEOUT_S = 35.0

_REMEDIES = {
    401: "the token is unknown, expired, or belongs to another organisation: create one in Grafana under "
    "Administration, Users and access, Service accounts",
    403: "the service account of the token lacks permission: give it the role Admin (Editor cannot edit datasources)",
    404: "check the URL of Grafana, including its path if it has one",
    409: "another item already has this name or uid",
    412: "another user saved it in the meantime: check it, and run this command again",
    429: "too many requests: try again in a minute",
}
_SERVER_REMEDY = "see the log of Grafana for the reason"


class GrafanaError(UnavailableError):
    """Grafana responded with an error; ``status`` is the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class GrafanaClient:
    """Client of one Grafana server. No message and no repr contains the token."""

    def __init__(self, url: str, token: str, ca_file: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.username:
            raise ConfigError("--url", f"{url!r} is not a URL such as https://grafana.example.net/path")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        path = parts.path.strip("/")
        self._api = GrafanaAPI(
            token,
            host=host,
            port=_parse_port(url),
            url_path_prefix=f"{path}/" if path else "",
            protocol=parts.scheme,
            verify=ca_file or True,
            timeout=TIMEOUT_S,
        )
        self._api.s.max_redirects = 0

    def __repr__(self) -> str:
        return f"Grafana({self._api.url!r})"

    @property
    def url(self) -> str:
        """Base URL of the API."""
        return str(self._api.url)

    def get(self, path: str) -> Any:
        """Fetch the document at a path below /api; None if it does not exist (404)."""
        try:
            return self._request("GET", path, None, {})
        except GrafanaError as error:
            if error.status == requests.codes.not_found:
                return None
            raise

    def send(self, method: str, path: str, document: Document, headers: Mapping[str, str] | None = None) -> Any:
        """POST or PUT a document; return the response."""
        return self._request(method, path, document, headers or {})

    def _request(self, method: str, path: str, document: Document | None, headers: Mapping[str, str]) -> Any:
        request = f"{method} {self.url}{path}"
        try:
            return getattr(self._api, method)(path, json=document, headers={"Accept": "application/json", **headers})
        except GrafanaException as error:
            raise GrafanaError(_format_error(request, error), error.status_code) from error
        except requests.exceptions.TooManyRedirects as error:
            raise UnavailableError(f"{request}: responded with a redirect: pass its target as --url") from error
        except requests.exceptions.SSLError as error:
            raise UnavailableError(
                f"{request}: TLS failed: {_find_root_cause(error)}; check the name in the certificate and the CA file "
                "(--ca-file)"
            ) from error
        except requests.exceptions.Timeout as error:
            raise UnavailableError(
                f"{request}: no response within {TIMEOUT_S:.0f} s; check the firewalls on the path"
            ) from error
        except requests.exceptions.ConnectionError as error:
            raise UnavailableError(
                f"{request}: cannot connect: {_find_root_cause(error)}; check that Grafana runs there"
            ) from error
        except (ValueError, TypeError) as error:
            # The JSON error of requests is a ValueError. grafana-api raises TypeError on an error that is no object.
            raise UnavailableError(f"{request}: the response is not from Grafana: {_REMEDIES[404]}") from error


def _parse_port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError as error:
        raise ConfigError("--url", f"{url!r}: {error}") from error


def _format_error(request: str, error: GrafanaException) -> str:
    """Format URL, status, Grafana's message if there is one, and the remedy."""
    response = error.response
    message = response.get("message") if isinstance(response, dict) else None
    detail = f" ({message})" if message else ""
    return f"{request}: status {error.status_code}{detail}: {_REMEDIES.get(error.status_code, _SERVER_REMEDY)}"


def _find_root_cause(error: BaseException) -> str:
    """Return the innermost reason, without the class names that requests adds."""
    reason = getattr(error.args[0], "reason", error.args[0]) if error.args else error
    return str(reason).rpartition(": ")[2] or type(error).__name__
