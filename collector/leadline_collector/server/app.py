"""Puts the collector together. Nothing happens on import."""

from __future__ import annotations

from pathlib import Path

from fastapi import Depends, FastAPI
from starlette.responses import JSONResponse, Response

from leadline.clock import Clock
from leadline_collector.api import (
    access as access_api,
)
from leadline_collector.api import (
    health as health_api,
)
from leadline_collector.api import (
    measurements as measurements_api,
)
from leadline_collector.api import (
    verdicts as verdicts_api,
)
from leadline_collector.auth.enrolment import REFUSALS_RECORDED_MAX, Enrolment, prepare_admin_key
from leadline_collector.auth.failure_limit import FailureLimit
from leadline_collector.auth.key_rotation import KeyRotation
from leadline_collector.config import CollectorConfig, key_digest
from leadline_collector.db.transactions import Store
from leadline_collector.http import openapi, problems, roles
from leadline_collector.http.admission import Door
from leadline_collector.http.app_state import Service
from leadline_collector.http.metrics import Metrics, Observed
from leadline_collector.http.ttl_cache import TtlCache
from leadline_collector.ingest.service import IngestService
from leadline_collector.ingest.write_health import Storing
from leadline_collector.live.agents import Hearing
from leadline_collector.web.routes import charts as charts_routes
from leadline_collector.web.routes import fleet
from leadline_collector.web.routes import login as login_routes
from leadline_collector.web.routes import pages as pages_routes
from leadline_collector.web.views import verdicts as verdicts_view

DESCRIPTION = "Stores what agents measure and judges pairs of sites by published limits."


def create_app(config: CollectorConfig, store: Store, clock: Clock) -> FastAPI:
    """The application over a store whose schema is current (``schema.prepare``); sees to the administrator's key."""
    prepare_admin_key(store, clock, config)
    door = Door()
    figures = Metrics(store, clock, lambda: door.inside)
    write_health, reports = Storing(clock), Hearing()
    refusal_limit = FailureLimit(clock, REFUSALS_RECORDED_MAX)
    # The documentation pages of FastAPI load scripts from a CDN; a collector stands in networks without one.
    app = FastAPI(title="leadline collector", description=DESCRIPTION, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.service = Service(
        config=config,
        store=store,
        clock=clock,
        door=door,
        viewer_sha256=_digest("--viewer-key-file", config.viewer_key_file),
        metrics_sha256=_digest("--metrics-key-file", config.metrics_key_file),
        login_limit=FailureLimit(clock),
        metrics=figures,
        write_health=write_health,
        reports=reports,
        enrolment=Enrolment(
            store=store,
            clock=clock,
            key_ttl_s=config.key_ttl_s,
            peer_limit=FailureLimit(clock),
            refusal_limit=refusal_limit,
        ),
        key_rotation=KeyRotation(store=store, clock=clock, key_ttl_s=config.key_ttl_s, refusal_limit=refusal_limit),
        ingest=IngestService(
            store=store,
            clock=clock,
            refusal_limit=refusal_limit,
            counters=figures,
            rtt_counters=figures.rtts,
            write_health=write_health,
            reports=reports,
        ),
        verdicts=TtlCache(clock, age_s_max=verdicts_view.AGE_S_MAX, entries_max=verdicts_view.KEPT_MAX),
    )
    problems.install(app)
    app.add_middleware(Observed, metrics=figures, clock=clock)
    openapi.install(app)
    app.include_router(measurements_api.router)
    app.include_router(access_api.router)
    app.include_router(verdicts_api.router)
    app.include_router(health_api.router)
    app.include_router(pages_routes.router)
    app.include_router(charts_routes.router)
    app.include_router(fleet.router)
    app.include_router(login_routes.router)

    @app.get("/openapi.json", dependencies=[Depends(roles.viewer)], include_in_schema=False)
    def openapi_json() -> Response:
        """The API in OpenAPI 3.1."""
        return JSONResponse(app.openapi())

    return app


def _digest(option: str, file: Path | None) -> bytes | None:
    return None if file is None else key_digest(option, file)
