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

ADMIN = "admin"
COLLECTOR = "collector"


class Event(StrEnum):
    """What can be done. The list is closed."""

    TOKEN_CREATED = "token created"  # noqa: S105 - no secret
    TOKEN_REVOKED = "token revoked"  # noqa: S105 - no secret
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
class Act:
    """One row to be."""

    at_s: int
    who: str
    what: Event
    #: The site, the agent, the version: what it was done to.
    subject: str
    detail: dict[str, Any] = field(default_factory=dict)


def record(connection: Connection, act: Act) -> None:
    """Add a row; called through ``Writer.record``."""
    row = {
        "at": act.at_s,
        "who": _bounded(act.who),
        "what": act.what.value,
        "subject": _bounded(act.subject),
        "detail": msgspec.json.encode(act.detail).decode(),
    }
    connection.execute(insert(audit).values(row))


def _bounded(text: str) -> str:
    """As much as there is room for, of what can neither upset PostgreSQL (NUL) nor steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text[:AUDIT_TEXT_MAX])


def page(connection: Connection, before: int | None, limit: int) -> list[AuditEntry]:
    """Up to ``limit`` rows, newest first, with ids below ``before``; called through ``Reader.audit_page``."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.id < before)
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
