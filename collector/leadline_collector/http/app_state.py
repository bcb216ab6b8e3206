"""What a running collector is made of, and how a request finds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from leadline.clock import Clock
from leadline_collector.auth.enrolment import Enrolment
from leadline_collector.auth.failure_limit import FailureLimit
from leadline_collector.auth.key_rotation import KeyRotation
from leadline_collector.config import CollectorConfig
from leadline_collector.db.transactions import Store
from leadline_collector.http.admission import Door
from leadline_collector.http.metrics import Metrics
from leadline_collector.http.ttl_cache import TtlCache
from leadline_collector.ingest.service import IngestService
from leadline_collector.ingest.write_health import Storing
from leadline_collector.live.agents import Hearing
from leadline_verdict.document import VerdictDocument

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The parts every route may use."""

    config: CollectorConfig
    store: Store
    clock: Clock
    door: Door
    #: SHA-256 of the key that reading needs; None if it needs none.
    viewer_sha256: bytes | None
    #: SHA-256 of the key that ``/metrics`` needs; None if reading is enough.
    metrics_sha256: bytes | None
    #: Wrong keys of each peer at the login page.
    login_limit: FailureLimit
    metrics: Metrics
    write_health: Storing
    reports: Hearing
    enrolment: Enrolment
    key_rotation: KeyRotation
    ingest: IngestService
    #: Of the page of verdicts, with the second of each.
    verdicts: TtlCache[tuple[VerdictDocument, int]]

    def now_s(self) -> int:
        """Whole seconds since 1970-01-01 UTC."""
        return self.clock.wall_ns() // NS_PER_S


def service_of(request: Request) -> Service:
    """The collector that serves a request."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


Serving = Annotated[Service, Depends(service_of)]
