"""Routes of measurements and meshes. Each route parses its parameters, calls one function and returns the result."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi import Path as PathPart
from starlette.status import HTTP_304_NOT_MODIFIED

from leadline.clock import format_iso8601
from leadline.model import NAME_LENGTH_MAX, RTT_US_MAX, Pair
from leadline.wire.batch import IMPORT_PREFIX, Ack, Batch
from leadline.wire.control import MeshResponse, Plan
from leadline_collector.analysis.documents import MatrixResponse, PairWindowsResponse, ProfileListResponse
from leadline_collector.analysis.matrix import build_matrix
from leadline_collector.analysis.pair_windows import LIMIT_DEFAULT, LIMIT_MAX, load_pair_windows
from leadline_collector.analysis.profiles import list_profiles
from leadline_collector.errors import NotFoundError
from leadline_collector.gaps import service as gap_service
from leadline_collector.gaps.documents import GapListResponse
from leadline_collector.http import request_body, roles
from leadline_collector.http.app_state import AppStateDep
from leadline_collector.http.documents import MeshFileResponse
from leadline_collector.http.openapi import StructResponse, json_request_body, json_responses, toml_request_body
from leadline_collector.ingest.imports import ImportOrigin
from leadline_collector.mesh import service as mesh_service
from leadline_collector.time_range import parse_time_range

router = APIRouter()

RequestBody = Annotated[bytes, Depends(request_body.receive_body)]
#: Longest source name that fits behind the prefix ``import:``.
SOURCE_LENGTH_MAX = NAME_LENGTH_MAX - len(IMPORT_PREFIX)
Viewer, Admin = Depends(roles.viewer), Depends(roles.admin)
FromParam = Annotated[
    str | None, Query(alias="from", description="epoch second, ISO 8601 with zone, or -24h; default -24h")
]
ToParam = Annotated[str | None, Query(alias="to", description="like from; default now")]
PROFILE_DESCRIPTION = "a profile or a limit of the catalogue"


@router.get("/api/v1/plan", responses=json_responses(Plan, 401, 503) | {304: {"description": "unchanged"}})
def plan(
    agent: roles.CurrentAgent, app_state: AppStateDep, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """Return the targets the agent measures. The ETag is the mesh version."""
    agent_plan = mesh_service.load_agent_plan(app_state.store, agent)
    headers = {"ETag": f'"{agent_plan.mesh_version}"', "Cache-Control": "no-cache"}
    if if_none_match == headers["ETag"]:
        return Response(status_code=HTTP_304_NOT_MODIFIED, headers=headers)
    return StructResponse(agent_plan, headers)


@router.post(
    "/api/v1/batches",
    responses=json_responses(Ack, 400, 401, 403, 408, 409, 413, 415, 422, 426, 503),
    openapi_extra=json_request_body(Batch),
)
async def batches(
    agent: roles.CurrentAgent,
    app_state: AppStateDep,
    body: RequestBody,
    content_encoding: Annotated[str, Header()] = "",
    leadline_signature: Annotated[str, Header(description="only from agents that sign: ed25519 KEY-ID SIGNATURE")] = "",
    leadline_spool: Annotated[str, Header(description="spool of the agent: batches=N, bytes=N, max=N")] = "",
    user_agent: Annotated[str, Header()] = "",
) -> Response:
    """Store a batch. The digest in the response confirms that it is durable."""
    app_state.reports.record_report(agent.id, app_state.now_s(), user_agent, leadline_spool)
    received_at_us = app_state.clock.wall_ns() // 1_000
    work = partial(app_state.ingest.accept, agent, body, content_encoding, leadline_signature, received_at_us)
    return StructResponse(await app_state.admission.run(work))


@router.post(
    "/api/v1/imports/{source}",
    dependencies=[Admin],
    responses=json_responses(Ack, 400, 401, 403, 408, 409, 413, 415, 422, 426, 503),
    openapi_extra=json_request_body(Batch),
)
async def import_batch(
    app_state: AppStateDep,
    body: RequestBody,
    source: Annotated[str, PathPart(min_length=1, max_length=SOURCE_LENGTH_MAX)],
    file: Annotated[str, Query(min_length=1, max_length=255, description="name of the file")],
    sha256: Annotated[str, Query(pattern="^[0-9a-f]{64}$", description="SHA-256 of the file")],
    format_: Annotated[str, Query(alias="format", min_length=1, max_length=32, description="file format")],
    resolution_us: Annotated[int | None, Query(ge=1, le=RTT_US_MAX, description="resolution of its RTTs")] = None,
    check: Annotated[bool, Query(description="validate only; store nothing")] = False,
    content_encoding: Annotated[str, Header()] = "",
) -> Response:
    """Store measurements from a file, marked as imported. ``source`` is the site or agent that measured them."""
    name = f"{IMPORT_PREFIX}{source}"
    origin = ImportOrigin(source=name, file=file, sha256=sha256, format=format_, resolution_us=resolution_us)
    received_at_us = app_state.clock.wall_ns() // 1_000
    work = partial(app_state.ingest.accept_import, received_at_us, body, content_encoding, origin, check=check)
    return StructResponse(await app_state.admission.run(work))


@router.put(
    "/api/v1/mesh",
    dependencies=[Admin],
    responses=json_responses(MeshResponse, 400, 401, 413, 422, 503),
    openapi_extra=toml_request_body(),
)
def put_mesh(app_state: AppStateDep, body: RequestBody) -> Response:
    """Validate a mesh file and make it the active mesh."""
    return StructResponse(mesh_service.apply_mesh(app_state.store, app_state.clock, body))


@router.get("/api/v1/mesh", dependencies=[Viewer], responses=json_responses(MeshFileResponse, 401, 404, 503))
def get_mesh(app_state: AppStateDep) -> Response:
    """Return the active mesh file."""
    mesh = mesh_service.load_active_mesh_file(app_state.store)
    at_s = mesh.applied_at_s
    return StructResponse(
        MeshFileResponse(version=mesh.version, applied_at=at_s, applied_at_iso=format_iso8601(at_s), text=mesh.text)
    )


@router.get("/api/v1/profiles", dependencies=[Viewer], responses=json_responses(ProfileListResponse, 401))
def get_profiles() -> Response:
    """List the profiles of the catalogue with their limits and sources."""
    return StructResponse(list_profiles())


@router.get("/api/v1/matrix", dependencies=[Viewer], responses=json_responses(MatrixResponse, 401, 422, 503))
def get_matrix(
    app_state: AppStateDep,
    profile: Annotated[str, Query(description=PROFILE_DESCRIPTION)],
    start: FromParam = None,
    end: ToParam = None,
    group: Annotated[str | None, Query(description="only pairs of this mesh group")] = None,
) -> Response:
    """Evaluate every directed pair against one profile over a period."""
    period = parse_time_range(start, end, app_state.now_s())
    return StructResponse(build_matrix(app_state.store, profile, period, group))


@router.get(
    "/api/v1/pairs/{source}/{destination}/windows",
    dependencies=[Viewer],
    responses=json_responses(PairWindowsResponse, 401, 404, 422, 503),
)
def get_windows(
    app_state: AppStateDep,
    source: str,
    destination: str,
    start: FromParam = None,
    end: ToParam = None,
    profile: Annotated[str | None, Query(description=PROFILE_DESCRIPTION)] = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
) -> Response:
    """Return the windows of a directed pair, oldest first."""
    if source == destination:
        raise NotFoundError(f"a pair joins two sites: source and destination are both {source!r}")
    period = parse_time_range(start, end, app_state.now_s())
    pair = Pair(source=source, destination=destination)
    with app_state.store.read() as reader:
        windows = load_pair_windows(reader, pair, period, profile, limit)
    return StructResponse(windows)


@router.get(
    "/api/v1/agents/{agent}/gaps",
    dependencies=[Viewer],
    responses=json_responses(GapListResponse, 401, 404, 422, 503),
)
def get_gaps(
    app_state: AppStateDep,
    agent: str,
    start: FromParam = None,
    end: ToParam = None,
    limit: Annotated[int, Query(ge=1, le=gap_service.LIMIT_MAX)] = gap_service.LIMIT_DEFAULT,
) -> Response:
    """List missing windows of an agent with their reasons, reported by the agent or detected by the collector."""
    period = parse_time_range(start, end, app_state.now_s())
    with app_state.store.read() as reader:
        gaps = gap_service.find_agent_gaps(reader, agent, period, limit)
    return StructResponse(gaps)
