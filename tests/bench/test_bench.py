"""The arithmetic of the benchmark: a wrong figure would pass for a measured one."""

from __future__ import annotations

import pytest

from leadline.model import Failure, ProbeSettings
from leadline_agent.probe.results import ProbeResult, ProbeTarget
from tests.bench.child import build_report, build_slot
from tests.bench.measurements import (
    BenchError,
    EngineGoal,
    ToolResult,
    TruthComparison,
    build_result,
    compare_with_truth,
    compute_median_result,
    compute_true_rtts,
    evaluate_goals,
)
from tests.bench.peers import parse_fping
from tests.bench.probe import parse_options
from tests.bench.rate import RateAttempt, evaluate_attempt, find_highest_rates, find_sustained_rate
from tests.bench.report import ProbeTask, Tool, ToolReport
from tests.network.frames import ECHO_REPLY, ECHO_REQUEST, ICMP
from tests.network.truth import FrameAction, FrameRecord

HERE, THERE, ELSEWHERE = "10.77.0.1", "10.78.0.1", "10.78.0.2"
TIMEOUT_NS = 1_000_000_000


def request(arrived_ns: int, sequence: int, target: str = THERE, identifier: int = 7) -> FrameRecord:
    return carried(HERE, target, ECHO_REQUEST, arrived_ns, arrived_ns + 10, sequence, identifier)


def reply(arrived_ns: int, released_ns: int, sequence: int, target: str = THERE, identifier: int = 7) -> FrameRecord:
    return carried(target, HERE, ECHO_REPLY, arrived_ns, released_ns, sequence, identifier)


def carried(
    src: str, dst: str, kind: int, arrived_ns: int, released_ns: int, sequence: int, identifier: int
) -> FrameRecord:
    return FrameRecord(
        order=arrived_ns,
        direction="a->b" if src == HERE else "b->a",
        action=FrameAction.PASS,
        length_bytes=84,
        src=src,
        dst=dst,
        protocol=ICMP,
        icmp_type=kind,
        icmp_code=0,
        icmp_id=identifier,
        icmp_sequence=sequence,
        cookie=0,
        index=0,
        arrived_ns=arrived_ns,
        arrived_mono_ns=arrived_ns,
        released_ns=released_ns,
        released_mono_ns=released_ns,
        due_mono_ns=released_ns,
    )


def a_row(
    tool: Tool, *, targets: int = 1_000, p99_ns: float | None = 1.0, cpu_s: float = 1.0, lost: int = 0
) -> ToolResult:
    return ToolResult(
        tool=tool,
        targets=targets,
        sent=100,
        false_losses=lost,
        void=0,
        unplaced=0,
        p50_ns=p99_ns,
        p99_ns=p99_ns,
        max_ns=p99_ns,
        cpu_s_per_10k=cpu_s,
        cpu_whole_s_per_10k=cpu_s,
    )


def goal(found: list[EngineGoal], words: str) -> EngineGoal:
    return next(goal for goal in found if words in goal.text)


def test_a_true_trip_is_release_of_the_reply_minus_arrival_of_the_request() -> None:
    """The true RTT is the one docs/testbed.md defines, per target in order of sending, None without a reply."""
    log = [request(100, 1), reply(150, 400, 1), request(500, 2), request(120, 1, ELSEWHERE), request(900, 3)]
    log.append(reply(950, 1_300, 3))

    trips = compute_true_rtts(log)

    assert trips == {THERE: [300, None, 400], ELSEWHERE: [None]}


def test_a_sequence_number_that_comes_again_belongs_to_the_newest_request() -> None:
    """fping's 16-bit numbers wrap: a reply is not held against a probe of a round long past."""
    log = [request(100, 1), request(5_000, 1), reply(5_100, 5_400, 1)]

    trips = compute_true_rtts(log)

    assert trips == {THERE: [None, 400]}


def test_replies_of_another_identifier_belong_to_nobody() -> None:
    """Two senders to one target are told apart by their identifiers."""
    log = [request(100, 1, identifier=7), reply(150, 400, 1, identifier=8)]

    trips = compute_true_rtts(log)

    assert trips == {THERE: [None]}


def test_errors_are_absolute_and_in_order() -> None:
    """A tool that reports too little errs as much as one that reports too much."""
    report = ToolReport(rtts_ns={THERE: [290, 430], ELSEWHERE: [500]})

    comparison = compare_with_truth(report, {THERE: [300, 400], ELSEWHERE: [500]}, TIMEOUT_NS)

    assert comparison.errors_ns == (0, 10, 30)


