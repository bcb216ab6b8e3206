"""Timeline chart: p50, p95 and maximum RTT per time bucket, with limits, a strip of states and a lane per cause.

Rule 1: the RTT axis starts at zero. A limit that would compress the data is listed as text instead of drawn.
Rule 2: the width of a bucket is its duration. A bucket without a value interrupts the line.
Rule 3: every state that occurs is visible: it gets at least ``STATE_SHARE_MIN`` of the strip's height.
Rule 4: a lane marks the buckets with a minute that its cause put out of limit. Position and name identify the lane, so
the colour is not needed. Minutes out of limit by losses and late replies together are in both lanes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from leadline.evaluation import WindowCause, WindowState
from leadline_collector.web.charts.spec_templates import DataRow, Spec, bind_data
from leadline_collector.web.charts.timeline_spec import CAUSES_BY_LANE, CHART_HEIGHT, build_spec
from leadline_collector.web.formatting import format_cause_counts

#: A limit is drawn up to this multiple of the highest p95.
LIMIT_RATIO_MAX = 2.5
#: Length of the axis relative to the highest p95 or line.
HEADROOM = 1.06
#: Minimum share of the strip's height for a state that occurs.
STATE_SHARE_MIN = 0.18
#: Minimum distance between the labels of two lines, as a share of the axis.
_LABEL_SPACING = 14 / CHART_HEIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeBucket:
    """Summary of consecutive windows of a pair, in microseconds; None if no window has the value."""

    start_s: int
    end_s: int
    #: The lowest RTT.
    min_us: int | None
    #: The median of the windows' p50; with several paths, of the worst path.
    p50_us: int | None
    #: The highest finite p95 of a window.
    p95_us: int | None
    #: The highest RTT.
    max_us: int | None
    #: Windows with an infinite p95: more than 3 of 60 probes without a reply.
    infinite_count: int
    #: Windows per state, as measured.
    state_counts: Mapping[WindowState, int]
    #: Bad and unavailable windows by cause.
    cause_counts: Mapping[WindowCause, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceLine:
    """Horizontal line at a constant RTT."""

    rtt_us: float
    #: Text beside the line, about ten characters.
    label: str
    #: Text below the chart.
    description: str
    #: "limit" or "floor".
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineChart:
    """Chart with the values that are outside of it."""

    spec: Spec
    #: Lines too far above the data to be drawn.
    omitted_lines: tuple[ReferenceLine, ...]
    #: The highest RTT if it is above the axis, else None.
    clipped_max_us: int | None


def find_highest_p95_us(buckets: Iterable[TimeBucket]) -> int:
    """Return the highest finite p95 in microseconds, which determines the axis; 0 without a finite p95."""
    return max((bucket.p95_us for bucket in buckets if bucket.p95_us is not None), default=0)


def build_timeline_chart(
    buckets: Sequence[TimeBucket], lines: Sequence[ReferenceLine], description: str, highest_p95_us: int | None = None
) -> TimelineChart:
    """Build the chart of one direction; at least one bucket.

    Two charts with the same ``highest_p95_us`` and lines have the same axis.
    """
    highest_p95_us = find_highest_p95_us(buckets) if highest_p95_us is None else highest_p95_us
    drawn_lines = [line for line in lines if not highest_p95_us or line.rtt_us <= LIMIT_RATIO_MAX * highest_p95_us]
    top_us = HEADROOM * max([highest_p95_us, *(line.rtt_us for line in drawn_lines)]) or 1_000
    max_us = max((bucket.max_us for bucket in buckets if bucket.max_us is not None), default=0)
    data: dict[str, Sequence[DataRow]] = {
        "steps": list(_build_curve_rows(buckets)),
        "tips": [
            {"t": bucket.start_s * 1_000, "u": bucket.end_s * 1_000, "tip": _format_tooltip(bucket)}
            for bucket in buckets
        ],
        "lines": list(_build_line_rows(drawn_lines, top_us)),
        "infinite": [{"t": (bucket.start_s + bucket.end_s) * 500} for bucket in buckets if bucket.infinite_count],
        "strip": list(_build_strip_rows(buckets)),
        "lanes": [{"c": lane} for lane in CAUSES_BY_LANE],
        "causes": list(_build_cause_rows(buckets)),
    }
    param_values = {"top": top_us / 1_000, "first": buckets[0].start_s * 1_000, "last": buckets[-1].end_s * 1_000}
    return TimelineChart(
        spec=bind_data(build_spec(), data, param_values, description),
        omitted_lines=tuple(line for line in lines if line not in drawn_lines),
        clipped_max_us=max_us if max_us > top_us else None,
    )


def _to_ms(us: int | None) -> float | None:
    return None if us is None else us / 1_000


def _build_curve_rows(buckets: Sequence[TimeBucket]) -> Iterator[DataRow]:
    """Yield the points of the step curve. Each run of buckets with a p50 ends with a row of nulls, a break."""
    for has_p50, group in groupby(buckets, key=lambda bucket: bucket.p50_us is not None):
        run = list(group)
        if has_p50:
            yield from (_to_curve_row(bucket.start_s, bucket) for bucket in run)
            yield _to_curve_row(run[-1].end_s, run[-1])
        yield {"t": run[-1].end_s * 1_000, "p50": None, "p95": None, "max": None}


def _to_curve_row(at_s: int, bucket: TimeBucket) -> DataRow:
    # Without a finite p95, the p50 is a lower bound.
    p95_us = bucket.p50_us if bucket.p95_us is None else bucket.p95_us
    return {"t": at_s * 1_000, "p50": _to_ms(bucket.p50_us), "p95": _to_ms(p95_us), "max": _to_ms(bucket.max_us)}


def _format_tooltip(bucket: TimeBucket) -> str:
    """Return the tooltip text, one line per topic; charts.js adds the times above it."""
    statistics = (("min", bucket.min_us), ("p50", bucket.p50_us), ("p95", bucket.p95_us), ("max", bucket.max_us))
    rtts = " · ".join(f"{name} {us / 1_000:.3f}" for name, us in statistics if us is not None)
    states = ", ".join(f"{count:,} {state.value}" for state, count in bucket.state_counts.items() if count)
    causes = format_cause_counts(bucket.cause_counts)
    infinite = f"\n{bucket.infinite_count:,} with infinite p95" if bucket.infinite_count else ""
    return (f"{rtts} ms" if rtts else "no reply") + f"\n{states}" + (f"\ncause: {causes}" if causes else "") + infinite


def _build_line_rows(lines: Iterable[ReferenceLine], top_us: float) -> Iterator[DataRow]:
    """Yield the lines from top to bottom; a label that would overlap the one above it moves down."""
    label_max_us = top_us
    for line in sorted(lines, key=lambda line: -line.rtt_us):
        label_us = min(line.rtt_us, label_max_us)
        label_max_us = label_us - _LABEL_SPACING * top_us
        yield {"y": line.rtt_us / 1_000, "at": label_us / 1_000, "label": line.label, "look": line.kind}


#: Order of the states in the strip, bottom to top: bad states are on top of good ones.
_STACKING_ORDER = (WindowState.GOOD, WindowState.UNKNOWN, WindowState.BAD, WindowState.UNAVAILABLE)


def _build_strip_rows(buckets: Sequence[TimeBucket]) -> Iterator[DataRow]:
    """Yield the states of each bucket, stacked by share; adjacent buckets with equal shares are joined."""
    for shares, group in groupby(buckets, key=_compute_shares):
        run = list(group)
        bottom = 0.0
        for state, share in shares:
            ends = {"t": run[0].start_s * 1_000, "u": run[-1].end_s * 1_000}
            yield {**ends, "a": round(bottom, 3), "b": round(bottom + share, 3), "s": state}
            bottom += share


def _build_cause_rows(buckets: Sequence[TimeBucket]) -> Iterator[DataRow]:
    """Yield the marked parts of each lane; adjacent buckets are joined."""
    for lane, causes in CAUSES_BY_LANE.items():
        for is_marked, group in groupby(buckets, key=lambda bucket: _has_cause(bucket, causes)):
            run = list(group)
            if is_marked:
                yield {"t": run[0].start_s * 1_000, "u": run[-1].end_s * 1_000, "c": lane}


def _has_cause(bucket: TimeBucket, causes: Iterable[WindowCause]) -> bool:
    return any(bucket.cause_counts.get(cause) for cause in causes)


def _compute_shares(bucket: TimeBucket) -> tuple[tuple[str, float], ...]:
    total = sum(bucket.state_counts.values())
    heights = {
        state: max(STATE_SHARE_MIN, count / total)
        for state in _STACKING_ORDER
        if (count := bucket.state_counts.get(state, 0))
    }
    total_height = sum(heights.values())
    return tuple((state.value, height / total_height) for state, height in heights.items())
