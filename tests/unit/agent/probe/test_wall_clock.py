"""The wall clock under a running agent: it steps, leaps and comes from nowhere, and no window suffers from it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from leadline.model import Failure
from leadline.wire import batch as wire
from leadline_agent.probe.ipc import PlanMessage, WindowsMessage
from tests.support.fake_probe_socket import Fate
from tests.support.in_memory_probe_process import REPLY_FATE, START_S, build_target, decode_windows, run_process

RTT_US = 5_000
HOUR_S = 3_600
DAY_S = 86_400
#: The step comes in the middle of minute 2, between two looks of the prober and two of the sealing.
STEP_AT_S = 150.03
END_S = 400
#: Slots whose probe was out when the clock stepped, or that the step passed over: one before, one after.
TORN_MAX = 2
PLAN = (0, PlanMessage(1, [build_target()]))


def stepped(step_s: float, end_s: int = END_S, start_s: int = START_S) -> list[WindowsMessage]:
    return run_process(PLAN, end_s=end_s, steps=[(STEP_AT_S, step_s)], start_s=start_s)


def rtts_us(found: list[wire.TargetWindow]) -> list[int]:
    return [rtt for one in found for rtt in one.rtt_us if rtt is not None]


def failures(found: list[wire.TargetWindow]) -> Counter[Failure]:
    return Counter(miss.failure for one in found for miss in one.misses)


@pytest.mark.parametrize(
    "step_s", [-0.5, 0.5, -37, 37, -600, HOUR_S, -HOUR_S, 2 * HOUR_S, -2 * HOUR_S, -START_S, DAY_S]
)
def test_a_step_touches_no_rtt_and_loses_and_doubles_no_window(step_s: float) -> None:
    """Either way, however far, to 1970 too: every window once, every RTT the path's own, and silence is never loss.

    Within the hour a clock that went back is waited for; beyond it minutes begin anew at once.
    """
    waits_s = -step_s if -HOUR_S <= step_s < 0 else 0
    frames = stepped(step_s, end_s=END_S + int(waits_s))
    found = [one for _, _, one in decode_windows(frames)]

    assert set(rtts_us(found)) == {RTT_US}
    assert len({one.start_s for one in found}) == len(found)
    assert END_S - TORN_MAX - 1 <= len(rtts_us(found)) <= END_S + 1
    assert not any(failure.is_loss for failure in failures(found))
    assert frames[-1].counters.clock_steps == 1


@pytest.mark.parametrize("step_s", [-37, 37, 600])
def test_minutes_follow_each_other_over_a_step_within_the_hour(step_s: int) -> None:
    """No label is left out: what a step forward passed over is told slot by slot, as not sent."""
    found = decode_windows(stepped(step_s, end_s=END_S + 37))

    minutes = [minute for minute, _, _ in found]
    assert minutes == list(range(minutes[-1] + 1))
    assert max(step_s, 0) - 1 <= failures([one for *_, one in found[:-1]])[Failure.NOT_SENT] <= max(step_s, 0) + 1


@pytest.mark.parametrize("step_s", [37, 600, HOUR_S, 2 * HOUR_S])
def test_a_step_forward_hides_no_loss(step_s: int) -> None:
    """Minutes that a step made seem long past wait for the probes that are still out."""
    frames = run_process(
        PLAN, end_s=END_S, steps=[(STEP_AT_S, step_s)], fate=lambda index: REPLY_FATE if index < 700 else Fate()
    )

    found = failures([one for minute, _, one in decode_windows(frames) if minute <= 2])

    # Silence began at 700 probes, loopback included: 117 s after the start. Out within reach of the step: one second.
    assert 150 - 117 - 2 <= found[Failure.TIMEOUT] <= 150 - 117
    assert 0 < found[Failure.LOCAL_STALL] <= TORN_MAX


@pytest.mark.parametrize(("wrong_s", "name"), [(14 * 365 * DAY_S, "2037"), (-START_S, "1970")])
def test_a_clock_that_is_set_right_after_the_start_stops_nothing(wrong_s: int, name: str) -> None:
    """A host without a clock of its own starts anywhere; NTP sets it, and the next minute is measured as any other."""
    frames = stepped(-wrong_s, start_s=START_S + wrong_s)

    before = [one for minute, _, one in decode_windows(frames, START_S + wrong_s) if 0 <= minute <= 2]
    after = [(minute, one) for minute, _, one in decode_windows(frames) if 0 <= minute <= END_S // 60]

    assert [len(rtts_us([one])) for one in before[:2]] == [60, 60], name
    assert 28 <= len(rtts_us(before[2:])) <= 31
    # Minute 2 from its middle on, three whole ones, and the one that the end cut off.
    assert [minute for minute, _ in after] == [2, 3, 4, 5, 6]
    assert [len(rtts_us([one])) for _, one in after[1:4]] == [60, 60, 60]
    assert len(rtts_us([one for _, one in after])) + len(rtts_us(before)) >= END_S - TORN_MAX - 1


def test_a_plan_that_waited_for_its_minute_is_in_force_when_the_clock_went_back() -> None:
    """Its minute would come in hours; no window mixes two versions of the mesh."""
    plans = ((0, PlanMessage(1, [build_target("old")])), (140, PlanMessage(2, [build_target("new", "192.0.2.2")])))
    frames = run_process(*plans, end_s=END_S, steps=[(STEP_AT_S, -5 * HOUR_S)])

    found = [(minute, version, one.target) for minute, version, one in decode_windows(frames)]

    before, after = [(minute, 1, "old") for minute in range(3)], [(2 - 300 + n, 2, "new") for n in range(5)]
    assert sorted(found) == sorted(before + after)


def test_a_clock_that_jumps_to_and_fro_doubles_nothing() -> None:
    """Five hours back, and forth again before anything of before was sealed."""
    frames = run_process(PLAN, end_s=END_S, steps=[(STEP_AT_S, -5 * HOUR_S), (STEP_AT_S + 3, 5 * HOUR_S)])

    found = [one for _, _, one in decode_windows(frames)]

    assert set(rtts_us(found)) == {RTT_US}
    assert len(rtts_us(found)) >= END_S - 3 * TORN_MAX
    slots = [(one.start_s, slot) for one in found for slot, rtt in enumerate(one.rtt_us) if rtt is not None]
    assert len(slots) == len(set(slots))


def test_an_end_soon_after_a_step_back_seals_what_there_is() -> None:
    """Also a minute that, by the clock of now, has not begun."""
    found = decode_windows(run_process(PLAN, end_s=125, steps=[(124, -37)]))

    assert [minute for minute, _, _ in found] == [0, 1, 2]


def test_a_leap_second_is_a_second_that_comes_twice() -> None:
    """As Linux does it: at midnight the last second is repeated. The slots go on when the clock has caught up."""
    midnight_s = START_S // DAY_S * DAY_S
    frames = run_process(PLAN, end_s=300, start_s=midnight_s - 120, steps=[(120, -1)])

    found = [one for _, _, one in decode_windows(frames, midnight_s - 120)]

    assert [one.start_s - midnight_s for one in found] == [-120, -60, 0, 60, 120]
    assert [len(rtts_us([one])) for one in found[:1] + found[2:4]] == [60, 60, 60]
    assert len(rtts_us(found[1:2])) >= 60 - TORN_MAX
    assert set(rtts_us(found)) == {RTT_US}


@pytest.fixture(name="berlin")
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A host with daylight saving time."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("change_s", [1_774_746_000, 1_792_890_000])
def test_daylight_saving_time_does_not_exist(berlin: None, change_s: int) -> None:
    """2026-03-29 and 2026-10-25, 01:00 UTC, on a host in Berlin: labels are UTC, and nothing happens."""
    assert time.localtime(change_s - 1).tm_isdst != time.localtime(change_s).tm_isdst

    frames = run_process(PLAN, end_s=300, start_s=change_s - 120)

    found = [one for _, _, one in decode_windows(frames, change_s - 120)]
    assert [one.start_s - change_s for one in found] == [-120, -60, 0, 60, 120]
    assert [len(rtts_us([one])) for one in found[:4]] == [60] * 4
    assert frames[-1].counters.clock_steps == 0
