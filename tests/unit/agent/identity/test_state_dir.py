"""What an agent keeps on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadline.errors import ConfigError
from leadline.wire import control
from leadline_agent.identity.state_dir import Credential, StateDirectory

CREDENTIAL = Credential(collector="http://127.0.0.1:1", agent="fra-a1", site="fra", key="ll_secret_key")


def test_a_credential_is_for_its_owner_only(tmp_path: Path) -> None:
    """Mode 0600, in a directory of mode 0700; it reads back."""
    state = StateDirectory(tmp_path / "state")
    state.save_credential(CREDENTIAL)

    assert state.load_credential() == CREDENTIAL
    assert (tmp_path / "state" / "credential.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_an_identity_is_not_overwritten(tmp_path: Path) -> None:
    """Enrolling twice in one directory would lose the first identity."""
    state = StateDirectory(tmp_path)
    state.save_credential(CREDENTIAL)

    with pytest.raises(ConfigError, match="already exists"):
        state.save_credential(CREDENTIAL)


def test_without_a_credential_the_remedy_is_named(tmp_path: Path) -> None:
    """The message names the command."""
    with pytest.raises(ConfigError, match="leadline agent enroll"):
        StateDirectory(tmp_path).load_credential()


@pytest.mark.parametrize("rubbish", [b"", b"{}", b"\xff\xfe", b'{"collector": 1}'])
def test_a_credential_that_is_none(tmp_path: Path, rubbish: bytes) -> None:
    """A damaged file is an error with its name, not a traceback."""
    (tmp_path / "credential.json").write_bytes(rubbish)

    with pytest.raises(ConfigError, match=r"credential\.json"):
        StateDirectory(tmp_path).load_credential()


def test_the_key_is_in_no_repr() -> None:
    """A repr ends up in logs."""
    assert "ll_secret_key" not in repr(CREDENTIAL)


def test_the_last_plan_survives_a_restart(tmp_path: Path) -> None:
    """And a damaged one is as good as none."""
    plan = control.Plan(mesh_version=3, agent="fra-a1", site="fra")
    StateDirectory(tmp_path).save_plan(plan)
    assert StateDirectory(tmp_path).load_plan() == plan

    (tmp_path / "plan.json").write_bytes(b"{")
    assert StateDirectory(tmp_path).load_plan() is None
