"""SQL of enrolment tokens, agent keys and the administrator's key. Rows are selected by the SHA-256 of the secret."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, ScalarSelect, and_, delete, func, insert, or_, select, update

from leadline.model import WINDOW_S
from leadline.wire.admin import AgentEntry, KeyEntry, TokenEntry
from leadline.wire.batch import IMPORT_PREFIX
from leadline_collector.auth import signing_key_store
from leadline_collector.auth.secrets import get_secret_id
from leadline_collector.db import tables
from leadline_collector.mesh.store import NamedId

#: Two, so that the old key works until the agent uses the new one.
LIVE_KEYS_MAX = 2
#: Tokens and agents in one list.
ENTRIES_MAX = 10_000

_token_columns = tables.enrol_token.c
_key_columns = tables.agent_key.c


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticatedAgent(NamedId):
    """The agent that owns the key of a request."""

    #: Only signed batches of this agent are accepted.
    requires_signature: bool
    #: Expiry of the request's key; None for a key that does not expire.
    key_expires_at_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOwner:
    """The agent that owns a live key."""

    agent_id: int
    name: str
    site: str
    #: The key was never used; its first use revokes the key it replaces.
    is_unused: bool
    #: The agent has a live signing key: only its signed batches are accepted.
    requires_signature: bool
    #: None for a key that does not expire.
    expires_at_s: int | None


def load_key_owner(connection: Connection, sha256: bytes, now_s: int) -> KeyOwner | None:
    """Return the owner of the live key with this digest; None if there is no such key."""
    columns = (
        tables.agent.c.id,
        tables.agent.c.name,
        tables.site.c.name,
        _key_columns.used_at.is_(None),
        _key_columns.expires_at,
    )
    row = connection.execute(
        select(*columns, signing_key_store.build_signing_condition())
        .select_from(tables.agent_key)
        .join(tables.agent)
        .join(tables.site)
        .where(_key_columns.sha256 == sha256, _match_live_keys(now_s))
    ).one_or_none()
    if row is None:
        return None
    return KeyOwner(
        agent_id=row[0],
        name=row[1],
        site=row[2],
        is_unused=bool(row[3]),
        expires_at_s=row[4],
        requires_signature=bool(row[5]),
    )


def load_tokens(connection: Connection) -> list[TokenEntry]:
    """Return the newest ``ENTRIES_MAX`` tokens, newest first."""
    query = select(tables.enrol_token, tables.site.c.name).join(tables.site)
    rows = connection.execute(
        query.order_by(_token_columns.created_at.desc(), _token_columns.sha256).limit(ENTRIES_MAX)
    )
    return [
        TokenEntry(
            id=get_secret_id(row.sha256),
            site=row.name,
            created_at_s=row.created_at,
            expires_at_s=row.expires_at,
            used_at_s=row.used_at,
            revoked_at_s=row.revoked_at,
        )
        for row in rows
    ]


#: Excludes import sources: they are rows of ``agent`` because every window needs a source, but have no key.
_AGENT_CONDITION = tables.agent.c.name.not_like(f"{IMPORT_PREFIX}%")


def load_latest_windows(connection: Connection, agents_max: int) -> dict[str, int]:
    """Return the end of each agent's latest window, for the first ``agents_max`` agents; omit agents without one."""
    query = (
        select(tables.agent.c.name, _build_latest_window_query())
        .where(_AGENT_CONDITION)
        .order_by(tables.agent.c.id)
        .limit(agents_max)
    )
    return {row[0]: row[1] + WINDOW_S for row in connection.execute(query) if row[1] is not None}


def _build_latest_window_query() -> ScalarSelect[int | None]:
    """Build a subquery for the start of an agent's latest window: one lookup in the index (src_id, t_last)."""
    return select(func.max(tables.batch.c.t_last)).where(tables.batch.c.src_id == tables.agent.c.id).scalar_subquery()


def load_agents(connection: Connection, now_s: int) -> list[AgentEntry]:
    """Return the first ``ENTRIES_MAX`` agents by name, each with its live keys."""
    keys, signing = _load_live_keys(connection, now_s), signing_key_store.load_live_entries(connection)
    columns = (tables.agent.c.id, tables.agent.c.name, tables.site.c.name, _build_latest_window_query())
    query = select(*columns).select_from(tables.agent.join(tables.site))
    rows = connection.execute(query.where(_AGENT_CONDITION).order_by(tables.agent.c.name).limit(ENTRIES_MAX))
    return [
        AgentEntry(
            name=row[1],
            site=row[2],
            keys=keys[row[0]],
            latest_s=None if row[3] is None else row[3] + WINDOW_S,
            signing_keys=signing.get(row[0], []),
        )
        for row in rows
    ]


def _load_live_keys(connection: Connection, now_s: int) -> defaultdict[int, list[KeyEntry]]:
    keys: defaultdict[int, list[KeyEntry]] = defaultdict(list)
    query = select(tables.agent_key).where(_match_live_keys(now_s)).order_by(_key_columns.created_at)
    for row in connection.execute(query.limit(ENTRIES_MAX * LIVE_KEYS_MAX)):
        keys[row.agent_id].append(
            KeyEntry(
                id=get_secret_id(row.sha256),
                created_at_s=row.created_at,
                used_at_s=row.used_at,
                expires_at_s=row.expires_at,
            )
        )
    return keys


