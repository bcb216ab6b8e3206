"""Maps domain errors to HTTP statuses and RFC 9457 problem documents: the only module that knows both.

The agent acts on the status (delivery.md §Upload), so the meaning of each is fixed here:
400 the bytes are damaged · 401 no valid key · 403 a valid key for something else, or no good signature ·
404, 405 no such thing · 408 the body came too slowly · 409 the batch's name is taken by other bytes ·
413 too large · 415 unknown encoding ·
422 well-formed and wrong · 426 of a newer version of the wire: keep it · 500 a bug, with an id that is in the log ·
503 the database did not do it, or too many ask: send again.
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
#: Long enough for a restart of PostgreSQL, short against the minute in which the next batch comes.
RETRY_AFTER_S = 5
#: Status of a response: the reason label of refused batches in ``/metrics``.
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
    """The HTTP status of a domain error."""
    return next(STATUS_BY_ERROR[kind] for kind in type(error).__mro__ if kind in STATUS_BY_ERROR)


def problem_response(status: int, detail: str, headers: Mapping[str, str] | None = None, **members: object) -> Response:
    """A problem document; ``members`` are added to the standard ones."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    body = msgspec.json.encode(document | members)
    return Response(body, status, headers=headers, media_type=MEDIA_TYPE)


def _headers(error: CollectorError) -> dict[str, str]:
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
    """Answer every error of the application with a problem document."""

    @app.exception_handler(CollectorError)
    async def collector_error(request: Request, error: CollectorError) -> Response:
        return problem_response(status_of(error), error.detail, _headers(error), **error.members)

    @app.exception_handler(ConfigError)
    async def config_error(request: Request, error: ConfigError) -> Response:
        return problem_response(422, str(error), key=error.key)

    @app.exception_handler(StoreUnavailableError)
    async def store_unavailable(request: Request, error: StoreUnavailableError) -> Response:
        log.warning("database unavailable", extra={"path": request.url.path, "error": str(error)})
        return problem_response(503, str(error), {"Retry-After": str(RETRY_AFTER_S)})

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        return problem_response(error.status_code, error.detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def bad_parameter(request: Request, error: RequestValidationError) -> Response:
        first: dict[str, Any] = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        return problem_response(422, f"{path}: {first['msg']}", path=path)

    app.add_middleware(InternalErrorMiddleware)


class InternalErrorMiddleware:
    """Answers a bug with 500 and an id, and logs the traceback under that id: no inside goes out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def observed(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except Exception:  # the top of every request: it logs, answers and lets the next one be served
            error_id = secrets.token_hex(8)
            log.exception("unexpected error", extra={"error_id": error_id, "path": scope.get("path")})
            if started or scope["type"] != "http":
                raise
            detail = f"something is wrong inside the collector; its log says what, under {error_id}"
            await problem_response(500, detail, error_id=error_id)(scope, receive, send)
