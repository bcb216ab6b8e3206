"""Append-only audit log. An entry is written in the transaction of the change that it describes.

Rule 1: the database refuses to change or delete a row (triggers, migration 0003).
Rule 2: no secret is written. Tokens and keys appear by their id (``auth.secrets.get_secret_id``).
Rule 3: text from clients is truncated and sanitised before it is written.
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
    """Kinds of audited changes."""

    TOKEN_CREATED = "token created"  # noqa: S105  # not a secret
    TOKEN_REVOKED = "token revoked"  # noqa: S105  # not a secret
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
    """An entry to be written."""

    at_s: int
    actor: str
    action: AuditAction
    #: The changed site, agent or version.
    subject: str
    detail: dict[str, Any] = field(default_factory=dict)


def add_event(connection: Connection, event: AuditEvent) -> None:
    """Add a row."""
    row = {
        "at": event.at_s,
        "who": _sanitise(event.actor),
        "what": event.action.value,
        "subject": _sanitise(event.subject),
        "detail": msgspec.json.encode(event.detail).decode(),
    }
    connection.execute(insert(audit).values(row))


def _sanitise(text: str) -> str:
    """Return the text truncated to the column, without NUL (PostgreSQL refuses it) and terminal control characters."""
    return "".join(character if character.isprintable() else "?" for character in text[:AUDIT_TEXT_MAX])


def load_entries(connection: Connection, before_id: int | None, limit: int) -> list[AuditEntry]:
    """Return up to ``limit`` entries, newest first; with ``before_id`` only those with a smaller id."""
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