def test_a_false_loss_is_one_whose_reply_came_in_time() -> None:
    """Lost on the path, late on the path and called not measured are no false losses."""
    report = ToolReport(rtts_ns={THERE: [None, None, None, None]}, void={THERE: [3]}, not_sent=2)

    comparison = compare_with_truth(report, {THERE: [300, None, TIMEOUT_NS, 300]}, TIMEOUT_NS)

    assert (comparison.false_losses, comparison.void, comparison.sent) == (1, 3, 4)


def test_a_list_without_its_lost_probes_is_counted_and_not_compared() -> None:
    """icmplib leaves lost probes out of its list, so nobody knows which RTT is whose."""
    report = ToolReport(rtts_ns={}, unplaced={THERE: (3, 1)})

    comparison = compare_with_truth(report, {THERE: [300, 300, None]}, TIMEOUT_NS)

    assert comparison == TruthComparison(sent=3, errors_ns=(), false_losses=1, void=0, unplaced=1)


def test_another_number_of_probes_than_on_the_path_is_an_error() -> None:
    """Matching by order would shift every later probe."""
    with pytest.raises(BenchError) as error:
        compare_with_truth(ToolReport(rtts_ns={THERE: [300]}), {THERE: [300, 300]}, TIMEOUT_NS)

    assert str(error.value) == "10.78.0.1: 1 probes reported, 2 seen on the path"


def test_a_row_has_nearest_ranks_and_cpu_per_10000_probes() -> None:
    """p99 of 200 errors is the 198th; CPU is per probe seen on the path."""
    comparison = TruthComparison(sent=200, errors_ns=tuple(range(1, 201)), false_losses=0, void=0, unplaced=0)

    figures = build_result(Tool.LEADLINE, 100, comparison, cpu_s=0.02, cpu_whole_s=0.04)

    assert (figures.p50_ns, figures.p99_ns, figures.max_ns) == (100, 198, 200)
    assert (figures.cpu_s_per_10k, figures.cpu_whole_s_per_10k) == (1.0, 2.0)


def test_several_runs_give_medians_of_figures_and_sums_of_counts() -> None:
    """One bad round does not move a figure; no lost probe is averaged away."""
    rows = [a_row(Tool.FPING, p99_ns=p99, cpu_s=cpu, lost=1) for p99, cpu in ((9.0, 1.0), (1.0, 5.0), (2.0, 2.0))]

    figures = compute_median_result(rows)

    assert (figures.p99_ns, figures.cpu_s_per_10k) == (2.0, 2.0)
    assert (figures.false_losses, figures.sent) == (3, 300)


@pytest.mark.parametrize(("ours_ns", "met"), [(50_000.0, True), (50_001.0, False)])
def test_the_bounds_of_the_error_include_their_limit(ours_ns: float, met: bool) -> None:
    """At most 50 µs and at most fping's: equal is met, one nanosecond more is not."""
    rows = [a_row(Tool.LEADLINE, p99_ns=ours_ns), a_row(Tool.FPING, p99_ns=50_000.0)]

    found = evaluate_goals(rows, None)

    assert [goal(found, "fping's at 1,000").met, goal(found, "at most 50 µs").met] == [met, met]


@pytest.mark.parametrize(("cpu_s", "met"), [(2.5, True), (2.6, False)])
def test_the_cpu_is_judged_as_a_ratio(cpu_s: float, met: bool) -> None:
    """Two and a half times fping's CPU is allowed, whatever the machine."""
    rows = [a_row(Tool.LEADLINE, cpu_s=cpu_s), a_row(Tool.FPING, cpu_s=1.0), a_row(Tool.FPING_BURST, cpu_s=0.1)]

    found = goal(evaluate_goals(rows, None), "CPU")

    assert (found.met, found.figure) == (met, f"{cpu_s:.2f} times")


@pytest.mark.parametrize(("rate", "met"), [(None, None), (10_000, False), (20_000, True)])
def test_the_rate_is_judged_when_it_was_searched(rate: int | None, met: bool | None) -> None:
    """No search is not a failure, and not a success either."""
    assert goal(evaluate_goals([], rate), "20,000").met is met


def test_what_was_not_measured_meets_nothing() -> None:
    """A run without 1,000 targets says nothing about the goals set there."""
    found = evaluate_goals([a_row(Tool.LEADLINE, targets=100), a_row(Tool.FPING, targets=100)], None)

    assert [goal.met for goal in found] == [True, None, None, None]


