"""The SQL of the agents' public keys; a part of the store (``store``), whose rules hold here. A row is never deleted:
old batches are checked with old keys.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Exists, Select, and_, exists, insert, select, update

from leadline.wire.admin import SigningKeyEntry
from leadline.wire.signing import key_id
from leadline_collector.db import tables

#: Two, so that a key can be changed without a moment in which none works.
LIVE_KEYS_MAX = 2
LISTED_MAX = 20_000

_key = tables.signing_key.c


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """One public key of an agent."""

    id: int
    agent_id: int
    public: bytes
    created_at_s: int
    #: First batch signed with it; None before.
    used_at_s: int | None
    #: From then on nothing new is taken with it; None while it is live.
    retired_at_s: int | None
    #: The key that signed this one to be its successor, and that signature; None where a token or nothing vouched.
    endorsed_by: int | None
    endorsement: bytes | None


def is_signing() -> Exists:
    """Whether ``agent`` of the query around it has a live signing key."""
    return exists().where(_key.agent_id == tables.agent.c.id, _key.retired_at.is_(None))


def live(connection: Connection, agent_id: int) -> list[SigningKey]:
    """The keys an agent may sign with, newest first."""
    query = select(tables.signing_key).where(_key.agent_id == agent_id, _key.retired_at.is_(None))
    return _keys(connection, query.order_by(_key.id.desc()).limit(LIVE_KEYS_MAX + 1))


def every(connection: Connection) -> list[SigningKey]:
    """The first ``LISTED_MAX`` keys of all agents, retired ones too."""
    return _keys(connection, select(tables.signing_key).order_by(_key.id).limit(LISTED_MAX))


def listed(connection: Connection) -> Mapping[int, list[SigningKeyEntry]]:
    """The live keys of every agent, by its number."""
    found: defaultdict[int, list[SigningKeyEntry]] = defaultdict(list)
    query = select(tables.signing_key).where(_key.retired_at.is_(None)).order_by(_key.id).limit(LISTED_MAX)
    for key in _keys(connection, query):
        entry = SigningKeyEntry(
            id=key_id(key.public), public=key.public.hex(), created_at_s=key.created_at_s, used_at_s=key.used_at_s
        )
        found[key.agent_id].append(entry)
    return found


def is_known(connection: Connection, agent_id: int, public: bytes) -> bool:
    """True if the agent ever had this key."""
    query = select(_key.id).where(_key.agent_id == agent_id, _key.public == public)
    return connection.execute(query).first() is not None


def add(
    connection: Connection, agent_id: int, public: bytes, now_s: int, endorsed_by: int | None, endorsement: bytes | None
) -> None:
    """Give an agent a key beside one other: the one that endorsed it, or else the newest used one. The rest retire."""
    others = connection.execute(
        select(_key.id)
        .where(_is_live_of(agent_id))
        .order_by((_key.id == endorsed_by).desc(), _key.used_at.is_(None), _key.id.desc())
    )
    _retire(connection, others.scalars().all()[LIVE_KEYS_MAX - 1 :], now_s)
    row = {"agent_id": agent_id, "public": public, "created_at": now_s}
    row |= {"endorsed_by": endorsed_by, "endorsement": endorsement}
    connection.execute(insert(tables.signing_key).values(row))


def use(connection: Connection, key: SigningKey, now_s: int) -> list[bytes]:
    """Note the first use of a key and retire the agent's others; the public halves of those."""
    used = connection.execute(
        update(tables.signing_key)
        .where(_key.id == key.id, _key.used_at.is_(None))
        .values(used_at=now_s)
        .returning(_key.id)
    )
    if used.first() is None:
        return []
    others = connection.execute(select(_key.id).where(_is_live_of(key.agent_id), _key.id != key.id))
    return _retire(connection, others.scalars().all(), now_s)


def retire_all(connection: Connection, agent_id: int, now_s: int) -> int:
    """End every key of an agent: it does not sign from now on; how many there were."""
    keys = connection.execute(select(_key.id).where(_is_live_of(agent_id)))
    return len(_retire(connection, keys.scalars().all(), now_s))


def _is_live_of(agent_id: int) -> ColumnElement[bool]:
    return and_(_key.agent_id == agent_id, _key.retired_at.is_(None))


def _retire(connection: Connection, ids: Collection[int], now_s: int) -> list[bytes]:
    retired = connection.execute(
        update(tables.signing_key)
        .where(_key.id.in_(ids), _key.retired_at.is_(None))
        .values(retired_at=now_s)
        .returning(_key.public)
    )
    return list(retired.scalars())


def _keys(connection: Connection, query: Select[Any]) -> list[SigningKey]:
    return [
        SigningKey(
            id=row.id,
            agent_id=row.agent_id,
            public=row.public,
            created_at_s=row.created_at,
            used_at_s=row.used_at,
            retired_at_s=row.retired_at,
            endorsed_by=row.endorsed_by,
            endorsement=row.endorsement,
        )
        for row in connection.execute(query)
    ]
