"""One-time tokens, the keys agents get for them, and the administrator's key."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from leadline import wire
from leadline.clock import Clock
from leadline.errors import ConfigError
from leadline_collector import meshes
from leadline_collector.auth import Kind, new_secret, sha256_of
from leadline_collector.config import ADMIN_KEY_VARIABLE, CollectorConfig, key_digest
from leadline_collector.problems import ProblemError
from leadline_collector.store import Store, Writer

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
ADMIN_KEY_FILE = "admin.key"


def create_token(store: Store, clock: Clock, request: wire.TokenRequest) -> wire.TokenAnswer:
    """A token with which one agent of a site can enrol; 422 for a site no mesh has."""
    token = new_secret(Kind.TOKEN)
    now_s = clock.wall_ns() // NS_PER_S
    expires_at_s = now_s + request.ttl_s
    with store.write() as writer:
        if not writer.add_token(sha256_of(token), request.site, now_s, expires_at_s):
            raise ProblemError(422, f"site: no mesh has a site {request.site!r}; apply the mesh first", path="site")
    log.info("token created", extra={"site": request.site, "expires_at_s": expires_at_s})
    return wire.TokenAnswer(token=token, site=request.site, expires_at_s=expires_at_s)


def enrol(store: Store, clock: Clock, request: wire.EnrolRequest) -> wire.EnrolAnswer:
    """A key for an agent in exchange for a token, which is used up unless the request is refused."""
    key = new_secret(Kind.AGENT_KEY)
    now_s = clock.wall_ns() // NS_PER_S
    with store.write() as writer:
        site = writer.use_token(sha256_of(request.token), now_s)
        if site is None:
            raise ProblemError(401, "this token is not valid: unknown, used or expired")
        name = _agent_of(writer, site, request.agent)
        writer.add_agent_key(sha256_of(key), name, now_s)
    log.info("agent enrolled", extra={"agent": name, "site": site})
    return wire.EnrolAnswer(agent=name, site=site, key=key)


def _agent_of(writer: Writer, site: str, wanted: str | None) -> str:
    """The agent of the site that enrols; 422 if the request leaves a choice or names another site's."""
    found = meshes.in_force(writer)
    names = [agent.name for agent in found[1].agents if agent.site == site] if found else []
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted in names:
        return wanted
    problem = "name one with --agent" if wanted is None else f"{wanted!r} is none of them"
    raise ProblemError(422, f"agent: site {site!r} has {', '.join(names) or 'no agents'}; {problem}", path="agent")


def prepare_admin_key(store: Store, clock: Clock, config: CollectorConfig) -> None:
    """See to it that there is an administrator's key.

    A key file, given or in the data directory, holds the only key. Without one, a key is made if the database has none.
    """
    now_s = clock.wall_ns() // NS_PER_S
    path = config.admin_key_file or config.data_dir / ADMIN_KEY_FILE
    if config.admin_key_file or path.exists():
        sha256 = key_digest(ADMIN_KEY_VARIABLE, path)
        with store.write() as writer:
            writer.set_admin_key(sha256, now_s)
        return
    with store.write() as writer:
        if not writer.has_admin_key():
            writer.set_admin_key(_make_key_file(path), now_s)
            log.warning("made the administrator's key", extra={"file": str(path)})


def _make_key_file(path: Path) -> bytes:
    key = new_secret(Kind.ADMIN_KEY)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError("--data-dir", f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{key}\n")
        file.flush()
        os.fsync(descriptor)
    return hashlib.sha256(key.encode()).digest()
