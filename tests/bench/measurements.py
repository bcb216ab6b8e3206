"""Calculations of the probe benchmark: comparison of reported and true RTTs, results and goals. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import median

from leadline.statistics import P50, P99, nearest_rank
from tests.bench.report import Tool, ToolReport
from tests.network.truth import FrameAction, FrameRecord

_WHOLE = Fraction(1)

ERROR_P99_NS_MAX = 50_000
CPU_RATIO_MAX = 2.5
RATE_MIN = 20_000
#: The goals for error and CPU are set for this number of targets.
GOAL_TARGETS = 1_000


class BenchError(Exception):
    """No result for a tool: it failed, or its report does not match the truth log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthComparison:
    """Comparison of one run of a tool with the truth log."""

    #: Requests in the truth log.
    sent: int
    #: |reported - true| RTT of every probe with both, in ascending order.
    errors_ns: tuple[int, ...]
    #: Reported as lost although the reply was released within the timeout.
    false_losses: int
    #: Reported as not measured, or not sent.
    void: int
    #: Probes with an RTT that cannot be assigned to a request; counted, not compared.
    unplaced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """Result of a tool at one number of targets: one run, or the medians of several (with sums of counts)."""

    tool: Tool
    targets: int
    sent: int
    false_losses: int
    void: int
    unplaced: int
    #: Nanoseconds; None without comparable probes.
    p50_ns: float | None
    p99_ns: float | None
    max_ns: float | None
    #: User and system seconds per 10,000 probes sent: without and with the start of the process.
    cpu_s_per_10k: float
    cpu_whole_s_per_10k: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineGoal:
    """A goal of the engine; ``met`` is None if it was not measured."""

    text: str
    figure: str
    met: bool | None


def compute_true_rtts(log: Iterable[FrameRecord]) -> dict[str, list[int | None]]:
    """Return the true RTT of every echo in nanoseconds, per target in order of sending; None without a reply.

    Target, identifier and sequence number match a reply with its request, because other tools have no index in their
    payload. A reused sequence number belongs to the newest request.
    """
    trips: dict[str, list[int | None]] = {}
    pending: dict[tuple[str | None, int | None, int | None], tuple[list[int | None], int, int]] = {}
    for frame in sorted(log, key=lambda frame: frame.arrived_mono_ns):
        if frame.action is not FrameAction.PASS:
            continue
        if frame.is_request and frame.dst is not None:
            target = trips.setdefault(frame.dst, [])
            pending[frame.dst, frame.icmp_id, frame.icmp_sequence] = (target, len(target), frame.arrived_mono_ns)
            target.append(None)
        elif frame.is_reply and (request := pending.pop((frame.src, frame.icmp_id, frame.icmp_sequence), None)):
            target, position, arrived_ns = request
            target[position] = None if frame.released_mono_ns is None else frame.released_mono_ns - arrived_ns
    return trips


def compare_with_truth(report: ToolReport, trips: dict[str, list[int | None]], timeout_ns: int) -> TruthComparison:
    """Compare a report with the true RTTs, by target and order; raise BenchError if the counts differ."""
    errors_ns: list[int] = []
    false_losses = 0
    for address, rtts_ns in report.rtts_ns.items():
        true_ns = trips.get(address, [])
        if len(true_ns) != len(rtts_ns):
            raise BenchError(f"{address}: {len(rtts_ns)} probes reported, {len(true_ns)} seen on the path")
        void = report.void.get(address, ())
        for position, (rtt_ns, trip_ns) in enumerate(zip(rtts_ns, true_ns, strict=True)):
            if rtt_ns is not None and trip_ns is not None:
                errors_ns.append(abs(rtt_ns - trip_ns))
            elif trip_ns is not None and trip_ns < timeout_ns and position not in void:
                false_losses += 1
    for address, (_, received) in report.unplaced.items():
        in_time = sum(trip_ns is not None and trip_ns < timeout_ns for trip_ns in trips.get(address, []))
        false_losses += max(in_time - received, 0)
    return TruthComparison(
        sent=sum(map(len, trips.values())),
        errors_ns=tuple(sorted(errors_ns)),
        false_losses=false_losses,
        void=report.not_sent + sum(map(len, report.void.values())),
        unplaced=sum(received for _, received in report.unplaced.values()),
    )


