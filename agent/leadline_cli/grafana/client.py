"""Grafana's HTTP API through ``grafana-api``: the only module that imports it (docs/decisions/0011-grafana-client.md).

Its authenticated transport is used for routes it has no calls for. What it does not do is done here: no redirect is
followed, because a POST would become a GET, and every failure says which address, which status, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from grafana_api.grafana_api import GrafanaAPI, GrafanaException

from leadline.errors import ConfigError, UnavailableError

Document = dict[str, Any]

#: A datasource's health is a query that Grafana sends to its database; it gives up after 30 s by itself.
TIMEOUT_S = 35.0

_REMEDIES = {
    401: "the token is not known there, has ended, or belongs to another organisation: make one in Grafana under "
    "Administration, Users and access, Service accounts",
    403: "the token's service account may not do this: give it the role Admin (Editor is not enough for datasources)",
    404: "is this the address of Grafana, with its path if it has one?",
    409: "something else has that name or uid already",
    412: "somebody saved it in the meantime: look at it, and run this again",
    429: "too many requests: try again in a minute",
}
_SERVER_REMEDY = "Grafana's own log has the reason"


class GrafanaError(UnavailableError):
    """Grafana answered with an error; ``status`` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class GrafanaClient:
    """One Grafana. The token is in no message and no repr."""

    def __init__(self, url: str, token: str, ca_file: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.username:
            raise ConfigError("--url", f"{url!r} is not an address such as https://grafana.example.net/path")
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
        """The address of the API."""
        return str(self._api.url)

    def get(self, path: str) -> Any:
        """The document at a path below /api; None where there is none (404)."""
        try:
            return self._request("GET", path, None, {})
        except GrafanaError as error:
            if error.status == requests.codes.not_found:
                return None
            raise

    def send(self, method: str, path: str, document: Document, headers: Mapping[str, str] | None = None) -> Any:
        """POST or PUT a document; the answer."""
        return self._request(method, path, document, headers or {})

    def _request(self, method: str, path: str, document: Document | None, headers: Mapping[str, str]) -> Any:
        place = f"{method} {self.url}{path}"
        try:
            return getattr(self._api, method)(path, json=document, headers={"Accept": "application/json", **headers})
        except GrafanaException as error:
            raise GrafanaError(_format_error(place, error), error.status_code) from error
        except requests.exceptions.TooManyRedirects as error:
            raise UnavailableError(f"{place}: answered with a redirect: give --url the address it leads to") from error
        except requests.exceptions.SSLError as error:
            raise UnavailableError(
                f"{place}: TLS failed: {_find_root_cause(error)}; is the certificate for this name, and its authority known here "
                "(--ca-file)?"
            ) from error
        except requests.exceptions.Timeout as error:
            raise UnavailableError(f"{place}: no answer within {TIMEOUT_S:.0f} s; is the way there open?") from error
        except requests.exceptions.ConnectionError as error:
            raise UnavailableError(
                f"{place}: no connection: {_find_root_cause(error)}; does Grafana run there?"
            ) from error
        except (ValueError, TypeError) as error:
            # requests' own JSON error is a ValueError; grafana-api trips over an error that is no object.
            raise UnavailableError(f"{place}: the answer is none of Grafana's: {_REMEDIES[404]}") from error


def _parse_port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError as error:
        raise ConfigError("--url", f"{url!r}: {error}") from error


def _format_error(place: str, error: GrafanaException) -> str:
    """Address, status, Grafana's own words if it has some, and the remedy."""
    answer = error.response
    own = answer.get("message") if isinstance(answer, dict) else None
    words = f" ({own})" if own else ""
    return f"{place}: answered {error.status_code}{words}: {_REMEDIES.get(error.status_code, _SERVER_REMEDY)}"


def _find_root_cause(error: BaseException) -> str:
    """The innermost reason: what requests wraps around it names its own classes."""
    reason = getattr(error.args[0], "reason", error.args[0]) if error.args else error
    return str(reason).rpartition(": ")[2] or type(error).__name__
