"""Steps, leap seconds and wrong start values of the wall clock do not damage windows."""

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
#: The step is in the middle of minute 2, between two polls of the prober and two flushes.
STEP_AT_S = 150.03
END_S = 400
#: Slots with a probe in flight during the step, or skipped by the step: one before, one after.
AFFECTED_SLOTS_MAX = 2
PLAN = (0, PlanMessage(1, [build_target()]))


def run_with_step(step_s: float, end_s: int = END_S, start_s: int = START_S) -> list[WindowsMessage]:
    return run_process(PLAN, end_s=end_s, steps=[(STEP_AT_S, step_s)], start_s=start_s)


def rtts_us(windows: list[wire.TargetWindow]) -> list[int]:
    return [rtt for window in windows for rtt in window.rtt_us if rtt is not None]


def failures(windows: list[wire.TargetWindow]) -> Counter[Failure]:
    return Counter(miss.failure for window in windows for miss in window.misses)


@pytest.mark.parametrize(
    "step_s", [-0.5, 0.5, -37, 37, -600, HOUR_S, -HOUR_S, 2 * HOUR_S, -2 * HOUR_S, -START_S, DAY_S]
)
def test_step_changes_no_rtt_and_loses_and_repeats_no_window(step_s: float) -> None:
    """After any step, even to 1970, every window occurs once, every RTT is correct and no loss is reported.

    After a step back within an hour, the schedule waits for the clock. After a larger step, minutes restart at once.
    """
    waits_s = -step_s if -HOUR_S <= step_s < 0 else 0
    messages = run_with_step(step_s, end_s=END_S + int(waits_s))
    windows = [window for _, _, window in decode_windows(messages)]

    assert set(rtts_us(windows)) == {RTT_US}
    assert len({window.start_s for window in windows}) == len(windows)
    assert END_S - AFFECTED_SLOTS_MAX - 1 <= len(rtts_us(windows)) <= END_S + 1
    assert not any(failure.is_loss for failure in failures(windows))
    assert messages[-1].counters.clock_steps == 1


@pytest.mark.parametrize("step_s", [-37, 37, 600])
def test_minutes_are_contiguous_over_a_step_within_an_hour(step_s: int) -> None:
    """No minute is missing: slots that a step forward skipped are reported as not sent."""
    windows = decode_windows(run_with_step(step_s, end_s=END_S + 37))

    minutes = [minute for minute, _, _ in windows]
    assert minutes == list(range(minutes[-1] + 1))
    assert (
        max(step_s, 0) - 1 <= failures([window for *_, window in windows[:-1]])[Failure.NOT_SENT] <= max(step_s, 0) + 1
    )


@pytest.mark.parametrize("step_s", [37, 600, HOUR_S, 2 * HOUR_S])
def test_step_forward_hides_no_loss(step_s: int) -> None:
    """Minutes that a step made look complete wait for the probes in flight."""
    messages = run_process(
        PLAN, end_s=END_S, steps=[(STEP_AT_S, step_s)], fate=lambda index: REPLY_FATE if index < 700 else Fate()
    )

    windows = failures([window for minute, _, window in decode_windows(messages) if minute <= 2])

    # Replies end after 700 probes including loopback, 117 s after the start. Probes of one second can be in flight.
    assert 150 - 117 - 2 <= windows[Failure.TIMEOUT] <= 150 - 117
    assert 0 < windows[Failure.LOCAL_STALL] <= AFFECTED_SLOTS_MAX


