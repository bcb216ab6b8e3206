"""The routes of verdicts over days: the document, and the windows behind it as a file."""

from __future__ import annotations

import io
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends, Query, Response

from leadline.errors import ConfigError
from leadline.evaluation import TARGET_SHARE_DEFAULT, UNSEEN_EPISODE_WINDOWS
from leadline_collector.analysis.verdicts import Question, pair_windows, verdicts
from leadline_collector.errors import InvalidRequestError
from leadline_collector.http import roles
from leadline_collector.http.app_state import Serving
from leadline_collector.http.openapi import CsvAnswer, JsonAnswer, answers_with, csv_or
from leadline_collector.time_range import days_of
from leadline_verdict import csv_exchange
from leadline_verdict.decision import Missing, Rule
from leadline_verdict.document import VerdictDocument
from leadline_verdict.requirements import Wishes, assignments

router = APIRouter()
Viewer = Depends(roles.viewer)

_Texts: TypeAlias = list[str]


def question(
    service: Serving,
    start: Annotated[str | None, Query(alias="from", description="a UTC day; default 28 days before the end")] = None,
    end: Annotated[str | None, Query(alias="to", description="the day after the last; default today")] = None,
    pair: Annotated[str | None, Query(description="two sites, A,B: both directions")] = None,
    sites: Annotated[str | None, Query(description="only pairs between these, A,B,C")] = None,
    profile: Annotated[
        _Texts, Query(description="profiles or limits of the catalogue; default: those of each pair")
    ] = [],  # noqa: B006  # FastAPI copies it
    limit: Annotated[_Texts, Query(description="limits of your own: p95 <= 8 ms, loss < 0.1 %")] = [],  # noqa: B006  # likewise
    override: Annotated[_Texts, Query(description="another number for a limit: ID=NUMBER, in its unit")] = [],  # noqa: B006  # likewise
    declare: Annotated[_Texts, Query(description="what you vouch for: ID=NUMBER, in the unit of the limit")] = [],  # noqa: B006  # likewise
    target_share: Annotated[float, Query(gt=0.5, lt=1)] = TARGET_SHARE_DEFAULT,
    unseen_minutes: Annotated[int, Query(ge=1, le=1_440)] = UNSEEN_EPISODE_WINDOWS,
    missing: Missing = Missing.BAD,
) -> Question:
    """What is asked, from the parameters of both routes."""
    return Question(
        period=days_of(start, end, service.now_s()),
        pair=_pair(pair) if pair else None,
        sites=_names("sites", sites) if sites else (),
        profiles=tuple(dict.fromkeys(profile)),
        wishes=Wishes(
            overrides=assignments("override", override), declared=assignments("declare", declare), own=tuple(limit)
        ),
        rule=Rule(target_share=target_share, unseen_windows=unseen_minutes, missing=missing),
    )


def _pair(text: str) -> tuple[str, str]:
    names = _names("pair", text)
    if len(names) != 2:
        raise InvalidRequestError(f"pair: {text!r} are not two sites, A,B", path="pair")
    return names[0], names[1]


def _names(what: str, text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if len(set(names)) != len(names) or len(names) < 2 or not all(names):
        raise ConfigError(what, f"{text!r} does not name two different sites at least, divided by commas")
    return names


Asked = Annotated[Question, Depends(question)]


@router.get("/api/v1/verdicts", dependencies=[Viewer], responses=answers_with(VerdictDocument, 401, 404, 422, 503))
def get_verdicts(service: Serving, asked: Asked) -> Response:
    """The verdict on each pair asked for, on two sites together, and on the set of all of them."""
    return JsonAnswer(verdicts(service.store, asked))


@router.get(
    "/api/v1/verdicts/windows",
    dependencies=[Viewer],
    response_class=CsvAnswer,
    responses=csv_or("the windows of each pair", 401, 404, 422, 503),
)
def get_verdict_windows(service: Serving, asked: Asked) -> Response:
    """The windows the verdicts are computed from, for `leadline verdict --input`."""
    pairs, mesh = pair_windows(service.store, asked)
    file = io.StringIO()
    ends = {site for pair in pairs for site in (pair.source, pair.destination)}
    csv_exchange.write(file, pairs, [site for site in mesh.sites if site.name in ends])
    return CsvAnswer(file.getvalue())
