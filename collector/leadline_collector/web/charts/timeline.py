"""Round trips over time: p50, p95 and maximum of steps of a period, the limits they stand against, and the states.

Rule 1: the axis of the round trip begins at zero, and a limit that would squeeze the data is named instead of drawn.
Rule 2: a step is as wide as it lasts; where a step has no figure the line is interrupted, never bridged.
Rule 3: a state that occurred at all is seen: in the strip it gets a share of at least ``SHARE_MIN``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from leadline.evaluation import WindowState
from leadline_collector.web.charts.spec_templates import DataRow, Spec, bind_data
from leadline_collector.web.charts.timeline_spec import CHART_HEIGHT, build_spec

#: A limit is drawn up to this many times the highest p95, and a maximum clipped above the axis.
LIMIT_RATIO_MAX = 2.5
#: How far the axis goes beyond the highest p95 and the highest line.
HEADROOM = 1.06
#: The least share of a step's height that a state gets.
STATE_SHARE_MIN = 0.18
#: The least distance between the labels of two lines, as a share of the axis.
_LABEL_SPACING = 14 / CHART_HEIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeBucket:
    """Consecutive windows of a pair; microseconds, None where no window has the figure."""

    start_s: int
    end_s: int
    #: The lowest of all replies.
    min_us: int | None
    #: The median of the windows' p50; of several paths the worst counts.
    p50_us: int | None
    #: The highest of the windows' p95 that are finite.
    p95_us: int | None
    #: The longest of all replies.
    max_us: int | None
    #: Windows whose p95 is infinite: of 60 probes, more than 3 had no reply.
    infinite_count: int
    #: Windows in each state, as measured.
    state_counts: Mapping[WindowState, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceLine:
    """A level that does not change over the period."""

    rtt_us: float
    #: What stands beside the line, about ten characters.
    label: str
    #: What stands below the drawing.
    description: str
    #: "limit" or "floor".
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineChart:
    """A chart, and what it could not show."""

    spec: Spec
    #: Lines that lie too high to be drawn.
    omitted_lines: tuple[ReferenceLine, ...]
    #: The longest round trip where it lies above the axis; None if all are below.
    clipped_max_us: int | None


def find_highest_p95_us(buckets: Iterable[TimeBucket]) -> int:
    """The highest finite p95 in microseconds: what the axis is made for; 0 without one."""
    return max((step.p95_us for step in buckets if step.p95_us is not None), default=0)


def build_timeline_chart(
    buckets: Sequence[TimeBucket], lines: Sequence[ReferenceLine], description: str, highest_p95_us: int | None = None
) -> TimelineChart:
    """The chart of one direction; at least one step. Charts with the same ``highest_us`` have the same axis."""
    highest_p95_us = find_highest_p95_us(buckets) if highest_p95_us is None else highest_p95_us
    shown = [line for line in lines if not highest_p95_us or line.rtt_us <= LIMIT_RATIO_MAX * highest_p95_us]
    top_us = HEADROOM * max([highest_p95_us, *(line.rtt_us for line in shown)]) or 1_000
    longest_us = max((step.max_us for step in buckets if step.max_us is not None), default=0)
    data: dict[str, Sequence[DataRow]] = {
        "steps": list(_build_curve_rows(buckets)),
        "tips": [_to_tooltip_row(step) for step in buckets],
        "lines": list(_build_line_rows(shown, top_us)),
        "infinite": [{"t": (step.start_s + step.end_s) * 500} for step in buckets if step.infinite_count],
        "strip": list(_build_strip_rows(buckets)),
    }
    values = {"top": top_us / 1_000, "first": buckets[0].start_s * 1_000, "last": buckets[-1].end_s * 1_000}
    return TimelineChart(
        spec=bind_data(build_spec(), data, values, description),
        omitted_lines=tuple(line for line in lines if line not in shown),
        clipped_max_us=longest_us if longest_us > top_us else None,
    )


def _to_ms(us: int | None) -> float | None:
    return None if us is None else us / 1_000


def _build_curve_rows(buckets: Sequence[TimeBucket]) -> Iterator[DataRow]:
    """The corners of the staircase: each run of steps that have a p50 ends where its last step does, and is broken."""
    for is_known, run in groupby(buckets, key=lambda step: step.p50_us is not None):
        found = list(run)
        if is_known:
            yield from (_to_curve_row(step.start_s, step) for step in found)
            yield _to_curve_row(found[-1].end_s, found[-1])
        yield {"t": found[-1].end_s * 1_000, "p50": None, "p95": None, "max": None}


def _to_curve_row(at_s: int, bucket: TimeBucket) -> DataRow:
    # Where some of a step's windows have an infinite p95, the finite ones still say how slow the answers were.
    p95_us = bucket.p50_us if bucket.p95_us is None else bucket.p95_us
    return {"t": at_s * 1_000, "p50": _to_ms(bucket.p50_us), "p95": _to_ms(p95_us), "max": _to_ms(bucket.max_us)}


def _to_tooltip_row(bucket: TimeBucket) -> DataRow:
    return {"t": bucket.start_s * 1_000, "u": bucket.end_s * 1_000, "tip": _format_tooltip(bucket)}


def _format_tooltip(bucket: TimeBucket) -> str:
    """What the pointer reads, line by line; charts.js puts the times above it."""
    figures = (("min", bucket.min_us), ("p50", bucket.p50_us), ("p95", bucket.p95_us), ("max", bucket.max_us))
    trips = " · ".join(f"{name} {us / 1_000:.3f}" for name, us in figures if us is not None)
    states = ", ".join(f"{count:,} {state.value}" for state, count in bucket.state_counts.items() if count)
    infinite = f"\n{bucket.infinite_count:,} with infinite p95" if bucket.infinite_count else ""
    return (f"{trips} ms" if trips else "no reply") + f"\n{states}{infinite}"


def _build_line_rows(lines: Iterable[ReferenceLine], top_us: float) -> Iterator[DataRow]:
    """From the top down; a label that would lie on the one above it is pushed down."""
    free_us = top_us
    for line in sorted(lines, key=lambda line: -line.rtt_us):
        label_us = min(line.rtt_us, free_us)
        free_us = label_us - _LABEL_SPACING * top_us
        yield {"y": line.rtt_us / 1_000, "at": label_us / 1_000, "label": line.label, "look": line.kind}


#: Bottom to top: what is wrong stands on top of what is right.
_STACKING_ORDER = (WindowState.GOOD, WindowState.UNKNOWN, WindowState.BAD, WindowState.UNAVAILABLE)


def _build_strip_rows(buckets: Sequence[TimeBucket]) -> Iterator[DataRow]:
    """The states of each step by their share, equal neighbours joined."""
    for shares, run in groupby(buckets, key=_compute_shares):
        found = list(run)
        low = 0.0
        for state, share in shares:
            ends = {"t": found[0].start_s * 1_000, "u": found[-1].end_s * 1_000}
            yield {**ends, "a": round(low, 3), "b": round(low + share, 3), "s": state}
            low += share


def _compute_shares(bucket: TimeBucket) -> tuple[tuple[str, float], ...]:
    total = sum(bucket.state_counts.values())
    high = {
        state: max(STATE_SHARE_MIN, count / total)
        for state in _STACKING_ORDER
        if (count := bucket.state_counts.get(state, 0))
    }
    scale = sum(high.values())
    return tuple((state.value, share / scale) for state, share in high.items())