def add_token(connection: Connection, sha256: bytes, site: str, now_s: int, expires_at_s: int) -> bool:
    """Add an enrolment token; return False for an unknown site."""
    if "\0" in site:  # PostgreSQL refuses the query; no site name contains NUL
        return False
    site_id = connection.execute(select(tables.site.c.id).where(tables.site.c.name == site)).scalar()
    if site_id is None:
        return False
    row = {"sha256": sha256, "site_id": site_id, "created_at": now_s, "expires_at": expires_at_s}
    connection.execute(insert(tables.enrol_token).values(row))
    return True


def redeem_token(connection: Connection, sha256: bytes, now_s: int) -> str | None:
    """Mark a token as used and return its site; None if it is unknown, used, expired or revoked."""
    site_id = connection.execute(
        update(tables.enrol_token)
        .where(_token_columns.sha256 == sha256, _match_open_tokens(now_s))
        .values(used_at=now_s)
        .returning(_token_columns.site_id)
    ).scalar()
    if site_id is None:
        return None
    site: str = connection.execute(select(tables.site.c.name).where(tables.site.c.id == site_id)).scalar_one()
    return site


def revoke_token(connection: Connection, token_id: str, now_s: int) -> int:
    """Revoke the open tokens with this id; return their number."""
    revoked = connection.execute(
        update(tables.enrol_token)
        .where(_match_token_id(token_id), _match_open_tokens(now_s))
        .values(revoked_at=now_s)
        .returning(_token_columns.sha256)
    )
    return len(revoked.all())


def add_key(
    connection: Connection,
    agent_id: int,
    sha256: bytes,
    now_s: int,
    expires_at_s: int | None,
    replaced_sha256: bytes | None,
) -> None:
    """Add a key to an agent and keep one other: the key it replaces, or else the newest. Revoke the rest."""
    others = connection.execute(
        select(_key_columns.sha256)
        .where(_key_columns.agent_id == agent_id, _match_live_keys(now_s))
        .order_by((_key_columns.sha256 == replaced_sha256).desc(), _key_columns.created_at.desc())
    )
    _revoke_keys(connection, others.scalars().all()[LIVE_KEYS_MAX - 1 :], now_s)
    row = {"sha256": sha256, "agent_id": agent_id, "created_at": now_s, "expires_at": expires_at_s}
    connection.execute(insert(tables.agent_key).values(row | {"replaces": replaced_sha256}))


def confirm_first_use(connection: Connection, sha256: bytes, now_s: int) -> bytes | None:
    """Record the first use of a key and revoke the key it replaces.

    Return the digest of the revoked key; None if none was revoked.
    """
    replaced: bytes | None = connection.execute(
        update(tables.agent_key)
        .where(_key_columns.sha256 == sha256, _key_columns.used_at.is_(None))
        .values(used_at=now_s)
        .returning(_key_columns.replaces)
    ).scalar()
    return replaced if replaced is not None and _revoke_keys(connection, [replaced], now_s) else None


def revoke_keys(connection: Connection, agent_id: int, now_s: int) -> int:
    """Revoke every key of an agent; return how many were not revoked before."""
    keys = connection.execute(
        select(_key_columns.sha256).where(_key_columns.agent_id == agent_id, _key_columns.revoked_at.is_(None))
    )
    return _revoke_keys(connection, keys.scalars().all(), now_s)


def is_admin_key(connection: Connection, sha256: bytes) -> bool:
    """Return True if the administrator's key has this digest."""
    query = select(tables.admin_key.c.sha256).where(tables.admin_key.c.sha256 == sha256)
    return connection.execute(query).first() is not None


def has_admin_key(connection: Connection) -> bool:
    """Return True if an administrator's key exists."""
    return connection.execute(select(tables.admin_key.c.sha256).limit(1)).first() is not None


def set_admin_key(connection: Connection, sha256: bytes, now_s: int) -> bool:
    """Make this the administrator's only key; return False if it already was."""
    if connection.execute(select(tables.admin_key.c.sha256)).scalars().all() == [sha256]:
        return False
    connection.execute(delete(tables.admin_key))
    connection.execute(insert(tables.admin_key).values(sha256=sha256, created_at=now_s))
    return True


def _revoke_keys(connection: Connection, keys: Collection[bytes], now_s: int) -> int:
    revoked = connection.execute(
        update(tables.agent_key)
        .where(_key_columns.sha256.in_(keys), _key_columns.revoked_at.is_(None))
        .values(revoked_at=now_s)
        .returning(_key_columns.sha256)
    )
    return len(revoked.all())


def _match_live_keys(now_s: int) -> ColumnElement[bool]:
    return and_(
        _key_columns.revoked_at.is_(None), or_(_key_columns.expires_at.is_(None), _key_columns.expires_at > now_s)
    )


def _match_open_tokens(now_s: int) -> ColumnElement[bool]:
    return and_(
        _token_columns.used_at.is_(None), _token_columns.revoked_at.is_(None), _token_columns.expires_at > now_s
    )


def _match_token_id(token_id: str) -> ColumnElement[bool]:
    """Match digests that begin with these hex digits: a range of the primary key."""
    first = bytes.fromhex(token_id)
    rest = 32 - len(first)
    return and_(_token_columns.sha256 >= first + b"\x00" * rest, _token_columns.sha256 <= first + b"\xff" * rest)
