"""Every error answer of the collector: one exception, its status codes, and RFC 9457 problem documents.

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
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leadline.errors import ConfigError, LeadlineError
from leadline_collector.db.engine import StoreUnavailableError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
#: Long enough for a restart of PostgreSQL, short against the minute in which the next batch comes.
RETRY_AFTER_S = 5


class ProblemError(LeadlineError):
    """A request that is answered with ``status``; ``members`` are added to the document."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None, **members: object) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}
        self.members = members

    def response(self) -> Response:
        """The problem document."""
        title = HTTPStatus(self.status).phrase
        document = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        body = msgspec.json.encode(document | self.members)
        return Response(body, self.status, headers=self.headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error of the application with a problem document."""

    @app.exception_handler(ProblemError)
    async def problem(request: Request, error: ProblemError) -> Response:
        return error.response()

    @app.exception_handler(ConfigError)
    async def config_error(request: Request, error: ConfigError) -> Response:
        return ProblemError(422, str(error), key=error.key).response()

    @app.exception_handler(StoreUnavailableError)
    async def store_unavailable(request: Request, error: StoreUnavailableError) -> Response:
        log.warning("database unavailable", extra={"path": request.url.path, "error": str(error)})
        return ProblemError(503, str(error), {"Retry-After": str(RETRY_AFTER_S)}).response()

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        return ProblemError(error.status_code, error.detail, dict(error.headers or {})).response()

    @app.exception_handler(RequestValidationError)
    async def bad_parameter(request: Request, error: RequestValidationError) -> Response:
        first: dict[str, Any] = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        return ProblemError(422, f"{path}: {first['msg']}", path=path).response()

    app.add_middleware(LastResort)


class LastResort:
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
            await ProblemError(500, detail, error_id=error_id).response()(scope, receive, send)
