"""Puts the collector together. Nothing happens on import."""

from __future__ import annotations

from fastapi import Depends, FastAPI
from starlette.responses import JSONResponse, Response

from leadline.clock import Clock
from leadline_collector import api, auth, openapi, problems, web
from leadline_collector.config import CollectorConfig, key_digest
from leadline_collector.enrolment import prepare_admin_key
from leadline_collector.service import Service
from leadline_collector.store import Store

DESCRIPTION = "Stores what agents measure and judges pairs of sites by published limits."


def create_app(config: CollectorConfig, store: Store, clock: Clock) -> FastAPI:
    """The application over a store whose schema is current (``schema.prepare``); sees to the administrator's key."""
    prepare_admin_key(store, clock, config)
    viewer_file = config.viewer_key_file
    # The documentation pages of FastAPI load scripts from a CDN; a collector stands in networks without one.
    app = FastAPI(title="leadline collector", description=DESCRIPTION, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.service = Service(
        config=config,
        store=store,
        clock=clock,
        viewer_sha256=None if viewer_file is None else key_digest("--viewer-key-file", viewer_file),
    )
    problems.install(app)
    openapi.install(app)
    app.include_router(api.router)
    app.include_router(web.router)

    @app.get("/openapi.json", dependencies=[Depends(auth.viewer)], include_in_schema=False)
    def openapi_json() -> Response:
        """The API in OpenAPI 3.1."""
        return JSONResponse(app.openapi())

    return app
