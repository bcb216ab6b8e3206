"""The routes of measurements and meshes (keys: ``api_access``): each parses, calls one function, returns its value.

Roles: ``auth``; statuses: ``problems``.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi import Path as PathPart
from starlette.status import HTTP_304_NOT_MODIFIED

from leadline.clock import iso
from leadline.model import NAME_LENGTH_MAX, Pair
from leadline.wire import batch as wire
from leadline.wire import control
from leadline_collector.analysis.documents import MatrixAnswer, ProfilesAnswer, WindowsAnswer
from leadline_collector.analysis.matrix import matrix
from leadline_collector.analysis.pair_windows import LIMIT_DEFAULT, LIMIT_MAX, pair_windows
from leadline_collector.analysis.profiles import profiles
from leadline_collector.errors import NotFoundError
from leadline_collector.gaps import service as gap_service
from leadline_collector.gaps.documents import GapsAnswer
from leadline_collector.http import request_body, roles
from leadline_collector.http.app_state import Serving
from leadline_collector.http.documents import MeshText
from leadline_collector.http.openapi import JsonAnswer, answers_with, takes, takes_toml
from leadline_collector.ingest.imports import Origin
from leadline_collector.mesh import service as mesh_service
from leadline_collector.time_range import period_of

router = APIRouter()

Body = Annotated[bytes, Depends(request_body.receive)]
#: What ``import:`` leaves of a name.
SOURCE_LENGTH_MAX = NAME_LENGTH_MAX - len(wire.IMPORT_PREFIX)
Viewer, Admin = Depends(roles.viewer), Depends(roles.admin)
From = Annotated[str | None, Query(alias="from", description="epoch second, ISO 8601 with zone, or -24h; default -24h")]
To = Annotated[str | None, Query(alias="to", description="like from; default now")]
PROFILE = "a profile or a limit of the catalogue"


@router.get("/api/v1/plan", responses=answers_with(control.Plan, 401, 503) | {304: {"description": "unchanged"}})
def plan(agent: roles.Agent, service: Serving, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """What the agent has to measure. The ETag is the version of the mesh."""
    found = mesh_service.plan(service.store, agent)
    headers = {"ETag": f'"{found.mesh_version}"', "Cache-Control": "no-cache"}
    if if_none_match == headers["ETag"]:
        return Response(status_code=HTTP_304_NOT_MODIFIED, headers=headers)
    return JsonAnswer(found, headers)


@router.post(
    "/api/v1/batches",
    responses=answers_with(wire.Ack, 400, 401, 403, 408, 409, 413, 415, 422, 426, 503),
    openapi_extra=takes(wire.Batch),
)
async def batches(
    agent: roles.Agent,
    service: Serving,
    body: Body,
    content_encoding: Annotated[str, Header()] = "",
    leadline_signature: Annotated[str, Header(description="of an agent that signs: ed25519 KEY-ID SIGNATURE")] = "",
    leadline_spool: Annotated[str, Header(description="what waits on the agent: batches=N, bytes=N, max=N")] = "",
    user_agent: Annotated[str, Header()] = "",
) -> Response:
    """Store a batch; the answer's digest says that it is durable."""
    service.reports.said(agent.id, service.now_s(), user_agent, leadline_spool)
    received_at_us = service.clock.wall_ns() // 1_000
    work = partial(service.ingest.accept, agent, body, content_encoding, leadline_signature, received_at_us)
    return JsonAnswer(await service.door.run(work))


