"""SQL of the agents' public signing keys. Rows are never deleted: old batches are verified with old keys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Exists, Select, and_, exists, insert, select, update

from leadline.wire.admin import SigningKeyEntry
from leadline.wire.signing import derive_key_id
from leadline_collector.db import tables

#: Two, so that the old key works until the agent uses the new one.
LIVE_KEYS_MAX = 2
KEYS_MAX = 20_000

_key_columns = tables.signing_key.c


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """Public signing key of an agent."""

    id: int
    agent_id: int
    public_key: bytes
    created_at_s: int
    #: Time of the first batch signed with it; None before that.
    used_at_s: int | None
    #: From then on no new batch is accepted with it; None for a live key.
    retired_at_s: int | None
    #: Key that endorsed this one as its successor, and its signature; None for a key registered by enrolment.
    endorser_id: int | None
    endorsement: bytes | None


def build_signing_condition() -> Exists:
    """Build a condition on ``agent`` of the outer query: it has a live signing key."""
    return exists().where(_key_columns.agent_id == tables.agent.c.id, _key_columns.retired_at.is_(None))


def load_live_keys(connection: Connection, agent_id: int) -> list[SigningKey]:
    """Return the keys an agent may sign with, newest first."""
    query = select(tables.signing_key).where(_key_columns.agent_id == agent_id, _key_columns.retired_at.is_(None))
    return _fetch_keys(connection, query.order_by(_key_columns.id.desc()).limit(LIVE_KEYS_MAX + 1))


def load_all_keys(connection: Connection) -> list[SigningKey]:
    """Return the first ``KEYS_MAX`` keys of all agents, retired keys included."""
    return _fetch_keys(connection, select(tables.signing_key).order_by(_key_columns.id).limit(KEYS_MAX))


def load_live_entries(connection: Connection) -> Mapping[int, list[SigningKeyEntry]]:
    """Return the live keys of every agent, by agent id."""
    entries: defaultdict[int, list[SigningKeyEntry]] = defaultdict(list)
    query = (
        select(tables.signing_key).where(_key_columns.retired_at.is_(None)).order_by(_key_columns.id).limit(KEYS_MAX)
    )
    for key in _fetch_keys(connection, query):
        entry = SigningKeyEntry(
            id=derive_key_id(key.public_key),
            public=key.public_key.hex(),
            created_at_s=key.created_at_s,
            used_at_s=key.used_at_s,
        )
        entries[key.agent_id].append(entry)
    return entries


def has_key(connection: Connection, agent_id: int, public_key: bytes) -> bool:
    """Return True if the agent has or had this key."""
    query = select(_key_columns.id).where(_key_columns.agent_id == agent_id, _key_columns.public == public_key)
    return connection.execute(query).first() is not None


def add_key(
    connection: Connection,
    agent_id: int,
    public_key: bytes,
    now_s: int,
    endorser_id: int | None,
    endorsement: bytes | None,
) -> None:
    """Add a key to an agent and keep one other: its endorser, or else the newest used key. Retire the rest."""
    others = connection.execute(
        select(_key_columns.id)
        .where(_match_live_keys(agent_id))
        .order_by((_key_columns.id == endorser_id).desc(), _key_columns.used_at.is_(None), _key_columns.id.desc())
    )
    _retire_keys(connection, others.scalars().all()[LIVE_KEYS_MAX - 1 :], now_s)
    row = {"agent_id": agent_id, "public": public_key, "created_at": now_s}
    row |= {"endorsed_by": endorser_id, "endorsement": endorsement}
    connection.execute(insert(tables.signing_key).values(row))


def confirm_first_use(connection: Connection, key: SigningKey, now_s: int) -> list[bytes]:
    """Record the first use of a key and retire the agent's other keys; return their public keys."""
    changed = connection.execute(
        update(tables.signing_key)
        .where(_key_columns.id == key.id, _key_columns.used_at.is_(None))
        .values(used_at=now_s)
        .returning(_key_columns.id)
    )
    if changed.first() is None:
        return []
    others = connection.execute(
        select(_key_columns.id).where(_match_live_keys(key.agent_id), _key_columns.id != key.id)
    )
    return _retire_keys(connection, others.scalars().all(), now_s)


def retire_all_keys(connection: Connection, agent_id: int, now_s: int) -> int:
    """Retire every key of an agent, so that it stops signing; return their number."""
    keys = connection.execute(select(_key_columns.id).where(_match_live_keys(agent_id)))
    return len(_retire_keys(connection, keys.scalars().all(), now_s))


def _match_live_keys(agent_id: int) -> ColumnElement[bool]:
    return and_(_key_columns.agent_id == agent_id, _key_columns.retired_at.is_(None))


def _retire_keys(connection: Connection, ids: Collection[int], now_s: int) -> list[bytes]:
    retired = connection.execute(
        update(tables.signing_key)
        .where(_key_columns.id.in_(ids), _key_columns.retired_at.is_(None))
        .values(retired_at=now_s)
        .returning(_key_columns.public)
    )
    return list(retired.scalars())


def _fetch_keys(connection: Connection, query: Select[Any]) -> list[SigningKey]:
    return [
        SigningKey(
            id=row.id,
            agent_id=row.agent_id,
            public_key=row.public,
            created_at_s=row.created_at,
            used_at_s=row.used_at,
            retired_at_s=row.retired_at,
            endorser_id=row.endorsed_by,
            endorsement=row.endorsement,
        )
        for row in connection.execute(query)
    ]
