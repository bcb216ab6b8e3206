"""The probing process: plans in, windows out, on a clock that jumps."""

from __future__ import annotations

import pytest

from leadline.model import Failure
from leadline_agent.probe.__main__ import UNRESOLVED_ADDRESS
from leadline_agent.probe.ipc import PlanMessage
from tests.support.fake_probe_socket import Fate
from tests.support.in_memory_probe_process import build_target, decode_windows, run_process


def test_every_minute_of_every_target_is_one_window() -> None:
    """Sixty slots each, with the error bound of the own loopback; the minute under way is sealed at the end."""
    found = decode_windows(
        run_process((0, PlanMessage(1, [build_target(), build_target("lon-gw", "192.0.2.2")])), end_s=150)
    )

    assert [(minute, one.target) for minute, _, one in found] == [
        (0, "lon-gw"),
        (0, "zrh-a1"),
        (1, "lon-gw"),
        (1, "zrh-a1"),
        (2, "lon-gw"),
        (2, "zrh-a1"),
    ]
    first = found[0][2]
    assert first.rtt_us.count(None) == 0
    assert first.error_us is not None
    last = found[-1][2]
    assert 28 <= 60 - last.rtt_us.count(None) <= 32
    assert {miss.failure for miss in last.misses} <= {Failure.NOT_SENT, Failure.LOCAL_STALL}


def test_a_new_plan_begins_at_a_whole_minute() -> None:
    """Handed over in the middle of minute 1, in force from minute 2: no window mixes two versions of the mesh."""
    found = decode_windows(
        run_process((0, PlanMessage(1, [build_target()])), (90, PlanMessage(2, [build_target(dscp=46)])), end_s=240)
    )

    assert [(minute, version) for minute, version, _ in found][:4] == [(0, 1), (1, 1), (2, 2), (3, 2)]
    assert all(one.rtt_us.count(None) == 0 for minute, _, one in found if 1 <= minute <= 3)


def test_of_two_plans_in_one_minute_the_last_counts() -> None:
    """The first never begins."""
    plans = (
        (0, PlanMessage(1, [build_target()])),
        (70, PlanMessage(2, [build_target("old")])),
        (80, PlanMessage(3, [build_target("new")])),
    )
    found = decode_windows(run_process(*plans, end_s=200))

    assert {(version, one.target) for _, version, one in found} == {(1, "zrh-a1"), (3, "new")}


def test_a_target_that_goes_keeps_its_address_in_its_last_window() -> None:
    """Its windows are sealed after the plan that knew it has gone."""
    plans = ((0, PlanMessage(1, [build_target()])), (30, PlanMessage(2, [build_target("new", "192.0.2.9")])))
    found = decode_windows(run_process(*plans, end_s=130))

    assert (found[0][2].target, found[0][2].address) == ("zrh-a1", "192.0.2.1")


def test_a_name_without_an_address_is_told_slot_by_slot() -> None:
    """Not measured, not lost."""
    ((_, _, one), *_) = decode_windows(run_process((0, PlanMessage(1, [build_target(address=None)])), end_s=100))

    assert one.address == UNRESOLVED_ADDRESS
    assert {miss.failure for miss in one.misses} == {Failure.RESOLVE_ERROR}


def test_losses_are_losses() -> None:
    """A silent target gives sixty timeouts, sealed when the last may still have come late."""
    frames = run_process((0, PlanMessage(1, [build_target()])), end_s=100, fate=lambda _: Fate())

    assert {miss.failure for miss in decode_windows(frames)[0][2].misses} == {Failure.TIMEOUT}


def test_a_plan_without_targets_writes_nothing() -> None:
    """An agent no mesh names waits."""
    assert run_process((0, PlanMessage(1, [])), end_s=130) == []


def test_a_forbidden_target_is_left_out_and_named(capfd: pytest.CaptureFixture[str]) -> None:
    """A plan is data from elsewhere: multicast in it stops neither the others nor the process, and gets no packet."""
    found = decode_windows(
        run_process((0, PlanMessage(1, [build_target(), build_target("all-hosts", "224.0.0.1")])), end_s=100)
    )

    assert {one.target for _, _, one in found} == {"zrh-a1"}
    assert "target all-hosts: 224.0.0.1 may not be probed" in capfd.readouterr().err
