"""The routes of identity: enrolment, rotation, tokens, agents, audit. Roles: ``auth``; statuses: ``problems``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathPart

from leadline.model import NAME_LENGTH_MAX
from leadline.wire import batch as wire
from leadline.wire import control
from leadline.wire.admin import AgentsAnswer, AuditAnswer, RevokedAnswer, TokensAnswer
from leadline_collector.auth import enrolment, key_rotation, key_store
from leadline_collector.db import audit_log
from leadline_collector.errors import CollectorError, TooManyAttemptsError
from leadline_collector.http import problems, request_body, roles
from leadline_collector.http.app_state import Serving
from leadline_collector.http.client_address import peer_of
from leadline_collector.http.openapi import JsonAnswer, answers_with, takes
from leadline_collector.journal import body_codec

router = APIRouter()

Body = Annotated[bytes, Depends(request_body.receive_small)]
Public, Admin = Depends(roles.public), Depends(roles.admin)
TokenId = Annotated[str, PathPart(pattern="^[0-9a-f]{16}$")]
AgentName = Annotated[str, PathPart(min_length=1, max_length=NAME_LENGTH_MAX)]


@router.post(
    "/api/v1/enroll",
    dependencies=[Public],
    responses=answers_with(control.EnrolAnswer, 400, 401, 413, 422, 429, 503),
    openapi_extra=takes(control.EnrolRequest),
)
def enroll(request: Request, service: Serving, body: Body) -> Response:
    """Exchange a one-time token for an agent's key."""
    wanted = body_codec.decode_document(body, control.EnrolRequest)
    peer = peer_of(request, service.config.behind_proxy)
    try:
        answer = service.enrolment.enrol(wanted, peer)
    except CollectorError as error:
        status = problems.status_of(error)
        if not isinstance(error, TooManyAttemptsError):
            service.enrolment.record_refusal(wanted, peer, status)
        service.metrics.enrolment(status)
        raise
    service.metrics.enrolment(200)
    return JsonAnswer(answer)


@router.post(
    "/api/v1/rotate",
    responses=answers_with(control.EnrolAnswer, 400, 401, 403, 408, 413, 422, 503),
    openapi_extra=takes(control.RotateRequest, required=False),
)
def rotate(agent: roles.Agent, sha256: roles.Presented, service: Serving, body: Body) -> Response:
    """A new key for the agent; the one it asked with is good until the new one was used once."""
    request = body_codec.decode_document(body, control.RotateRequest) if body else control.RotateRequest()
    return JsonAnswer(service.key_rotation.rotate(agent, sha256, request))


@router.get("/api/v1/tokens", dependencies=[Admin], responses=answers_with(TokensAnswer, 401, 503))
def get_tokens(service: Serving) -> Response:
    """The enrolment tokens, newest first."""
    with service.store.read() as reader:
        return JsonAnswer(TokensAnswer(tokens=key_store.tokens(reader.connection)))


@router.post(
    "/api/v1/tokens",
    dependencies=[Admin],
    responses=answers_with(control.TokenAnswer, 400, 401, 413, 422, 503),
    openapi_extra=takes(control.TokenRequest),
)
def tokens(service: Serving, body: Body) -> Response:
    """Make a one-time token with which an agent of a site enrols."""
    request = body_codec.decode_document(body, control.TokenRequest)
    return JsonAnswer(enrolment.create_token(service.store, service.clock, request))


@router.delete(
    "/api/v1/tokens/{token_id}", dependencies=[Admin], responses=answers_with(RevokedAnswer, 401, 404, 422, 503)
)
def revoke_token(service: Serving, token_id: TokenId) -> Response:
    """End a token that was not used yet."""
    return JsonAnswer(enrolment.revoke_token(service.store, service.clock, token_id))


@router.get("/api/v1/agents", dependencies=[Admin], responses=answers_with(AgentsAnswer, 401, 503))
def get_agents(service: Serving) -> Response:
    """The agents and their live keys."""
    with service.store.read() as reader:
        return JsonAnswer(AgentsAnswer(agents=key_store.agents(reader.connection, service.now_s())))


@router.delete(
    "/api/v1/agents/{name}/keys", dependencies=[Admin], responses=answers_with(RevokedAnswer, 401, 404, 422, 503)
)
def revoke_agent(service: Serving, name: AgentName) -> Response:
    """End every key of an agent: its next request is refused."""
    return JsonAnswer(key_rotation.revoke(service.store, service.clock, name))


@router.get("/api/v1/audit", dependencies=[Admin], responses=answers_with(AuditAnswer, 401, 422, 503))
def get_audit(
    service: Serving,
    before: Annotated[int | None, Query(ge=1, le=wire.INT63_MAX, description="id: only older entries")] = None,
    limit: Annotated[int, Query(ge=1, le=audit_log.PAGE_MAX)] = audit_log.PAGE_DEFAULT,
) -> Response:
    """Who did what, newest first."""
    with service.store.read() as reader:
        entries = audit_log.page(reader.connection, before, limit)
    next_before = entries[-1].id if len(entries) == limit else None
    return JsonAnswer(AuditAnswer(entries=entries, next_before=next_before))
