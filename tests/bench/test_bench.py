"""Tests of the calculations of the probe benchmark."""

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
    return build_frame(HERE, target, ECHO_REQUEST, arrived_ns, arrived_ns + 10, sequence, identifier)


def reply(arrived_ns: int, released_ns: int, sequence: int, target: str = THERE, identifier: int = 7) -> FrameRecord:
    return build_frame(target, HERE, ECHO_REPLY, arrived_ns, released_ns, sequence, identifier)


def build_frame(
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


def build_row(
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


def find_goal(goals: list[EngineGoal], text: str) -> EngineGoal:
    return next(goal for goal in goals if text in goal.text)


def test_a_true_rtt_is_release_of_the_reply_minus_arrival_of_the_request() -> None:
    """True RTTs follow the definition in docs/testbed.md, per target in order of sending, None without a reply."""
    log = [request(100, 1), reply(150, 400, 1), request(500, 2), request(120, 1, ELSEWHERE), request(900, 3)]
    log.append(reply(950, 1_300, 3))

    trips = compute_true_rtts(log)

    assert trips == {THERE: [300, None, 400], ELSEWHERE: [None]}


def test_a_reused_sequence_number_belongs_to_the_newest_request() -> None:
    """The 16-bit numbers of fping wrap: a reply does not match a probe of an older round."""
    log = [request(100, 1), request(5_000, 1), reply(5_100, 5_400, 1)]

    trips = compute_true_rtts(log)

    assert trips == {THERE: [None, 400]}


def test_replies_with_another_identifier_are_ignored() -> None:
    """Identifiers distinguish two senders to one target."""
    log = [request(100, 1, identifier=7), reply(150, 400, 1, identifier=8)]

    trips = compute_true_rtts(log)

    assert trips == {THERE: [None]}


def test_errors_are_absolute_and_sorted() -> None:
    """An RTT that is too short is as wrong as one that is too long."""
    report = ToolReport(rtts_ns={THERE: [290, 430], ELSEWHERE: [500]})

    comparison = compare_with_truth(report, {THERE: [300, 400], ELSEWHERE: [500]}, TIMEOUT_NS)

    assert comparison.errors_ns == (0, 10, 30)


def test_a_loss_is_false_if_the_reply_was_in_time() -> None:
    """Probes lost or late on the path and probes reported as not measured are no false losses."""
    report = ToolReport(rtts_ns={THERE: [None, None, None, None]}, void={THERE: [3]}, not_sent=2)

    comparison = compare_with_truth(report, {THERE: [300, None, TIMEOUT_NS, 300]}, TIMEOUT_NS)

    assert (comparison.false_losses, comparison.void, comparison.sent) == (1, 3, 4)


def test_a_list_without_lost_probes_is_counted_but_not_compared() -> None:
    """icmplib leaves lost probes out of its list, so RTTs cannot be assigned to requests."""
    report = ToolReport(rtts_ns={}, unplaced={THERE: (3, 1)})

    comparison = compare_with_truth(report, {THERE: [300, 300, None]}, TIMEOUT_NS)

    assert comparison == TruthComparison(sent=3, errors_ns=(), false_losses=1, void=0, unplaced=1)


def test_a_different_number_of_probes_on_the_path_is_an_error() -> None:
    """Matching by order would be wrong for every later probe."""
    with pytest.raises(BenchError) as error:
        compare_with_truth(ToolReport(rtts_ns={THERE: [300]}), {THERE: [300, 300]}, TIMEOUT_NS)

    assert str(error.value) == "10.78.0.1: 1 probes reported, 2 seen on the path"


def test_a_result_has_nearest_ranks_and_cpu_per_10000_probes() -> None:
    """p99 of 200 errors is the 198th; CPU time is per probe on the path."""
    comparison = TruthComparison(sent=200, errors_ns=tuple(range(1, 201)), false_losses=0, void=0, unplaced=0)

    result = build_result(Tool.LEADLINE, 100, comparison, cpu_s=0.02, cpu_whole_s=0.04)

    assert (result.p50_ns, result.p99_ns, result.max_ns) == (100, 198, 200)
    assert (result.cpu_s_per_10k, result.cpu_whole_s_per_10k) == (1.0, 2.0)


def test_several_runs_give_medians_of_values_and_sums_of_counts() -> None:
    """One bad round does not change a median; all lost probes are counted."""
    rows = [build_row(Tool.FPING, p99_ns=p99, cpu_s=cpu, lost=1) for p99, cpu in ((9.0, 1.0), (1.0, 5.0), (2.0, 2.0))]

    result = compute_median_result(rows)

    assert (result.p99_ns, result.cpu_s_per_10k) == (2.0, 2.0)
    assert (result.false_losses, result.sent) == (3, 300)


@pytest.mark.parametrize(("ours_ns", "met"), [(50_000.0, True), (50_001.0, False)])
def test_the_error_goals_include_their_limit(ours_ns: float, met: bool) -> None:
    """At most 50 µs and at most that of fping: an equal error meets the goal, one nanosecond more does not."""
    rows = [build_row(Tool.LEADLINE, p99_ns=ours_ns), build_row(Tool.FPING, p99_ns=50_000.0)]

    goals = evaluate_goals(rows, None)

    assert [find_goal(goals, "fping's at 1,000").met, find_goal(goals, "at most 50 µs").met] == [met, met]


@pytest.mark.parametrize(("cpu_s", "met"), [(2.5, True), (2.6, False)])
def test_the_cpu_goal_is_a_ratio(cpu_s: float, met: bool) -> None:
    """The goal is two and a half times the CPU time of fping on the same machine."""
    rows = [
        build_row(Tool.LEADLINE, cpu_s=cpu_s),
        build_row(Tool.FPING, cpu_s=1.0),
        build_row(Tool.FPING_BURST, cpu_s=0.1),
    ]

    goal = find_goal(evaluate_goals(rows, None), "CPU")

    assert (goal.met, goal.figure) == (met, f"{cpu_s:.2f} times")


@pytest.mark.parametrize(("rate", "met"), [(None, None), (10_000, False), (20_000, True)])
def test_the_rate_goal_needs_a_search(rate: int | None, met: bool | None) -> None:
    """Without a search the goal is neither met nor missed."""
    assert find_goal(evaluate_goals([], rate), "20,000").met is met


def test_goals_without_a_measurement_are_undecided() -> None:
    """A run without 1,000 targets does not decide the goals for 1,000 targets."""
    goals = evaluate_goals([build_row(Tool.LEADLINE, targets=100), build_row(Tool.FPING, targets=100)], None)

    assert [goal.met for goal in goals] == [True, None, None, None]


def test_fping_output_is_parsed_with_losses() -> None:
    """Milliseconds with three digits become nanoseconds, a dash becomes None."""
    printed = "10.78.0.1 : 0.459 - 1.02\n10.78.0.12  : 12.3\n\n   2 targets\n    3.067 sec (elapsed real time)\n"

    report = parse_fping(printed)

    assert report.rtts_ns == {THERE: [459_000, None, 1_020_000], "10.78.0.12": [12_300_000]}
    assert report.elapsed_s == 3.067


def test_a_report_is_in_order_of_slot() -> None:
    """A late reply is a loss, a stall is void, a slot without a send is neither."""
    target = ProbeTarget(name=THERE, address=THERE, settings=ProbeSettings())
    results = [
        ProbeResult(target, 4, failure=Failure.NOT_SENT),
        ProbeResult(target, 3, failure=Failure.LOCAL_STALL, sent_at_ns=30),
        ProbeResult(target, 2, failure=Failure.LATE, detail=1_500_000, sent_at_ns=20),
        ProbeResult(target, 1, rtt_ns=300, sent_at_ns=10),
    ]

    report = build_report([THERE, ELSEWHERE], list(map(build_slot, results)), {})

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
def test_a_rate_is_carried_if_every_probe_is_sent_in_time_and_has_a_reply(
    tool: Tool, rtts_ns: list[int | None], elapsed_s: float, complaint: str, carried: bool
) -> None:
    """fping sends late instead of skipping, so its duration counts too."""
    task = ProbeTask(tool=tool, addresses=(THERE,), probes=2)

    attempt = evaluate_attempt(task, ToolReport(rtts_ns={THERE: rtts_ns}, elapsed_s=elapsed_s), 1.0, complaint)

    assert attempt.carried is carried


def test_unsent_void_and_lost_probes_are_distinguished() -> None:
    """An attempt counts probes not sent, not measured and lost separately."""
    task = ProbeTask(tool=Tool.LEADLINE, addresses=(THERE,), probes=6)
    report = ToolReport(rtts_ns={THERE: [300, None, None, None]}, void={THERE: [1]}, not_sent=2)

    attempt = evaluate_attempt(task, report, 1.0, "")

    assert (attempt.unsent, attempt.void, attempt.lost) == (2, 1, 2)


def test_the_highest_rate_is_the_highest_carried_by_duration() -> None:
    """Rates of three and of twelve seconds are separate results."""

    def make_attempt(rate: int, probes: int, carried: bool) -> RateAttempt:
        task = ProbeTask(tool=Tool.FPING_BURST, addresses=(THERE,) * rate, probes=probes)
        rtts: list[int | None] = [1 if carried else None] * task.count_probes
        return evaluate_attempt(task, ToolReport(rtts_ns={THERE: rtts}), 1.0, "")

    tries = [
        make_attempt(10, 3, True), make_attempt(20, 3, False), make_attempt(20, 3, True), make_attempt(10, 12, False)
    ]  # fmt: skip

    assert find_highest_rates(tries) == {(Tool.FPING_BURST, 3): 20, (Tool.FPING_BURST, 12): 0}
    assert [find_sustained_rate(tries, tool) for tool in (Tool.FPING_BURST, Tool.LEADLINE)] == [0, None]


def test_sizes_beyond_the_emulator_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """More than 10,000 targets would measure the emulator."""
    assert parse_options(["--targets", "100,10000"]).targets == (100, 10_000)

    with pytest.raises(SystemExit) as exit_info:
        parse_options(["--targets", "10001"])

    assert exit_info.value.code == 2
    assert "from 1 to 10,000" in capsys.readouterr().err
