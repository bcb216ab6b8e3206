"""Route of single probes: every probe of a directed pair, streamed hour by hour."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from starlette.responses import StreamingResponse

from leadline.clock import format_iso8601
from leadline.model import Pair
from leadline.wire.probes import DELETED_BEFORE_HEADER
from leadline_collector.analysis.probe_encoding import ENCODERS, ProbeFormat
from leadline_collector.analysis.probe_export import iter_rows, open_probe_export
from leadline_collector.api.measurements import FromParam, ToParam, Viewer
from leadline_collector.errors import NotFoundError
from leadline_collector.http.app_state import AppStateDep
from leadline_collector.http.openapi import CsvResponse, text_responses
from leadline_collector.time_range import parse_time_range

router = APIRouter()


@router.get(
    "/api/v1/pairs/{source}/{destination}/probes",
    dependencies=[Viewer],
    response_class=CsvResponse,
    responses=text_responses(
        "every probe that is kept, oldest first", [kind.media_type for kind in ENCODERS.values()], 401, 404, 422, 503
    ),
)
def get_probes(
    app_state: AppStateDep,
    source: str,
    destination: str,
    start: FromParam = None,
    end: ToParam = None,
    format_: Annotated[ProbeFormat, Query(alias="format", description="csv, or jsonl: one object a line")] = (
        ProbeFormat.CSV
    ),
) -> Response:
    """Export every single probe of a directed pair that is kept, with its time, outcome and error."""
    if source == destination:
        raise NotFoundError(f"a pair joins two sites: source and destination are both {source!r}")
    period = parse_time_range(start, end, app_state.now_s())
    pair = Pair(source=source, destination=destination)
    export = open_probe_export(app_state.store, pair, period, app_state.config.retention)
    encoder = ENCODERS[format_]()
    headers = {}
    if export.deleted_before_s is not None:
        headers[DELETED_BEFORE_HEADER] = format_iso8601(export.deleted_before_s)
    # Starlette runs each step of the iterator in a thread, and waits while the client reads slowly.
    return StreamingResponse(iter_rows(export, encoder), headers=headers, media_type=encoder.media_type)
