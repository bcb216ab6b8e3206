"""The audit: who did what to whom, in the transaction that did it. Rows are only ever added.

Rule 1: the database itself refuses to change or delete a row (triggers, migration 0003).
Rule 2: no secret goes in. A token or key stands there by its id (``secret.secret_id``).
Rule 3: what came from a stranger is bounded before it is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select

from leadline.wire.admin import AuditEntry
from leadline_collector.db.tables import AUDIT_TEXT_MAX, audit

PAGE_DEFAULT = 100
PAGE_MAX = 1_000

ACTOR_ADMIN = "admin"
ACTOR_COLLECTOR = "collector"


class AuditAction(StrEnum):
    """What can be done. The list is closed."""

    TOKEN_CREATED = "token created"
    TOKEN_REVOKED = "token revoked"
    AGENT_ENROLLED = "agent enrolled"
    ENROLMENT_REFUSED = "enrolment refused"
    KEY_ROTATED = "key rotated"
    KEY_REPLACED = "key replaced"
    KEYS_REVOKED = "keys revoked"
    ADMIN_KEY_CHANGED = "admin key changed"
    MESH_APPLIED = "mesh applied"
    SIGNING_KEY_REPLACED = "signing key replaced"
    SIGNATURE_REFUSED = "signature refused"
    BATCH_CONFLICT = "batch conflict"
    DATA_IMPORTED = "data imported"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One row to be."""

    at_s: int
    actor: str
    action: AuditAction
    #: The site, the agent, the version: what it was done to.
    subject: str
    detail: dict[str, Any] = field(default_factory=dict)


def add_event(connection: Connection, event: AuditEvent) -> None:
    """Add a row; called through ``Writer.record``."""
    row = {
        "at": event.at_s,
        "who": _sanitise(event.actor),
        "what": event.action.value,
        "subject": _sanitise(event.subject),
        "detail": msgspec.json.encode(event.detail).decode(),
    }
    connection.execute(insert(audit).values(row))


def _sanitise(text: str) -> str:
    """As much as there is room for, of what can neither upset PostgreSQL (NUL) nor steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text[:AUDIT_TEXT_MAX])


def load_entries(connection: Connection, before_id: int | None, limit: int) -> list[AuditEntry]:
    """Up to ``limit`` rows, newest first, with ids below ``before``; called through ``Reader.audit_page``."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(audit.c.id < before_id)
    return [
        AuditEntry(
            id=row.id,
            at_s=row.at,
            who=row.who,
            what=row.what,
            subject=row.subject,
            detail=msgspec.json.decode(row.detail),
        )
        for row in connection.execute(query)
    ]
