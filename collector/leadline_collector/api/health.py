"""The routes that tell how the collector is: alive, ready, figures."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from leadline import __version__
from leadline_collector.db import schema
from leadline_collector.errors import TryLaterError
from leadline_collector.http import metrics, roles
from leadline_collector.http.app_state import AppStateDep
from leadline_collector.http.documents import HealthAnswer
from leadline_collector.http.openapi import StructResponse, json_responses
from leadline_collector.http.problems import RETRY_AFTER_S

router = APIRouter()


@router.get("/healthz", dependencies=[Depends(roles.public)], responses=json_responses(HealthAnswer))
def healthz() -> Response:
    """The process answers. It does not ask the database: a restart of this process would not mend that."""
    return StructResponse(HealthAnswer(status="ok", version=__version__))


@router.get("/readyz", dependencies=[Depends(roles.public)], responses=json_responses(HealthAnswer, 503))
def readyz(app_state: AppStateDep) -> Response:
    """The database answers, its schema is the one this collector is made for, and it took the last batch."""
    with app_state.store.read() as reader:
        version = reader.load_schema_version()
    if version != schema.get_head_revision():
        problem = f"the database has schema version {version} and this collector needs {schema.get_head_revision()}"
        raise TryLaterError(problem, retry_after_s=RETRY_AFTER_S)
    if trouble := app_state.write_health.failure_reason():
        raise TryLaterError(f"the last batch was not stored: {trouble}", retry_after_s=RETRY_AFTER_S)
    return StructResponse(HealthAnswer(status="ok", version=__version__))


@router.get("/metrics", dependencies=[Depends(roles.metrics)], include_in_schema=False)
def get_metrics(app_state: AppStateDep) -> Response:
    """What the collector counts, for Prometheus."""
    return Response(app_state.metrics.render(), media_type=metrics.MEDIA_TYPE)
