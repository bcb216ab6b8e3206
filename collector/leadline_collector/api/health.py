"""Health routes: liveness, readiness, Prometheus metrics."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from leadline import __version__
from leadline_collector.db import schema
from leadline_collector.errors import TryLaterError
from leadline_collector.http import metrics, roles
from leadline_collector.http.app_state import AppStateDep
from leadline_collector.http.documents import HealthResponse
from leadline_collector.http.openapi import StructResponse, json_responses
from leadline_collector.http.problems import RETRY_AFTER_S

router = APIRouter()


@router.get("/healthz", dependencies=[Depends(roles.public)], responses=json_responses(HealthResponse))
def healthz() -> Response:
    """Report that the process responds. Does not query the database, because a restart would not repair it."""
    return StructResponse(HealthResponse(status="ok", version=__version__))


@router.get("/readyz", dependencies=[Depends(roles.public)], responses=json_responses(HealthResponse, 503))
def readyz(app_state: AppStateDep) -> Response:
    """Report that the database responds, has the schema version this collector needs, and stored the last batch."""
    with app_state.store.read() as reader:
        version = reader.load_schema_version()
    if version != schema.get_head_revision():
        detail = f"the database has schema version {version} and this collector needs {schema.get_head_revision()}"
        raise TryLaterError(detail, retry_after_s=RETRY_AFTER_S)
    if reason := app_state.write_health.failure_reason():
        raise TryLaterError(f"the last batch was not stored: {reason}", retry_after_s=RETRY_AFTER_S)
    return StructResponse(HealthResponse(status="ok", version=__version__))


@router.get("/metrics", dependencies=[Depends(roles.metrics)], include_in_schema=False)
def get_metrics(app_state: AppStateDep) -> Response:
    """Return the Prometheus metrics of the collector."""
    return Response(app_state.metrics.render(), media_type=metrics.MEDIA_TYPE)