def build_result(tool: Tool, targets: int, comparison: TruthComparison, cpu_s: float, cpu_whole_s: float) -> ToolResult:
    """Return the result of one run with at least one probe."""
    errors_ns = comparison.errors_ns
    p50_ns, p99_ns, max_ns = (nearest_rank(errors_ns, len(errors_ns), q) for q in (P50, P99, _WHOLE))
    return ToolResult(
        tool=tool,
        targets=targets,
        sent=comparison.sent,
        false_losses=comparison.false_losses,
        void=comparison.void,
        unplaced=comparison.unplaced,
        p50_ns=p50_ns,
        p99_ns=p99_ns,
        max_ns=max_ns,
        cpu_s_per_10k=cpu_s * 10_000 / comparison.sent,
        cpu_whole_s_per_10k=cpu_whole_s * 10_000 / comparison.sent,
    )


def compute_median_result(rows: Sequence[ToolResult]) -> ToolResult:
    """Return the medians over several runs of one tool at one size, with sums of counts."""
    first = rows[0]
    return ToolResult(
        tool=first.tool,
        targets=first.targets,
        sent=sum(row.sent for row in rows),
        false_losses=sum(row.false_losses for row in rows),
        void=sum(row.void for row in rows),
        unplaced=sum(row.unplaced for row in rows),
        p50_ns=_compute_median(row.p50_ns for row in rows),
        p99_ns=_compute_median(row.p99_ns for row in rows),
        max_ns=_compute_median(row.max_ns for row in rows),
        cpu_s_per_10k=median(row.cpu_s_per_10k for row in rows),
        cpu_whole_s_per_10k=median(row.cpu_whole_s_per_10k for row in rows),
    )


def _compute_median(values: Iterable[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return median(numbers) if numbers else None


def evaluate_goals(rows: Iterable[ToolResult], rate: int | None) -> list[EngineGoal]:
    """Return all goals of the engine. ``rows`` has one result per tool and size; ``rate`` is None without a search."""
    results = {(row.tool, row.targets): row for row in rows}
    sizes = sorted({targets for _, targets in results})
    return [
        *(_compare_with_fping(targets, _select_pair(results, targets)) for targets in sizes),
        _evaluate_error_bound(results.get((Tool.LEADLINE, GOAL_TARGETS))),
        _evaluate_cpu(_select_pair(results, GOAL_TARGETS)),
        EngineGoal(
            text=f"at least {RATE_MIN:,} probes/s in one process, none lost",
            figure="not measured" if rate is None else f"{rate:,}/s",
            met=None if rate is None else rate >= RATE_MIN,
        ),
    ]


def _select_pair(
    results: dict[tuple[Tool, int], ToolResult], targets: int
) -> tuple[ToolResult | None, ToolResult | None]:
    return results.get((Tool.LEADLINE, targets)), results.get((Tool.FPING, targets))


def _compare_with_fping(targets: int, pair: tuple[ToolResult | None, ToolResult | None]) -> EngineGoal:
    ours, theirs = (None if row is None else row.p99_ns for row in pair)
    return EngineGoal(
        text=f"error p99 at most fping's at {targets:,} targets",
        figure=f"{format_us(ours)} µs, fping {format_us(theirs)} µs",
        met=None if ours is None or theirs is None else ours <= theirs,
    )


def _evaluate_error_bound(ours: ToolResult | None) -> EngineGoal:
    p99_ns = None if ours is None else ours.p99_ns
    return EngineGoal(
        text=f"error p99 at most {ERROR_P99_NS_MAX // 1_000} µs at {GOAL_TARGETS:,} targets",
        figure=f"{format_us(p99_ns)} µs",
        met=None if p99_ns is None else p99_ns <= ERROR_P99_NS_MAX,
    )


def _evaluate_cpu(pair: tuple[ToolResult | None, ToolResult | None]) -> EngineGoal:
    ours, theirs = pair
    ratio = None if ours is None or theirs is None else ours.cpu_s_per_10k / theirs.cpu_s_per_10k
    return EngineGoal(
        text=f"CPU at most {CPU_RATIO_MAX} times fping's at {GOAL_TARGETS:,} targets",
        figure="not measured" if ratio is None else f"{ratio:.2f} times",
        met=None if ratio is None else ratio <= CPU_RATIO_MAX,
    )


def format_us(ns: float | None) -> str:
    """Format nanoseconds as microseconds for a table."""
    return format_number(None if ns is None else ns / 1_000, ",.1f")


def format_number(value: float | None, form: str) -> str:
    """Format a number for a table; a dash for None."""
    return "-" if value is None else format(value, form)
