"""The arithmetic of the benchmark: reported RTTs beside true ones, and what is concluded. Pure."""

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
#: Where the goals for the error's bound and the CPU are set.
GOAL_TARGETS = 1_000


class BenchError(Exception):
    """Nothing can be said about a tool: it failed, or its report and the truth log speak of different probes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthComparison:
    """What one run of a tool is worth."""

    #: Requests the emulator saw.
    sent: int
    #: |reported - true| RTT of every probe with both, smallest first.
    errors_ns: tuple[int, ...]
    #: Called lost by the tool although the reply was released within the timeout.
    false_losses: int
    #: Called not measured by the tool, or never sent at all.
    void: int
    #: Probes whose RTT the tool gave in a way that does not say which is which; counted, not compared.
    unplaced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """A tool at one number of targets: one run, or the medians of several (counts are sums then)."""

    tool: Tool
    targets: int
    sent: int
    false_losses: int
    void: int
    unplaced: int
    #: Nanoseconds; None without a single comparable probe.
    p50_ns: float | None
    p99_ns: float | None
    max_ns: float | None
    #: User and system seconds per 10,000 probes sent: of the measuring, and with the start of the process.
    cpu_s_per_10k: float
    cpu_whole_s_per_10k: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineGoal:
    """What the engine is to reach; ``met`` None where it was not measured."""

    text: str
    figure: str
    met: bool | None


def compute_true_rtts(log: Iterable[FrameRecord]) -> dict[str, list[int | None]]:
    """The true RTT of every echo, nanoseconds, per target in order of sending; None where no reply left.

    Request and reply belong together by target, identifier and sequence number: other tools put no index into their
    payload. A sequence number that comes again belongs to the newest request.
    """
    trips: dict[str, list[int | None]] = {}
    out: dict[tuple[str | None, int | None, int | None], tuple[list[int | None], int, int]] = {}
    for frame in sorted(log, key=lambda frame: frame.arrived_mono_ns):
        if frame.action is not FrameAction.PASS:
            continue
        if frame.is_request and frame.dst is not None:
            target = trips.setdefault(frame.dst, [])
            out[frame.dst, frame.icmp_id, frame.icmp_sequence] = (target, len(target), frame.arrived_mono_ns)
            target.append(None)
        elif frame.is_reply and (found := out.pop((frame.src, frame.icmp_id, frame.icmp_sequence), None)):
            target, position, arrived_ns = found
            target[position] = None if frame.released_mono_ns is None else frame.released_mono_ns - arrived_ns
    return trips


def compare_with_truth(report: ToolReport, trips: dict[str, list[int | None]], timeout_ns: int) -> TruthComparison:
    """Match a report with the truth, the n-th probe to a target with the n-th. BenchError if that cannot be."""
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
    """The figures of one run, which sent at least one probe."""
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
    """The median of every figure over several runs of one tool at one size; counts are added up."""
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
    known = [value for value in values if value is not None]
    return median(known) if known else None


def evaluate_goals(rows: Iterable[ToolResult], rate: int | None) -> list[EngineGoal]:
    """Every goal of the engine with its figure. ``rows`` has one per tool and size; ``rate`` None: not searched."""
    found = {(row.tool, row.targets): row for row in rows}
    sizes = sorted({targets for _, targets in found})
    return [
        *(_compare_with_fping(targets, _select_pair(found, targets)) for targets in sizes),
        _evaluate_error_bound(found.get((Tool.LEADLINE, GOAL_TARGETS))),
        _evaluate_cpu(_select_pair(found, GOAL_TARGETS)),
        EngineGoal(
            text=f"at least {RATE_MIN:,} probes/s in one process, none lost",
            figure="not measured" if rate is None else f"{rate:,}/s",
            met=None if rate is None else rate >= RATE_MIN,
        ),
    ]


def _select_pair(
    found: dict[tuple[Tool, int], ToolResult], targets: int
) -> tuple[ToolResult | None, ToolResult | None]:
    return found.get((Tool.LEADLINE, targets)), found.get((Tool.FPING, targets))


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
    """Nanoseconds as microseconds, the way a table shows them."""
    return format_number(None if ns is None else ns / 1_000, ",.1f")


def format_number(value: float | None, form: str) -> str:
    """A number in a table; a dash where there is none."""
    return "-" if value is None else format(value, form)
