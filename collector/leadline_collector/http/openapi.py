"""Routes and their OpenAPI document: answers are msgspec Structs, described by their own JSON Schema.

FastAPI describes pydantic models only; here the schemas of the Structs are put into the document beside its own.
"""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from msgspec import Struct
from starlette.responses import Response

from leadline import __version__
from leadline.wire import admin, codec, control
from leadline.wire import batch as wire
from leadline_collector.analysis.documents import MatrixResponse, PairWindowsResponse, ProfileListResponse
from leadline_collector.gaps.documents import GapListResponse
from leadline_collector.http.documents import HealthResponse, MeshFileResponse
from leadline_collector.http.problems import MEDIA_TYPE
from leadline_verdict.document import VerdictDocument

_REF_TEMPLATE = "#/components/schemas/{name}"

#: Every document that goes over the API.
DOCUMENT_TYPES: tuple[type[Struct], ...] = (
    wire.Batch, wire.Ack, control.Plan, control.EnrolRequest, control.EnrolResponse, control.KeyRotationRequest, control.TokenRequest,
    control.TokenResponse, control.MeshResponse, MatrixResponse, PairWindowsResponse, GapListResponse, ProfileListResponse, HealthResponse, MeshFileResponse,
    admin.TokenList, admin.AgentList, admin.RevocationResult, admin.AuditPage, VerdictDocument,
)  # fmt: skip

_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what happened, with which value, and what to do"},
        "path": {"type": "string", "description": "where in the document or the query it is wrong"},
        "key": {"type": "string", "description": "the line or setting that is wrong"},
        "epoch": {"type": "string", "description": "of the batch whose name is taken"},
        "seq": {"type": "integer", "description": "of the batch whose name is taken"},
        "error_id": {"type": "string", "description": "what to look for in the collector's log"},
    },
}


class StructResponse(Response):
    """A Struct as JSON; what a route returns."""

    media_type = "application/json"

    def __init__(self, document: Struct, headers: dict[str, str] | None = None) -> None:
        super().__init__(codec.encode(document), headers=headers)


class CsvResponse(Response):
    """A file of columns."""

    media_type = "text/csv"


def json_responses(document_type: type[Struct], *problem_statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that answers with ``kind`` or with one of these problems."""
    answer = {
        "description": _first_doc_line(document_type),
        "content": {"application/json": {"schema": _make_schema_ref(document_type)}},
    }
    return {200: answer, **_problem_responses(*problem_statuses)}


def csv_responses(description: str, *problem_statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that answers with a CSV file or with one of these problems."""
    answer = {"description": description, "content": {"text/csv": {"schema": {"type": "string"}}}}
    return {200: answer, **_problem_responses(*problem_statuses)}


def _problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    problem = {"content": {MEDIA_TYPE: {"schema": {"$ref": _REF_TEMPLATE.format(name="Problem")}}}}
    return {status: {"description": "problem (RFC 9457)", **problem} for status in statuses}


def json_request_body(document_type: type[Struct], *, required: bool = True) -> dict[str, Any]:
    """The ``openapi_extra`` of a route whose body is a ``kind`` as JSON."""
    return {
        "requestBody": {
            "required": required,
            "content": {"application/json": {"schema": _make_schema_ref(document_type)}},
        }
    }


def toml_request_body() -> dict[str, Any]:
    """The ``openapi_extra`` of a route whose body is a TOML file."""
    return {"requestBody": {"required": True, "content": {"application/toml": {"schema": {"type": "string"}}}}}


def _make_schema_ref(document_type: type[Struct]) -> dict[str, str]:
    return {"$ref": _REF_TEMPLATE.format(name=document_type.__name__)}


def _first_doc_line(document_type: type[Struct]) -> str:
    return (document_type.__doc__ or "").partition("\n")[0]


def install_openapi(app: FastAPI) -> None:
    """Have ``/openapi.json`` describe every document."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build_openapi(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _build_openapi(app: FastAPI) -> dict[str, Any]:
    built = get_openapi(title=app.title, version=__version__, description=app.description, routes=app.routes)
    _, schemas = msgspec.json.schema_components(DOCUMENT_TYPES, ref_template=_REF_TEMPLATE)
    components = built.setdefault("components", {}).setdefault("schemas", {})
    components |= schemas | {"Problem": _PROBLEM_SCHEMA}
    return built