def test_fping_is_read_with_its_losses_in_place() -> None:
    """Milliseconds with three digits become nanoseconds, a dash stays a gap."""
    printed = "10.78.0.1 : 0.459 - 1.02\n10.78.0.12  : 12.3\n\n   2 targets\n    3.067 sec (elapsed real time)\n"

    report = parse_fping(printed)

    assert report.rtts_ns == {THERE: [459_000, None, 1_020_000], "10.78.0.12": [12_300_000]}
    assert report.elapsed_s == 3.067


def test_outcomes_become_a_report_in_order_of_slot() -> None:
    """A late reply is a loss, a stall is void, a slot without a send is neither."""
    aim = ProbeTarget(name=THERE, address=THERE, settings=ProbeSettings())
    outcomes = [
        ProbeResult(aim, 4, failure=Failure.NOT_SENT),
        ProbeResult(aim, 3, failure=Failure.LOCAL_STALL, sent_at_ns=30),
        ProbeResult(aim, 2, failure=Failure.LATE, detail=1_500_000, sent_at_ns=20),
        ProbeResult(aim, 1, rtt_ns=300, sent_at_ns=10),
    ]

    report = build_report([THERE, ELSEWHERE], list(map(build_slot, outcomes)), {})

    assert report.rtts_ns == {THERE: [300, None, None], ELSEWHERE: []}
    assert (report.void, report.not_sent) == ({THERE: [2]}, 1)


@pytest.mark.parametrize(
    ("tool", "rtts_ns", "elapsed_s", "complaint", "carried"),
    [
        (Tool.LEADLINE, [300, 300], 3.0, "", True),
        (Tool.LEADLINE, [300, None], 2.0, "", False),
        (Tool.LEADLINE, [300], 2.0, "", False),
        (Tool.FPING_BURST, [300, 300], 2.1, "", True),
        (Tool.FPING_BURST, [300, 300], 2.2, "", False),
        (Tool.FPING_BURST, [300, 300], 2.0, "gave up", False),
    ],
)
def test_a_rate_is_carried_when_every_probe_left_in_its_second_and_was_answered(
    tool: Tool, rtts_ns: list[int | None], elapsed_s: float, complaint: str, carried: bool
) -> None:
    """fping is late instead of leaving out, so its time counts too."""
    task = ProbeTask(tool=tool, addresses=(THERE,), probes=2)

    tried = evaluate_attempt(task, ToolReport(rtts_ns={THERE: rtts_ns}, elapsed_s=elapsed_s), 1.0, complaint)

    assert tried.carried is carried


def test_what_was_not_answered_is_told_apart() -> None:
    """Never sent, called not measured and lost are three things."""
    task = ProbeTask(tool=Tool.LEADLINE, addresses=(THERE,), probes=6)
    report = ToolReport(rtts_ns={THERE: [300, None, None, None]}, void={THERE: [1]}, not_sent=2)

    tried = evaluate_attempt(task, report, 1.0, "")

    assert (tried.unsent, tried.void, tried.lost) == (2, 1, 2)


def test_the_highest_rate_is_the_highest_carried_by_duration() -> None:
    """What is carried for three seconds is not what is carried for twelve."""

    def tried(rate: int, probes: int, carried: bool) -> RateAttempt:
        task = ProbeTask(tool=Tool.FPING_BURST, addresses=(THERE,) * rate, probes=probes)
        rtts: list[int | None] = [1 if carried else None] * task.count_probes
        return evaluate_attempt(task, ToolReport(rtts_ns={THERE: rtts}), 1.0, "")

    tries = [tried(10, 3, True), tried(20, 3, False), tried(20, 3, True), tried(10, 12, False)]

    assert find_highest_rates(tries) == {(Tool.FPING_BURST, 3): 20, (Tool.FPING_BURST, 12): 0}
    assert [find_sustained_rate(tries, tool) for tool in (Tool.FPING_BURST, Tool.LEADLINE)] == [0, None]


def test_sizes_beyond_the_emulator_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """More than 10,000 probes a second would measure the emulator."""
    assert parse_options(["--targets", "100,10000"]).targets == (100, 10_000)

    with pytest.raises(SystemExit) as ended:
        parse_options(["--targets", "10001"])

    assert ended.value.code == 2
    assert "from 1 to 10,000" in capsys.readouterr().err
