"""Shared objects of a running collector, and the dependency that injects them into routes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from leadline.clock import Clock
from leadline_collector.auth.enrolment import Enrolment
from leadline_collector.auth.failure_limit import FailureRateLimiter
from leadline_collector.auth.key_rotation import KeyRotation
from leadline_collector.config import CollectorConfig
from leadline_collector.db.transactions import Store
from leadline_collector.http.admission import AdmissionController
from leadline_collector.http.metrics import Metrics
from leadline_collector.http.ttl_cache import TtlCache
from leadline_collector.ingest.service import IngestService
from leadline_collector.ingest.write_health import WriteHealth
from leadline_collector.live.agents import ReportCache
from leadline_verdict.document import VerdictDocument

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """Objects that every route may use."""

    config: CollectorConfig
    store: Store
    clock: Clock
    admission: AdmissionController
    #: SHA-256 of the viewer key; None if read access is public.
    viewer_key_sha256: bytes | None
    #: SHA-256 of the key for ``/metrics``; None if read access is sufficient.
    metrics_key_sha256: bytes | None
    #: Counts wrong keys on the login page, per client.
    login_limiter: FailureRateLimiter
    metrics: Metrics
    write_health: WriteHealth
    reports: ReportCache
    enrolment: Enrolment
    key_rotation: KeyRotation
    ingest: IngestService
    #: Documents of the verdicts page, each with the epoch second of its computation.
    verdict_cache: TtlCache[tuple[VerdictDocument, int]]

    def now_s(self) -> int:
        """Return the current time in whole epoch seconds."""
        return self.clock.wall_ns() // NS_PER_S


def get_app_state(request: Request) -> AppState:
    """Return the state of the application that serves the request."""
    app_state = request.app.state.app_state
    assert isinstance(app_state, AppState)
    return app_state


AppStateDep = Annotated[AppState, Depends(get_app_state)]