@pytest.mark.parametrize(("wrong_s", "name"), [(14 * 365 * DAY_S, "2037"), (-START_S, "1970")])
def test_clock_corrected_after_the_start_does_not_stop_probing(wrong_s: int, name: str) -> None:
    """A host without a hardware clock starts at any time. NTP sets the clock, and the next minute is normal."""
    messages = run_with_step(-wrong_s, start_s=START_S + wrong_s)

    before = [window for minute, _, window in decode_windows(messages, START_S + wrong_s) if 0 <= minute <= 2]
    after = [(minute, window) for minute, _, window in decode_windows(messages) if 0 <= minute <= END_S // 60]

    assert [len(rtts_us([window])) for window in before[:2]] == [60, 60], name
    assert 28 <= len(rtts_us(before[2:])) <= 31
    # Minute 2 from its middle, three whole minutes, and the minute that the end truncates.
    assert [minute for minute, _ in after] == [2, 3, 4, 5, 6]
    assert [len(rtts_us([window])) for _, window in after[1:4]] == [60, 60, 60]
    assert len(rtts_us([window for _, window in after])) + len(rtts_us(before)) >= END_S - AFFECTED_SLOTS_MAX - 1


def test_pending_plan_applies_after_a_step_back() -> None:
    """It does not wait for its start minute, and no window mixes two mesh versions."""
    plans = ((0, PlanMessage(1, [build_target("old")])), (140, PlanMessage(2, [build_target("new", "192.0.2.2")])))
    messages = run_process(*plans, end_s=END_S, steps=[(STEP_AT_S, -5 * HOUR_S)])

    windows = [(minute, version, window.target) for minute, version, window in decode_windows(messages)]

    before, after = [(minute, 1, "old") for minute in range(3)], [(2 - 300 + n, 2, "new") for n in range(5)]
    assert sorted(windows) == sorted(before + after)


def test_step_back_and_forth_repeats_nothing() -> None:
    """The clock steps five hours back, and forward again before the earlier windows are flushed."""
    messages = run_process(PLAN, end_s=END_S, steps=[(STEP_AT_S, -5 * HOUR_S), (STEP_AT_S + 3, 5 * HOUR_S)])

    windows = [window for _, _, window in decode_windows(messages)]

    assert set(rtts_us(windows)) == {RTT_US}
    assert len(rtts_us(windows)) >= END_S - 3 * AFFECTED_SLOTS_MAX
    slots = [(window.start_s, slot) for window in windows for slot, rtt in enumerate(window.rtt_us) if rtt is not None]
    assert len(slots) == len(set(slots))


def test_end_soon_after_a_step_back_flushes_all_windows() -> None:
    """This includes a minute that has not begun by the stepped clock."""
    windows = decode_windows(run_process(PLAN, end_s=125, steps=[(124, -37)]))

    assert [minute for minute, _, _ in windows] == [0, 1, 2]


def test_leap_second_repeats_one_second() -> None:
    """Linux repeats the last second before midnight. The slots continue when the clock catches up."""
    midnight_s = START_S // DAY_S * DAY_S
    messages = run_process(PLAN, end_s=300, start_s=midnight_s - 120, steps=[(120, -1)])

    windows = [window for _, _, window in decode_windows(messages, midnight_s - 120)]

    assert [window.start_s - midnight_s for window in windows] == [-120, -60, 0, 60, 120]
    assert [len(rtts_us([window])) for window in windows[:1] + windows[2:4]] == [60, 60, 60]
    assert len(rtts_us(windows[1:2])) >= 60 - AFFECTED_SLOTS_MAX
    assert set(rtts_us(windows)) == {RTT_US}


@pytest.fixture(name="berlin")
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set a time zone with daylight saving time."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("change_s", [1_774_746_000, 1_792_890_000])
def test_daylight_saving_time_has_no_effect(berlin: None, change_s: int) -> None:
    """2026-03-29 and 2026-10-25, 01:00 UTC, on a host in Berlin: windows are in UTC and complete."""
    assert time.localtime(change_s - 1).tm_isdst != time.localtime(change_s).tm_isdst

    messages = run_process(PLAN, end_s=300, start_s=change_s - 120)

    windows = [window for _, _, window in decode_windows(messages, change_s - 120)]
    assert [window.start_s - change_s for window in windows] == [-120, -60, 0, 60, 120]
    assert [len(rtts_us([window])) for window in windows[:4]] == [60] * 4
    assert messages[-1].counters.clock_steps == 0
