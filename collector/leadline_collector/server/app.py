"""Assembles the application. Importing this module has no side effects."""

from __future__ import annotations

from pathlib import Path

from fastapi import Depends, FastAPI
from starlette.responses import JSONResponse, Response

from leadline.clock import Clock
from leadline_collector.api import access as access_api
from leadline_collector.api import health as health_api
from leadline_collector.api import measurements as measurements_api
from leadline_collector.api import probes as probes_api
from leadline_collector.api import verdicts as verdicts_api
from leadline_collector.auth.enrolment import AUDITED_REFUSALS_MAX, Enrolment, ensure_admin_key
from leadline_collector.auth.failure_limit import FailureRateLimiter
from leadline_collector.auth.key_rotation import KeyRotation
from leadline_collector.config import CollectorConfig, read_key_digest
from leadline_collector.db.transactions import Store
from leadline_collector.http import openapi, problems, roles
from leadline_collector.http.admission import AdmissionController
from leadline_collector.http.app_state import AppState
from leadline_collector.http.metrics import BatchMetricsMiddleware, Metrics
from leadline_collector.http.ttl_cache import TtlCache
from leadline_collector.ingest.service import IngestService
from leadline_collector.ingest.write_health import WriteHealth
from leadline_collector.live.agents import ReportCache
from leadline_collector.web.routes import charts as charts_routes
from leadline_collector.web.routes import fleet as fleet_routes
from leadline_collector.web.routes import login as login_routes
from leadline_collector.web.routes import pages as pages_routes
from leadline_collector.web.views import verdicts as verdicts_view

DESCRIPTION = "Stores the measurements of agents and evaluates pairs of sites against published limits."


def create_app(config: CollectorConfig, store: Store, clock: Clock) -> FastAPI:
    """Create the application; also create the administrator's key on the first start.

    The schema of the store must be current (``schema.ensure_schema``).
    """
    ensure_admin_key(store, clock, config)
    admission = AdmissionController()
    metrics = Metrics(store, clock, lambda: admission.in_progress)
    write_health, reports = WriteHealth(clock), ReportCache()
    refusal_limit = FailureRateLimiter(clock, AUDITED_REFUSALS_MAX)
    # FastAPI's documentation pages load scripts from a CDN; collectors run in networks without Internet access.
    app = FastAPI(title="leadline collector", description=DESCRIPTION, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.app_state = AppState(
        config=config,
        store=store,
        clock=clock,
        admission=admission,
        viewer_key_sha256=_load_key_digest("--viewer-key-file", config.viewer_key_file),
        metrics_key_sha256=_load_key_digest("--metrics-key-file", config.metrics_key_file),
        login_limiter=FailureRateLimiter(clock),
        metrics=metrics,
        write_health=write_health,
        reports=reports,
        enrolment=Enrolment(
            store=store,
            clock=clock,
            key_ttl_s=config.key_ttl_s,
            peer_limit=FailureRateLimiter(clock),
            refusal_limit=refusal_limit,
        ),
        key_rotation=KeyRotation(store=store, clock=clock, key_ttl_s=config.key_ttl_s, refusal_limit=refusal_limit),
        ingest=IngestService(
            store=store,
            clock=clock,
            refusal_limit=refusal_limit,
            counters=metrics,
            rtt_counters=metrics.rtt_counters,
            write_health=write_health,
            reports=reports,
        ),
        verdict_cache=TtlCache(clock, age_s_max=verdicts_view.CACHE_TTL_S, entries_max=verdicts_view.CACHE_ENTRIES_MAX),
    )
    problems.install_error_handlers(app)
    app.add_middleware(BatchMetricsMiddleware, metrics=metrics, clock=clock)
    openapi.install_openapi(app)
    app.include_router(measurements_api.router)
    app.include_router(probes_api.router)
    app.include_router(access_api.router)
    app.include_router(verdicts_api.router)
    app.include_router(health_api.router)
    app.include_router(pages_routes.router)
    app.include_router(charts_routes.router)
    app.include_router(fleet_routes.router)
    app.include_router(login_routes.router)

    @app.get("/openapi.json", dependencies=[Depends(roles.viewer)], include_in_schema=False)
    def openapi_json() -> Response:
        """Return the OpenAPI 3.1 document of the API."""
        return JSONResponse(app.openapi())

    return app


def _load_key_digest(option: str, file: Path | None) -> bytes | None:
    return None if file is None else read_key_digest(option, file)
