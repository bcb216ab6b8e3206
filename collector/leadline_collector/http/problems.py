"""Maps domain errors to HTTP statuses and RFC 9457 problem documents.

The agent acts on the status (docs/agent.md has the table), so the meaning of each status is fixed:
400 damaged bytes · 401 no valid key · 403 the key lacks permission, or the signature is invalid ·
404, 405 no such resource or method · 408 the body arrived too slowly ·
409 a different batch with this epoch and sequence number exists · 413 too large · 415 unknown encoding ·
422 well-formed but invalid · 426 newer wire version: keep the batch ·
429 too many wrong keys or enrolments: wait · 500 a bug; its id is in the log ·
503 the database failed or the collector is overloaded: retry.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leadline.errors import ConfigError
from leadline_collector import errors
from leadline_collector.db.engine import StoreUnavailableError
from leadline_collector.errors import CollectorError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
#: Long enough for a restart of PostgreSQL, short against the minute between two batches of an agent.
RETRY_AFTER_S = 5
#: The ``reason`` label of refused batches in ``/metrics``, by HTTP status.
REFUSAL_REASONS = {
    400: "damaged", 401: "key", 403: "forbidden", 408: "slow", 409: "conflict", 413: "too_large", 415: "encoding",
    422: "invalid", 426: "newer", 500: "bug", 503: "unavailable",
}  # fmt: skip


#: The status of each domain error; a subclass has the status of its base unless it is listed.
STATUS_BY_ERROR: Mapping[type[CollectorError], HTTPStatus] = {
    errors.MalformedError: HTTPStatus.BAD_REQUEST,
    errors.UnauthenticatedError: HTTPStatus.UNAUTHORIZED,
    errors.ForbiddenError: HTTPStatus.FORBIDDEN,
    errors.NotFoundError: HTTPStatus.NOT_FOUND,
    errors.SlowBodyError: HTTPStatus.REQUEST_TIMEOUT,
    errors.ConflictError: HTTPStatus.CONFLICT,
    errors.TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedEncodingError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.InvalidRequestError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnsupportedVersionError: HTTPStatus.UPGRADE_REQUIRED,
    errors.TooManyAttemptsError: HTTPStatus.TOO_MANY_REQUESTS,
    errors.TryLaterError: HTTPStatus.SERVICE_UNAVAILABLE,
}


def status_of(error: CollectorError) -> int:
    """Return the HTTP status of a domain error."""
    return next(STATUS_BY_ERROR[kind] for kind in type(error).__mro__ if kind in STATUS_BY_ERROR)


def problem_response(status: int, detail: str, headers: Mapping[str, str] | None = None, **members: object) -> Response:
    """Return a problem document; ``members`` are added to the standard members."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    body = msgspec.json.encode(document | members)
    return Response(body, status, headers=headers, media_type=MEDIA_TYPE)


def _error_headers(error: CollectorError) -> dict[str, str]:
    match error:
        case errors.UnauthenticatedError(challenge=str(challenge)):
            return {"WWW-Authenticate": challenge}
        case errors.TooManyAttemptsError(retry_after_s=seconds) | errors.TryLaterError(retry_after_s=seconds):
            return {"Retry-After": str(seconds)}
        case errors.SlowBodyError():
            return {"Connection": "close"}
        case errors.UnsupportedEncodingError():
            return {"Accept-Encoding": "gzip"}
        case _:
            return {}


def install_error_handlers(app: FastAPI) -> None:
    """Install handlers that turn every error into a problem document."""

    @app.exception_handler(CollectorError)
    async def handle_problem(request: Request, error: CollectorError) -> Response:
        return problem_response(status_of(error), error.detail, _error_headers(error), **error.members)

    @app.exception_handler(ConfigError)
    async def handle_config_error(request: Request, error: ConfigError) -> Response:
        return problem_response(422, str(error), key=error.key)

    @app.exception_handler(StoreUnavailableError)
    async def handle_store_unavailable(request: Request, error: StoreUnavailableError) -> Response:
        log.warning("database unavailable", extra={"path": request.url.path, "error": str(error)})
        return problem_response(503, str(error), {"Retry-After": str(RETRY_AFTER_S)})

    @app.exception_handler(HTTPException)
    async def handle_http_error(request: Request, error: HTTPException) -> Response:
        return problem_response(error.status_code, error.detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def handle_invalid_parameter(request: Request, error: RequestValidationError) -> Response:
        first: dict[str, Any] = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        return problem_response(422, f"{path}: {first['msg']}", path=path)

    app.add_middleware(InternalErrorMiddleware)


class InternalErrorMiddleware:
    """Responds to unexpected exceptions with 500 and an error id; the traceback is only in the log, with that id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response_started = False

        async def send_and_track(message: Message) -> None:
            nonlocal response_started
            response_started = response_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_and_track)
        except Exception:  # last handler of a request: one bug must not stop the server
            error_id = secrets.token_hex(8)
            log.exception("unexpected error", extra={"error_id": error_id, "path": scope.get("path")})
            if response_started or scope["type"] != "http":
                raise
            detail = f"internal error; search the collector's log for {error_id}"
            await problem_response(500, detail, error_id=error_id)(scope, receive, send)
