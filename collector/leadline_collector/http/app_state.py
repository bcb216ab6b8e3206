"""What a running collector is made of, and how a request finds it."""

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
    """The parts every route may use."""

    config: CollectorConfig
    store: Store
    clock: Clock
    admission: AdmissionController
    #: SHA-256 of the key that reading needs; None if it needs none.
    viewer_key_sha256: bytes | None
    #: SHA-256 of the key that ``/metrics`` needs; None if reading is enough.
    metrics_key_sha256: bytes | None
    #: Wrong keys of each peer at the login page.
    login_limiter: FailureRateLimiter
    metrics: Metrics
    write_health: WriteHealth
    reports: ReportCache
    enrolment: Enrolment
    key_rotation: KeyRotation
    ingest: IngestService
    #: Of the page of verdicts, with the second of each.
    verdict_cache: TtlCache[tuple[VerdictDocument, int]]

    def now_s(self) -> int:
        """Whole seconds since 1970-01-01 UTC."""
        return self.clock.wall_ns() // NS_PER_S


def get_app_state(request: Request) -> AppState:
    """The collector that serves a request."""
    service = request.app.state.app_state
    assert isinstance(service, AppState)
    return service


AppStateDep = Annotated[AppState, Depends(get_app_state)]
