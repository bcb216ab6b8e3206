"""What an agent keeps on disk: its credential (mode 0600) and the last plan it was given.

The plan is kept so that an agent that starts while its collector is away goes on measuring.
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
from leadline.wire import codec, control


class Credential(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who this agent is, and to whom it reports."""

    collector: str
    agent: str
    site: str
    key: str
    ca_file: str | None = None
    #: Further addresses of the same collector, in order of preference.
    also: tuple[str, ...] = ()
    #: When the key was made and when it ends, by the collector's clock; None for a key without an end.
    issued_at_s: int | None = None
    expires_at_s: int | None = None
    #: Private half of the key that signs batches, in hex (``signing``); None for an agent that does not sign.
    signing_key: str | None = None

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("agent", self.agent), ("site", self.site), ("collector", self.collector)]

    def __repr__(self) -> str:
        return f"Credential(agent={self.agent!r}, site={self.site!r}, collector={self.collector!r})"


class StateDirectory:
    """The state directory of one agent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._credential_path = path / "credential.json"
        self._plan_path = path / "plan.json"

    def save_credential(self, credential: Credential) -> None:
        """Keep it, readable by this user only; an existing one is an error: one directory is one identity."""
        if self._credential_path.exists():
            raise ConfigError(
                "--state-dir",
                f"{self._credential_path} is already there: this directory belongs to an enrolled agent; "
                "name another, or remove the file to give that identity up",
            )
        _write_atomically(self._credential_path, msgspec.json.encode(credential))

    def replace_credential(self, credential: Credential) -> None:
        """Keep the same identity with another key."""
        _write_atomically(self._credential_path, msgspec.json.encode(credential))

    @contextmanager
    def lock_credential(self) -> Iterator[None]:
        """Hold the right to replace the credential: a running agent and a command beside it take turns."""
        try:
            # The directory itself: a lock file that root makes could not be opened by the agent's service.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError("--state-dir", f"cannot use {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def load_credential(self) -> Credential:
        """The credential; ConfigError names the remedy when there is none."""
        try:
            return msgspec.json.decode(self._credential_path.read_bytes(), type=Credential)
        except FileNotFoundError:
            raise ConfigError(
                "--state-dir", f"{self.path} holds no credential: run `leadline agent enroll` first"
            ) from None
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(str(self._credential_path), f"cannot be read: {error}") from error

    def save_plan(self, plan: control.Plan) -> None:
        """Keep the plan for the next start."""
        _write_atomically(self._plan_path, codec.encode(plan))

    def load_plan(self) -> control.Plan | None:
        """The last plan; None when there is none that can be read."""
        try:
            return codec.decode(self._plan_path.read_bytes(), control.Plan)
        except (OSError, WireError):
            return None


def _chown_to_directory_owner(descriptor: int, directory: Path) -> None:
    """What root writes belongs to the directory's owner: the agent's service does not run as root."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _write_atomically(path: Path, data: bytes) -> None:
    """Replace a file as a whole, readable by this user only."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            _chown_to_directory_owner(file.fileno(), path.parent)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise ConfigError("--state-dir", f"cannot write {path}: {error.strerror}") from error
