"""Schedule of the automatic key rotation."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from leadline.clock import make_rng
from leadline_agent.identity.rotation_schedule import RotationScheduler, compute_retry_delay_s, compute_rotation_time_s
from leadline_agent.identity.state_dir import Credential, StateDirectory

CLOSED_URL = "http://127.0.0.1:9"
DAY_S = 86_400
ISSUED_S = 1_795_327_200
END_S = ISSUED_S + 90 * DAY_S
CREDENTIAL = Credential(
    collector=CLOSED_URL, agent="fra-a1", site="fra", key="ll_secret", issued_at_s=ISSUED_S, expires_at_s=END_S
)


@pytest.fixture(name="state")
def _state(tmp_path: Path) -> StateDirectory:
    state = StateDirectory(tmp_path)
    state.save_credential(CREDENTIAL)
    return state


@pytest.mark.parametrize(("share", "day"), [(0.0, 45.0), (0.5, 49.5), (0.999_999, 54.0)])
def test_rotation_is_due_after_half_of_the_lifetime(share: float, day: float) -> None:
    """The jitter delays the rotation up to six tenths of the lifetime."""
    assert compute_rotation_time_s(ISSUED_S, END_S, share) == pytest.approx(ISSUED_S + day * DAY_S, abs=60)


@pytest.mark.parametrize(
    ("left_s", "least_s", "most_s"), [(1_800, 56, 94), (45 * DAY_S, 2_700, 4_500), (10, 45, 75), (-5, 45, 75)]
)
def test_retry_delay_depends_on_the_remaining_lifetime(left_s: float, least_s: float, most_s: float) -> None:
    """There are about 24 retries in the remaining lifetime, one minute to one hour apart, with jitter."""
    assert compute_retry_delay_s(left_s, 0.0) == pytest.approx(least_s, abs=1)
    assert compute_retry_delay_s(left_s, 1.0) == pytest.approx(most_s, abs=1)


def test_no_request_before_the_rotation_is_due(state: StateDirectory) -> None:
    """No rotation is attempted; the expiry is known."""
    scheduler = RotationScheduler(state, make_rng(1))

    assert scheduler.rotate_if_due(CLOSED_URL, ISSUED_S + 44 * DAY_S, None) is None
    assert (scheduler.key_state.expires_at_s, scheduler.key_state.error) == (END_S, None)


def refuse(*arguments: object, **options: object) -> NoReturn:
    raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")


def test_failure_is_logged_and_delays_the_next_attempt(
    state: StateDirectory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log shows the remaining time, the key stays, and the next attempt is not in the next minute."""
    monkeypatch.setattr("urllib3.util.connection.create_connection", refuse)
    scheduler = RotationScheduler(state, make_rng(1))
    now_s = ISSUED_S + 60 * DAY_S

    for delay_s in (0, 60, 120, 4_501):
        scheduler.rotate_if_due(CLOSED_URL, now_s + delay_s, None)

    assert scheduler.key_state.failures == 2
    assert CLOSED_URL in (scheduler.key_state.error or "")
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert vars(caplog.records[0])["left_s"] == 30 * DAY_S
    assert "ll_secret" not in caplog.text
    assert state.load_credential() == CREDENTIAL


def test_key_without_expiry_is_not_rotated(tmp_path: Path) -> None:
    """A key that does not expire is never rotated automatically."""
    state = StateDirectory(tmp_path)
    state.save_credential(msgspec.structs.replace(CREDENTIAL, issued_at_s=None, expires_at_s=None))
    scheduler = RotationScheduler(state, make_rng(1))

    assert scheduler.rotate_if_due(CLOSED_URL, ISSUED_S + 10_000 * DAY_S, None) is None
    assert (scheduler.key_state.error, scheduler.key_state.expires_at_s) == (None, None)


def test_expiry_from_an_acknowledgement_is_saved(tmp_path: Path) -> None:
    """The lifetime then counts from now, and the saved values survive a restart."""
    state = StateDirectory(tmp_path)
    state.save_credential(msgspec.structs.replace(CREDENTIAL, issued_at_s=None, expires_at_s=None))

    RotationScheduler(state, make_rng(1)).rotate_if_due(CLOSED_URL, ISSUED_S + DAY_S, END_S)

    credential = state.load_credential()
    assert (credential.issued_at_s, credential.expires_at_s, credential.key) == (ISSUED_S + DAY_S, END_S, "ll_secret")


def test_missing_credential_is_a_failure(tmp_path: Path) -> None:
    """The agent continues; its status contains the error."""
    scheduler = RotationScheduler(StateDirectory(tmp_path), make_rng(1))

    assert scheduler.rotate_if_due(CLOSED_URL, ISSUED_S, None) is None
    assert "enroll" in (scheduler.key_state.error or "")