@router.post(
    "/api/v1/imports/{source}",
    dependencies=[Admin],
    responses=answers_with(wire.Ack, 400, 401, 403, 408, 409, 413, 415, 422, 426, 503),
    openapi_extra=takes(wire.Batch),
)
async def import_batch(
    service: Serving,
    body: Body,
    source: Annotated[str, PathPart(min_length=1, max_length=SOURCE_LENGTH_MAX)],
    file: Annotated[str, Query(min_length=1, max_length=255, description="name of the file")],
    sha256: Annotated[str, Query(pattern="^[0-9a-f]{64}$", description="SHA-256 of the file")],
    format_: Annotated[str, Query(alias="format", min_length=1, max_length=32, description="what wrote the file")],
    resolution_us: Annotated[int | None, Query(ge=1, le=wire.RTT_US_MAX, description="step of its RTTs")] = None,
    check: Annotated[bool, Query(description="try it and undo it")] = False,
    content_encoding: Annotated[str, Header()] = "",
) -> Response:
    """Store measurements out of a file, marked as imported; ``source`` is the site or agent they are from."""
    name = f"{wire.IMPORT_PREFIX}{source}"
    origin = Origin(source=name, file=file, sha256=sha256, format=format_, resolution_us=resolution_us)
    received_at_us = service.clock.wall_ns() // 1_000
    work = partial(service.ingest.accept_import, received_at_us, body, content_encoding, origin, check=check)
    return JsonAnswer(await service.door.run(work))


@router.put(
    "/api/v1/mesh",
    dependencies=[Admin],
    responses=answers_with(control.MeshAnswer, 400, 401, 413, 422, 503),
    openapi_extra=takes_toml(),
)
def put_mesh(service: Serving, body: Body) -> Response:
    """Put a mesh file in force."""
    return JsonAnswer(mesh_service.apply(service.store, service.clock, body))


@router.get("/api/v1/mesh", dependencies=[Viewer], responses=answers_with(MeshText, 401, 404, 503))
def get_mesh(service: Serving) -> Response:
    """The mesh file in force."""
    mesh = mesh_service.text_in_force(service.store)
    at_s = mesh.applied_at_s
    return JsonAnswer(MeshText(version=mesh.version, applied_at=at_s, applied_at_iso=iso(at_s), text=mesh.text))


@router.get("/api/v1/profiles", dependencies=[Viewer], responses=answers_with(ProfilesAnswer, 401))
def get_profiles() -> Response:
    """The profiles of the catalogue with their limits and sources."""
    return JsonAnswer(profiles())


@router.get("/api/v1/matrix", dependencies=[Viewer], responses=answers_with(MatrixAnswer, 401, 422, 503))
def get_matrix(
    service: Serving,
    profile: Annotated[str, Query(description=PROFILE)],
    start: From = None,
    end: To = None,
    group: Annotated[str | None, Query(description="only the pairs of this group of the mesh")] = None,
) -> Response:
    """Every directed pair, judged by one profile over a period."""
    period = period_of(start, end, service.now_s())
    return JsonAnswer(matrix(service.store, profile, period, group))


@router.get(
    "/api/v1/pairs/{source}/{destination}/windows",
    dependencies=[Viewer],
    responses=answers_with(WindowsAnswer, 401, 404, 422, 503),
)
def get_windows(
    service: Serving,
    source: str,
    destination: str,
    start: From = None,
    end: To = None,
    profile: Annotated[str | None, Query(description=PROFILE)] = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
) -> Response:
    """The windows of a directed pair, oldest first."""
    if source == destination:
        raise NotFoundError(f"a pair joins two sites, and {source!r} is one")
    period = period_of(start, end, service.now_s())
    pair = Pair(source=source, destination=destination)
    return JsonAnswer(pair_windows(service.store, pair, period, profile, limit))


@router.get(
    "/api/v1/agents/{agent}/gaps",
    dependencies=[Viewer],
    responses=answers_with(GapsAnswer, 401, 404, 422, 503),
)
def get_gaps(
    service: Serving,
    agent: str,
    start: From = None,
    end: To = None,
    limit: Annotated[int, Query(ge=1, le=gap_service.LIMIT_MAX)] = gap_service.LIMIT_DEFAULT,
) -> Response:
    """What is missing of an agent's windows, and why: told by the agent or found here."""
    period = period_of(start, end, service.now_s())
    return JsonAnswer(gap_service.agent_gaps(service.store, agent, period, limit))
