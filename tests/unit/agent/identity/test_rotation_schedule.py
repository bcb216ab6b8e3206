"""When an agent rotates its key by itself."""

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

NOBODY = "http://127.0.0.1:9"
DAY_S = 86_400
ISSUED_S = 1_795_327_200
END_S = ISSUED_S + 90 * DAY_S
CREDENTIAL = Credential(
    collector=NOBODY, agent="fra-a1", site="fra", key="ll_secret", issued_at_s=ISSUED_S, expires_at_s=END_S
)


@pytest.fixture(name="state")
def _state(tmp_path: Path) -> StateDirectory:
    state = StateDirectory(tmp_path)
    state.save_credential(CREDENTIAL)
    return state


@pytest.mark.parametrize(("share", "day"), [(0.0, 45.0), (0.5, 49.5), (0.999_999, 54.0)])
def test_it_is_due_after_half_of_the_life(share: float, day: float) -> None:
    """And before six tenths of it, where chance says."""
    assert compute_rotation_time_s(ISSUED_S, END_S, share) == pytest.approx(ISSUED_S + day * DAY_S, abs=60)


@pytest.mark.parametrize(
    ("left_s", "least_s", "most_s"), [(1_800, 56, 94), (45 * DAY_S, 2_700, 4_500), (10, 45, 75), (-5, 45, 75)]
)
def test_failures_are_tried_again_in_time(left_s: float, least_s: float, most_s: float) -> None:
    """Some twenty times in what is left, within an hour at most and a minute at least, spread."""
    assert compute_retry_delay_s(left_s, 0.0) == pytest.approx(least_s, abs=1)
    assert compute_retry_delay_s(left_s, 1.0) == pytest.approx(most_s, abs=1)


def test_before_its_time_nobody_is_asked(state: StateDirectory) -> None:
    """Nothing fails, for nothing is tried; the end is known."""
    renewal = RotationScheduler(state, make_rng(1))

    assert renewal.rotate_if_due(NOBODY, ISSUED_S + 44 * DAY_S, None) is None
    assert (renewal.key_state.expires_at_s, renewal.key_state.error) == (END_S, None)


def refuse(*arguments: object, **options: object) -> NoReturn:
    raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")


def test_a_failure_is_loud_and_waits(
    state: StateDirectory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in the log with what is left, the key stays, and the next try is not the next minute's."""
    monkeypatch.setattr("urllib3.util.connection.create_connection", refuse)
    renewal = RotationScheduler(state, make_rng(1))
    now_s = ISSUED_S + 60 * DAY_S

    for wait_s in (0, 60, 120, 4_501):
        renewal.rotate_if_due(NOBODY, now_s + wait_s, None)

    assert renewal.key_state.failures == 2
    assert NOBODY in (renewal.key_state.error or "")
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert vars(caplog.records[0])["left_s"] == 30 * DAY_S
    assert "ll_secret" not in caplog.text
    assert state.load_credential() == CREDENTIAL


def test_a_key_without_an_end_is_left_alone(tmp_path: Path) -> None:
    """For ever is for ever."""
    state = StateDirectory(tmp_path)
    state.save_credential(msgspec.structs.replace(CREDENTIAL, issued_at_s=None, expires_at_s=None))
    renewal = RotationScheduler(state, make_rng(1))

    assert renewal.rotate_if_due(NOBODY, ISSUED_S + 10_000 * DAY_S, None) is None
    assert (renewal.key_state.error, renewal.key_state.expires_at_s) == (None, None)


def test_an_end_that_only_the_acknowledgement_told_is_kept(tmp_path: Path) -> None:
    """Then the half that is left counts from now, and over restarts."""
    state = StateDirectory(tmp_path)
    state.save_credential(msgspec.structs.replace(CREDENTIAL, issued_at_s=None, expires_at_s=None))

    RotationScheduler(state, make_rng(1)).rotate_if_due(NOBODY, ISSUED_S + DAY_S, END_S)

    kept = state.load_credential()
    assert (kept.issued_at_s, kept.expires_at_s, kept.key) == (ISSUED_S + DAY_S, END_S, "ll_secret")


def test_a_credential_that_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    """The agent goes on; its status says it."""
    renewal = RotationScheduler(StateDirectory(tmp_path), make_rng(1))

    assert renewal.rotate_if_due(NOBODY, ISSUED_S, None) is None
    assert "enroll" in (renewal.key_state.error or "")
