"""The routes of identity: enrolment, rotation, tokens, agents, audit. Roles: ``auth``; statuses: ``problems``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathPart

from leadline.model import NAME_LENGTH_MAX
from leadline.wire import batch as wire
from leadline.wire import control
from leadline.wire.admin import AgentList, AuditPage, RevocationResult, TokenList
from leadline_collector.auth import enrolment, key_rotation, key_store
from leadline_collector.db import audit_log
from leadline_collector.errors import CollectorError, TooManyAttemptsError
from leadline_collector.http import problems, request_body, roles
from leadline_collector.http.app_state import AppStateDep
from leadline_collector.http.client_address import get_client_network
from leadline_collector.http.openapi import StructResponse, json_request_body, json_responses
from leadline_collector.journal import body_codec

router = APIRouter()

RequestBody = Annotated[bytes, Depends(request_body.receive_small_body)]
Public, Admin = Depends(roles.public), Depends(roles.admin)
TokenId = Annotated[str, PathPart(pattern="^[0-9a-f]{16}$")]
AgentName = Annotated[str, PathPart(min_length=1, max_length=NAME_LENGTH_MAX)]


@router.post(
    "/api/v1/enroll",
    dependencies=[Public],
    responses=json_responses(control.EnrolResponse, 400, 401, 413, 422, 429, 503),
    openapi_extra=json_request_body(control.EnrolRequest),
)
def enroll(request: Request, app_state: AppStateDep, body: RequestBody) -> Response:
    """Exchange a one-time token for an agent's key."""
    wanted = body_codec.decode_document(body, control.EnrolRequest)
    peer = get_client_network(request, app_state.config.behind_proxy)
    try:
        answer = app_state.enrolment.enrol(wanted, peer)
    except CollectorError as error:
        status = problems.status_of(error)
        if not isinstance(error, TooManyAttemptsError):
            app_state.enrolment.record_refusal(wanted, peer, status)
        app_state.metrics.record_enrolment(status)
        raise
    app_state.metrics.record_enrolment(200)
    return StructResponse(answer)


@router.post(
    "/api/v1/rotate",
    responses=json_responses(control.EnrolResponse, 400, 401, 403, 408, 413, 422, 503),
    openapi_extra=json_request_body(control.KeyRotationRequest, required=False),
)
def rotate(
    agent: roles.CurrentAgent, sha256: roles.RequestKeyDigest, app_state: AppStateDep, body: RequestBody
) -> Response:
    """A new key for the agent; the one it asked with is good until the new one was used once."""
    request = body_codec.decode_document(body, control.KeyRotationRequest) if body else control.KeyRotationRequest()
    return StructResponse(app_state.key_rotation.rotate(agent, sha256, request))


@router.get("/api/v1/tokens", dependencies=[Admin], responses=json_responses(TokenList, 401, 503))
def get_tokens(app_state: AppStateDep) -> Response:
    """The enrolment tokens, newest first."""
    with app_state.store.read() as reader:
        return StructResponse(TokenList(tokens=key_store.load_tokens(reader.connection)))


@router.post(
    "/api/v1/tokens",
    dependencies=[Admin],
    responses=json_responses(control.TokenResponse, 400, 401, 413, 422, 503),
    openapi_extra=json_request_body(control.TokenRequest),
)
def tokens(app_state: AppStateDep, body: RequestBody) -> Response:
    """Make a one-time token with which an agent of a site enrols."""
    request = body_codec.decode_document(body, control.TokenRequest)
    return StructResponse(enrolment.create_token(app_state.store, app_state.clock, request))


@router.delete(
    "/api/v1/tokens/{token_id}", dependencies=[Admin], responses=json_responses(RevocationResult, 401, 404, 422, 503)
)
def revoke_token(app_state: AppStateDep, token_id: TokenId) -> Response:
    """End a token that was not used yet."""
    return StructResponse(enrolment.revoke_token(app_state.store, app_state.clock, token_id))


@router.get("/api/v1/agents", dependencies=[Admin], responses=json_responses(AgentList, 401, 503))
def get_agents(app_state: AppStateDep) -> Response:
    """The agents and their live keys."""
    with app_state.store.read() as reader:
        return StructResponse(AgentList(agents=key_store.load_agents(reader.connection, app_state.now_s())))


@router.delete(
    "/api/v1/agents/{name}/keys", dependencies=[Admin], responses=json_responses(RevocationResult, 401, 404, 422, 503)
)
def revoke_agent(app_state: AppStateDep, name: AgentName) -> Response:
    """End every key of an agent: its next request is refused."""
    return StructResponse(key_rotation.revoke_agent_keys(app_state.store, app_state.clock, name))


@router.get("/api/v1/audit", dependencies=[Admin], responses=json_responses(AuditPage, 401, 422, 503))
def get_audit(
    app_state: AppStateDep,
    before: Annotated[int | None, Query(ge=1, le=wire.INT63_MAX, description="id: only older entries")] = None,
    limit: Annotated[int, Query(ge=1, le=audit_log.PAGE_MAX)] = audit_log.PAGE_DEFAULT,
) -> Response:
    """Who did what, newest first."""
    with app_state.store.read() as reader:
        entries = audit_log.load_entries(reader.connection, before, limit)
    next_before = entries[-1].id if len(entries) == limit else None
    return StructResponse(AuditPage(entries=entries, next_before=next_before))
