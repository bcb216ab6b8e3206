"""Response classes for msgspec Structs, and the OpenAPI document that describes them.

FastAPI generates schemas for pydantic models only; this module adds the JSON Schemas of the Structs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from msgspec import Struct
from starlette.responses import Response

from leadline import __version__
from leadline.wire import codec
from leadline.wire.admin import AgentList, AuditPage, RevocationResult, TokenList
from leadline.wire.batch import Ack, Batch
from leadline.wire.control import (
    EnrolRequest,
    EnrolResponse,
    KeyRotationRequest,
    MeshResponse,
    Plan,
    TokenRequest,
    TokenResponse,
)
from leadline_collector.analysis.documents import MatrixResponse, PairWindowsResponse, ProfileListResponse
from leadline_collector.gaps.documents import GapListResponse
from leadline_collector.http.documents import HealthResponse, MeshFileResponse
from leadline_collector.http.problems import MEDIA_TYPE
from leadline_verdict.document import VerdictDocument

_REF_TEMPLATE = "#/components/schemas/{name}"

#: All request and response documents of the API.
DOCUMENT_TYPES: tuple[type[Struct], ...] = (
    Batch, Ack, Plan, EnrolRequest, EnrolResponse, KeyRotationRequest, TokenRequest, TokenResponse, MeshResponse,
    MatrixResponse, PairWindowsResponse, GapListResponse, ProfileListResponse, HealthResponse, MeshFileResponse,
    TokenList, AgentList, RevocationResult, AuditPage, VerdictDocument,
)  # fmt: skip

_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what happened, the value, and what to do next"},
        "path": {"type": "string", "description": "location of the error in the document or query"},
        "key": {"type": "string", "description": "line or setting that is wrong"},
        "epoch": {"type": "string", "description": "epoch of the conflicting batch"},
        "seq": {"type": "integer", "description": "sequence number of the conflicting batch"},
        "error_id": {"type": "string", "description": "id of the error in the collector's log"},
    },
}


class StructResponse(Response):
    """JSON response of a Struct."""

    media_type = "application/json"

    def __init__(self, document: Struct, headers: dict[str, str] | None = None) -> None:
        super().__init__(codec.encode(document), headers=headers)


class CsvResponse(Response):
    """CSV response."""

    media_type = "text/csv"


def json_responses(document_type: type[Struct], *problem_statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route: ``document_type`` for 200, a problem for each other status."""
    success = {
        "description": (document_type.__doc__ or "").partition("\n")[0],
        "content": {"application/json": {"schema": _make_schema_ref(document_type)}},
    }
    return {200: success, **_problem_responses(*problem_statuses)}


def csv_responses(description: str, *problem_statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route: a CSV file for 200, a problem for each other status."""
    return text_responses(description, (CsvResponse.media_type,), *problem_statuses)


def text_responses(
    description: str, media_types: Iterable[str], *problem_statuses: int
) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route: a text of one of these media types for 200, else a problem."""
    content = {media_type: {"schema": {"type": "string"}} for media_type in media_types}
    return {200: {"description": description, "content": content}, **_problem_responses(*problem_statuses)}


def _problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    problem = {"content": {MEDIA_TYPE: {"schema": {"$ref": _REF_TEMPLATE.format(name="Problem")}}}}
    return {status: {"description": "problem (RFC 9457)", **problem} for status in statuses}


def json_request_body(document_type: type[Struct], *, required: bool = True) -> dict[str, Any]:
    """Return the ``openapi_extra`` of a route with ``document_type`` as its JSON body."""
    return {
        "requestBody": {
            "required": required,
            "content": {"application/json": {"schema": _make_schema_ref(document_type)}},
        }
    }


def toml_request_body() -> dict[str, Any]:
    """Return the ``openapi_extra`` of a route with a TOML file as its body."""
    return {"requestBody": {"required": True, "content": {"application/toml": {"schema": {"type": "string"}}}}}


def _make_schema_ref(document_type: type[Struct]) -> dict[str, str]:
    return {"$ref": _REF_TEMPLATE.format(name=document_type.__name__)}


def install_openapi(app: FastAPI) -> None:
    """Add the schemas of all documents to ``/openapi.json``."""

    def build_once() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build_openapi(app)
        return app.openapi_schema

    app.openapi = build_once  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _build_openapi(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=__version__, description=app.description, routes=app.routes)
    _, schemas = msgspec.json.schema_components(DOCUMENT_TYPES, ref_template=_REF_TEMPLATE)
    components = document.setdefault("components", {}).setdefault("schemas", {})
    components |= schemas | {"Problem": _PROBLEM_SCHEMA}
    return document
