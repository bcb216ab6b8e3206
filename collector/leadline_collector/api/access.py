"""Routes of identity: enrolment, key rotation, tokens, agents, audit log."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathPart

from leadline.model import NAME_LENGTH_MAX
from leadline.wire.admin import AgentList, AuditPage, RevocationResult, TokenList
from leadline.wire.batch import INT63_MAX
from leadline.wire.control import EnrolRequest, EnrolResponse, KeyRotationRequest, TokenRequest, TokenResponse
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
    responses=json_responses(EnrolResponse, 400, 401, 413, 422, 429, 503),
    openapi_extra=json_request_body(EnrolRequest),
)
def enroll(request: Request, app_state: AppStateDep, body: RequestBody) -> Response:
    """Exchange a one-time token for an agent's key."""
    enrol_request = body_codec.decode_document(body, EnrolRequest)
    client = get_client_network(request, app_state.config.behind_proxy)
    try:
        response = app_state.enrolment.enrol(enrol_request, client)
    except CollectorError as error:
        status = problems.status_of(error)
        if not isinstance(error, TooManyAttemptsError):
            app_state.enrolment.record_refusal(enrol_request, client, status)
        app_state.metrics.record_enrolment(status)
        raise
    app_state.metrics.record_enrolment(200)
    return StructResponse(response)


@router.post(
    "/api/v1/rotate",
    responses=json_responses(EnrolResponse, 400, 401, 403, 408, 413, 422, 503),
    openapi_extra=json_request_body(KeyRotationRequest, required=False),
)
def rotate(
    agent: roles.CurrentAgent, sha256: roles.RequestKeyDigest, app_state: AppStateDep, body: RequestBody
) -> Response:
    """Issue a new key to the agent. The current key stays valid until the first use of the new one."""
    request = body_codec.decode_document(body, KeyRotationRequest) if body else KeyRotationRequest()
    return StructResponse(app_state.key_rotation.rotate(agent, sha256, request))


@router.get("/api/v1/tokens", dependencies=[Admin], responses=json_responses(TokenList, 401, 503))
def get_tokens(app_state: AppStateDep) -> Response:
    """List the enrolment tokens, newest first."""
    with app_state.store.read() as reader:
        return StructResponse(TokenList(tokens=key_store.load_tokens(reader.connection)))


@router.post(
    "/api/v1/tokens",
    dependencies=[Admin],
    responses=json_responses(TokenResponse, 400, 401, 413, 422, 503),
    openapi_extra=json_request_body(TokenRequest),
)
def tokens(app_state: AppStateDep, body: RequestBody) -> Response:
    """Create a one-time token that enrols an agent at a site."""
    request = body_codec.decode_document(body, TokenRequest)
    return StructResponse(enrolment.create_token(app_state.store, app_state.clock, request))


@router.delete(
    "/api/v1/tokens/{token_id}", dependencies=[Admin], responses=json_responses(RevocationResult, 401, 404, 422, 503)
)
def revoke_token(app_state: AppStateDep, token_id: TokenId) -> Response:
    """Revoke an unused token."""
    return StructResponse(enrolment.revoke_token(app_state.store, app_state.clock, token_id))


@router.get("/api/v1/agents", dependencies=[Admin], responses=json_responses(AgentList, 401, 503))
def get_agents(app_state: AppStateDep) -> Response:
    """List the agents and their valid keys."""
    with app_state.store.read() as reader:
        return StructResponse(AgentList(agents=key_store.load_agents(reader.connection, app_state.now_s())))


@router.delete(
    "/api/v1/agents/{name}/keys", dependencies=[Admin], responses=json_responses(RevocationResult, 401, 404, 422, 503)
)
def revoke_agent(app_state: AppStateDep, name: AgentName) -> Response:
    """Revoke all keys of an agent: its next request gets 401."""
    return StructResponse(key_rotation.revoke_agent_keys(app_state.store, app_state.clock, name))


@router.get("/api/v1/audit", dependencies=[Admin], responses=json_responses(AuditPage, 401, 422, 503))
def get_audit(
    app_state: AppStateDep,
    before: Annotated[int | None, Query(ge=1, le=INT63_MAX, description="entry id; return older entries only")] = None,
    limit: Annotated[int, Query(ge=1, le=audit_log.PAGE_MAX)] = audit_log.PAGE_DEFAULT,
) -> Response:
    """List the audit log, newest first."""
    with app_state.store.read() as reader:
        entries = audit_log.load_entries(reader.connection, before, limit)
    next_before = entries[-1].id if len(entries) == limit else None
    return StructResponse(AuditPage(entries=entries, next_before=next_before))
