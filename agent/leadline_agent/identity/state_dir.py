"""State directory of an agent: its credential (mode 0600) and its last plan.

With the saved plan, an agent measures immediately after a start, even while its collector is unavailable.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from leadline.errors import ConfigError, WireError
from leadline.wire import codec
from leadline.wire.control import Plan


class Credential(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Identity of the agent and address of its collector."""

    collector: str
    agent: str
    site: str
    key: str
    ca_file: str | None = None
    #: Further addresses of the same collector, in order of preference.
    also: tuple[str, ...] = ()
    #: Creation and expiry of the key by the collector's clock, epoch seconds; None for a key that does not expire.
    issued_at_s: int | None = None
    expires_at_s: int | None = None
    #: Private key for signatures, in hex (``signer``); None for an agent that does not sign.
    signing_key: str | None = None

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("agent", self.agent), ("site", self.site), ("collector", self.collector)]

    def __repr__(self) -> str:
        return f"Credential(agent={self.agent!r}, site={self.site!r}, collector={self.collector!r})"


class StateDirectory:
    """State directory of one agent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._credential_path = path / "credential.json"
        self._plan_path = path / "plan.json"

    def save_credential(self, credential: Credential) -> None:
        """Save the credential, readable by this user only. Raise ConfigError if the directory already has one."""
        if self._credential_path.exists():
            raise ConfigError(
                "--state-dir",
                f"{self._credential_path} already exists: this directory belongs to an enrolled agent; "
                "use another directory, or remove the file to discard that identity",
            )
        _write_atomically(self._credential_path, msgspec.json.encode(credential))

    def replace_credential(self, credential: Credential) -> None:
        """Replace the credential, to give the same identity another key."""
        _write_atomically(self._credential_path, msgspec.json.encode(credential))

    @contextmanager
    def lock_credential(self) -> Iterator[None]:
        """Lock the credential against replacement by another process (the agent or a command)."""
        try:
            # Lock the directory: the agent's service could not open a lock file created by root.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError("--state-dir", f"cannot use {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def load_credential(self) -> Credential:
        """Return the credential. Raise ConfigError if it is missing or invalid."""
        try:
            return msgspec.json.decode(self._credential_path.read_bytes(), type=Credential)
        except FileNotFoundError:
            raise ConfigError(
                "--state-dir", f"{self.path} contains no credential: run `leadline agent enroll` first"
            ) from None
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(str(self._credential_path), f"cannot be read: {error}") from error

    def save_plan(self, plan: Plan) -> None:
        """Save the plan for the next start."""
        _write_atomically(self._plan_path, codec.encode(plan))

    def load_plan(self) -> Plan | None:
        """Return the saved plan; None if it is missing or invalid."""
        try:
            return codec.decode(self._plan_path.read_bytes(), Plan)
        except (OSError, WireError):
            return None


def _chown_to_directory_owner(descriptor: int, directory: Path) -> None:
    """Give a file written by root to the owner of the directory: the agent's service does not run as root."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _write_atomically(path: Path, data: bytes) -> None:
    """Replace a file atomically, readable by this user only."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary_path = path.with_suffix(".new")
        descriptor = os.open(temporary_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            _chown_to_directory_owner(file.fileno(), path.parent)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary_path.replace(path)
    except OSError as error:
        raise ConfigError("--state-dir", f"cannot write {path}: {error.strerror}") from error
