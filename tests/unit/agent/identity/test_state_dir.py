"""State directory of an agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadline.errors import ConfigError
from leadline.wire.control import Plan
from leadline_agent.identity.state_dir import Credential, StateDirectory

CREDENTIAL = Credential(collector="http://127.0.0.1:1", agent="fra-a1", site="fra", key="ll_secret_key")


def test_credential_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    """The file has mode 0600, its directory has mode 0700, and the credential can be loaded."""
    state = StateDirectory(tmp_path / "state")
    state.save_credential(CREDENTIAL)

    assert state.load_credential() == CREDENTIAL
    assert (tmp_path / "state" / "credential.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_an_identity_is_not_overwritten(tmp_path: Path) -> None:
    """A second enrolment in one directory is refused, because it would lose the first identity."""
    state = StateDirectory(tmp_path)
    state.save_credential(CREDENTIAL)

    with pytest.raises(ConfigError, match="already exists"):
        state.save_credential(CREDENTIAL)


def test_missing_credential_error_contains_the_command(tmp_path: Path) -> None:
    """The error contains the command that creates a credential."""
    with pytest.raises(ConfigError, match="leadline agent enroll"):
        StateDirectory(tmp_path).load_credential()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"collector": 1}'])
def test_damaged_credential_is_an_error(tmp_path: Path, content: bytes) -> None:
    """A damaged file gives an error with the file name."""
    (tmp_path / "credential.json").write_bytes(content)

    with pytest.raises(ConfigError, match=r"credential\.json"):
        StateDirectory(tmp_path).load_credential()


def test_the_key_is_in_no_repr() -> None:
    """The repr may appear in logs, so it contains no key."""
    assert "ll_secret_key" not in repr(CREDENTIAL)


def test_the_last_plan_survives_a_restart(tmp_path: Path) -> None:
    """A saved plan can be loaded; a damaged one counts as missing."""
    plan = Plan(mesh_version=3, agent="fra-a1", site="fra")
    StateDirectory(tmp_path).save_plan(plan)
    assert StateDirectory(tmp_path).load_plan() == plan

    (tmp_path / "plan.json").write_bytes(b"{")
    assert StateDirectory(tmp_path).load_plan() is None
