"""The prober process: plans in, windows out, on a simulated clock."""

from __future__ import annotations

import pytest

from leadline.model import Failure
from leadline_agent.probe.__main__ import UNRESOLVED_ADDRESS
from leadline_agent.probe.ipc import PlanMessage
from tests.support.fake_probe_socket import Fate
from tests.support.in_memory_probe_process import build_target, decode_windows, run_process


def test_every_minute_of_every_target_is_one_window() -> None:
    """Each window has sixty slots and a loopback error bound. The current minute is flushed at the end."""
    windows = decode_windows(
        run_process((0, PlanMessage(1, [build_target(), build_target("lon-gw", "192.0.2.2")])), end_s=150)
    )

    assert [(minute, window.target) for minute, _, window in windows] == [
        (0, "lon-gw"),
        (0, "zrh-a1"),
        (1, "lon-gw"),
        (1, "zrh-a1"),
        (2, "lon-gw"),
        (2, "zrh-a1"),
    ]
    first = windows[0][2]
    assert first.rtt_us.count(None) == 0
    assert first.error_us is not None
    last = windows[-1][2]
    assert 28 <= 60 - last.rtt_us.count(None) <= 32
    assert {miss.failure for miss in last.misses} <= {Failure.NOT_SENT, Failure.LOCAL_STALL}


def test_new_plan_starts_at_a_whole_minute() -> None:
    """A plan sent in the middle of minute 1 applies from minute 2: no window mixes two mesh versions."""
    windows = decode_windows(
        run_process((0, PlanMessage(1, [build_target()])), (90, PlanMessage(2, [build_target(dscp=46)])), end_s=240)
    )

    assert [(minute, version) for minute, version, _ in windows][:4] == [(0, 1), (1, 1), (2, 2), (3, 2)]
    assert all(window.rtt_us.count(None) == 0 for minute, _, window in windows if 1 <= minute <= 3)


def test_last_plan_of_a_minute_counts() -> None:
    """The first of two plans in one minute never starts."""
    plans = (
        (0, PlanMessage(1, [build_target()])),
        (70, PlanMessage(2, [build_target("old")])),
        (80, PlanMessage(3, [build_target("new")])),
    )
    windows = decode_windows(run_process(*plans, end_s=200))

    assert {(version, window.target) for _, version, window in windows} == {(1, "zrh-a1"), (3, "new")}


def test_removed_target_keeps_its_address_in_its_last_window() -> None:
    """Its windows are flushed after its plan has been replaced."""
    plans = ((0, PlanMessage(1, [build_target()])), (30, PlanMessage(2, [build_target("new", "192.0.2.9")])))
    windows = decode_windows(run_process(*plans, end_s=130))

    assert (windows[0][2].target, windows[0][2].address) == ("zrh-a1", "192.0.2.1")


def test_name_without_address_has_resolve_errors() -> None:
    """Its slots are not measured and not lost."""
    ((_, _, window), *_) = decode_windows(run_process((0, PlanMessage(1, [build_target(address=None)])), end_s=100))

    assert window.address == UNRESOLVED_ADDRESS
    assert {miss.failure for miss in window.misses} == {Failure.RESOLVE_ERROR}


def test_silent_target_has_timeouts() -> None:
    """A silent target has sixty timeouts, flushed after the wait for late replies."""
    messages = run_process((0, PlanMessage(1, [build_target()])), end_s=100, fate=lambda _: Fate())

    assert {miss.failure for miss in decode_windows(messages)[0][2].misses} == {Failure.TIMEOUT}


def test_plan_without_targets_writes_nothing() -> None:
    """An agent that is in no mesh writes no windows."""
    assert run_process((0, PlanMessage(1, [])), end_s=130) == []


def test_forbidden_target_is_skipped_and_logged(capfd: pytest.CaptureFixture[str]) -> None:
    """A multicast target in a plan gets no packet and stops neither the other targets nor the process."""
    windows = decode_windows(
        run_process((0, PlanMessage(1, [build_target(), build_target("all-hosts", "224.0.0.1")])), end_s=100)
    )

    assert {window.target for _, _, window in windows} == {"zrh-a1"}
    assert "target all-hosts: the policy of this agent forbids probing 224.0.0.1" in capfd.readouterr().err
