"""Routes of verdicts over days: the JSON document, and its input windows as CSV."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from leadline.errors import ConfigError
from leadline.evaluation import TARGET_SHARE_DEFAULT
from leadline_collector.analysis.verdicts import VerdictRequest, compute_verdicts, load_verdict_windows
from leadline_collector.errors import InvalidRequestError
from leadline_collector.http import roles
from leadline_collector.http.app_state import AppStateDep
from leadline_collector.http.openapi import CsvResponse, StructResponse, csv_responses, json_responses
from leadline_collector.time_range import parse_day_range
from leadline_verdict import csv_exchange
from leadline_verdict.decision import UNSEEN_OUTAGE_WINDOWS_BY_EDITION, MissingPolicy, VerdictRule
from leadline_verdict.document import VerdictDocument
from leadline_verdict.requirements import LimitOverrides, parse_assignments, parse_declarations
from leadline_verdict.rule_edition import RuleEdition

router = APIRouter()
Viewer = Depends(roles.viewer)

#: Default of repeatable parameters; FastAPI copies it for every request.
_EMPTY_LIST: list[str] = []


def parse_verdict_request(
    app_state: AppStateDep,
    start: Annotated[str | None, Query(alias="from", description="first UTC day; default 28 days before end")] = None,
    end: Annotated[str | None, Query(alias="to", description="UTC day after the last; default today")] = None,
    pair: Annotated[str | None, Query(description="two sites, A,B: both directions")] = None,
    sites: Annotated[str | None, Query(description="only pairs between these sites, A,B,C")] = None,
    profile: Annotated[
        list[str], Query(description="profiles or limits of the catalogue; default: those of each pair")
    ] = _EMPTY_LIST,
    limit: Annotated[list[str], Query(description="custom limits: p95 <= 8 ms, loss < 0.1 %")] = _EMPTY_LIST,
    override: Annotated[
        list[str], Query(description="replaces the number of a limit: ID=NUMBER, in the limit's unit")
    ] = _EMPTY_LIST,
    declare: Annotated[
        list[str],
        Query(
            description="values you declare without measurement: ID=NUMBER, in the limit's unit; or for all pairs "
            "outages_per_year=NUMBER and longest_outage=DURATION, such as 12h, instead of the outages in the mesh"
        ),
    ] = _EMPTY_LIST,
    target_share: Annotated[float, Query(gt=0.5, lt=1)] = TARGET_SHARE_DEFAULT,
    unseen_minutes: Annotated[
        int | None,
        Query(ge=1, le=1_440, description="assumed longest unobserved outage; default 240, and 30 for leadline-2026-1"),
    ] = None,
    missing: MissingPolicy = MissingPolicy.BAD,
    rule: Annotated[RuleEdition, Query(description="edition of the decision rule")] = RuleEdition.SECOND,
) -> VerdictRequest:
    """Build the request from the query parameters that both routes share."""
    now_s = app_state.now_s()
    declarations = parse_declarations(declare, datetime.fromtimestamp(now_s, UTC).date())
    return VerdictRequest(
        period=parse_day_range(start, end, now_s),
        pair=_parse_pair(pair) if pair else None,
        sites=_parse_site_names("sites", sites) if sites else (),
        profiles=tuple(dict.fromkeys(profile)),
        overrides=LimitOverrides(
            values=parse_assignments("override", override),
            declared_values=declarations.values,
            custom_limits=tuple(limit),
        ),
        rule=VerdictRule(
            target_share=target_share,
            unseen_outage_windows=unseen_minutes or UNSEEN_OUTAGE_WINDOWS_BY_EDITION[rule],
            missing_policy=missing,
            edition=rule,
        ),
        outages=declarations.outages,
    )


def _parse_pair(text: str) -> tuple[str, str]:
    names = _parse_site_names("pair", text)
    if len(names) != 2:
        raise InvalidRequestError(f"pair: expected two sites, A,B, got {text!r}", path="pair")
    return names[0], names[1]


def _parse_site_names(parameter: str, text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if len(set(names)) != len(names) or len(names) < 2 or not all(names):
        raise ConfigError(parameter, f"expected at least two different sites separated by commas, got {text!r}")
    return names


VerdictRequestDep = Annotated[VerdictRequest, Depends(parse_verdict_request)]


@router.get("/api/v1/verdicts", dependencies=[Viewer], responses=json_responses(VerdictDocument, 401, 404, 422, 503))
def get_verdicts(app_state: AppStateDep, verdict_request: VerdictRequestDep) -> Response:
    """Compute the verdict on each pair, on both directions of two sites, and on all pairs together."""
    return StructResponse(compute_verdicts(app_state.store, verdict_request))


@router.get(
    "/api/v1/verdicts/windows",
    dependencies=[Viewer],
    response_class=CsvResponse,
    responses=csv_responses("windows of each pair", 401, 404, 422, 503),
)
def get_verdict_windows(app_state: AppStateDep, verdict_request: VerdictRequestDep) -> Response:
    """Export the windows the verdicts are computed from, for `leadline verdict --input`."""
    pairs, mesh = load_verdict_windows(app_state.store, verdict_request)
    file = io.StringIO()
    ends = {site for pair in pairs for site in (pair.source, pair.destination)}
    csv_exchange.write_windows(
        file, pairs, [site for site in mesh.sites if site.name in ends], edition=verdict_request.rule.edition
    )
    return CsvResponse(file.getvalue())
