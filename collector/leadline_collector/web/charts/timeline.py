"""Round trips over time: p50, p95 and maximum of steps of a period, the limits they stand against, and the states.

Rule 1: the axis of the round trip begins at zero, and a limit that would squeeze the data is named instead of drawn.
Rule 2: a step is as wide as it lasts; where a step has no figure the line is interrupted, never bridged.
Rule 3: a state that occurred at all is seen: in the strip it gets a share of at least ``SHARE_MIN``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from leadline.evaluation import State
from leadline_collector.web.charts.spec_templates import Row, Spec, filled
from leadline_collector.web.charts.timeline_spec import HEIGHT, drawing

#: A limit is drawn up to this many times the highest p95, and a maximum clipped above the axis.
LIMIT_RATIO_MAX = 2.5
#: How far the axis goes beyond the highest p95 and the highest line.
HEADROOM = 1.06
#: The least share of a step's height that a state gets.
SHARE_MIN = 0.18
#: The least distance between the labels of two lines, as a share of the axis.
_LABEL_SHARE = 14 / HEIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
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
    infinite: int
    #: Windows in each state, as measured.
    states: Mapping[State, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A level that does not change over the period."""

    us: float
    #: What stands beside the line, about ten characters.
    label: str
    #: What stands below the drawing.
    text: str
    #: "limit" or "floor".
    look: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A chart, and what it could not show."""

    spec: Spec
    #: Lines that lie too high to be drawn.
    above: tuple[Line, ...]
    #: The longest round trip where it lies above the axis; None if all are below.
    clipped_us: int | None


def highest(steps: Iterable[Step]) -> int:
    """The highest finite p95 in microseconds: what the axis is made for; 0 without one."""
    return max((step.p95_us for step in steps if step.p95_us is not None), default=0)


def timeline(steps: Sequence[Step], lines: Sequence[Line], text: str, highest_us: int | None = None) -> Drawn:
    """The chart of one direction; at least one step. Charts with the same ``highest_us`` have the same axis."""
    highest_us = highest(steps) if highest_us is None else highest_us
    shown = [line for line in lines if not highest_us or line.us <= LIMIT_RATIO_MAX * highest_us]
    top_us = HEADROOM * max([highest_us, *(line.us for line in shown)]) or 1_000
    longest_us = max((step.max_us for step in steps if step.max_us is not None), default=0)
    data: dict[str, Sequence[Row]] = {
        "steps": list(_path(steps)),
        "tips": [_tip(step) for step in steps],
        "lines": list(_levels(shown, top_us)),
        "infinite": [{"t": (step.start_s + step.end_s) * 500} for step in steps if step.infinite],
        "strip": list(_strip(steps)),
    }
    values = {"top": top_us / 1_000, "first": steps[0].start_s * 1_000, "last": steps[-1].end_s * 1_000}
    return Drawn(
        spec=filled(drawing(), data, values, text),
        above=tuple(line for line in lines if line not in shown),
        clipped_us=longest_us if longest_us > top_us else None,
    )


def _ms(us: int | None) -> float | None:
    return None if us is None else us / 1_000


def _path(steps: Sequence[Step]) -> Iterator[Row]:
    """The corners of the staircase: each run of steps that have a p50 ends where its last step does, and is broken."""
    for is_known, run in groupby(steps, key=lambda step: step.p50_us is not None):
        found = list(run)
        if is_known:
            yield from (_corner(step.start_s, step) for step in found)
            yield _corner(found[-1].end_s, found[-1])
        yield {"t": found[-1].end_s * 1_000, "p50": None, "p95": None, "max": None}


def _corner(at_s: int, step: Step) -> Row:
    # Where some of a step's windows have an infinite p95, the finite ones still say how slow the answers were.
    p95_us = step.p50_us if step.p95_us is None else step.p95_us
    return {"t": at_s * 1_000, "p50": _ms(step.p50_us), "p95": _ms(p95_us), "max": _ms(step.max_us)}


def _tip(step: Step) -> Row:
    return {"t": step.start_s * 1_000, "u": step.end_s * 1_000, "tip": _words(step)}


def _words(step: Step) -> str:
    """What the pointer reads, line by line; charts.js puts the times above it."""
    figures = (("min", step.min_us), ("p50", step.p50_us), ("p95", step.p95_us), ("max", step.max_us))
    trips = " · ".join(f"{name} {us / 1_000:.3f}" for name, us in figures if us is not None)
    states = ", ".join(f"{count:,} {state.value}" for state, count in step.states.items() if count)
    infinite = f"\n{step.infinite:,} with infinite p95" if step.infinite else ""
    return (f"{trips} ms" if trips else "no reply") + f"\n{states}{infinite}"


def _levels(lines: Iterable[Line], top_us: float) -> Iterator[Row]:
    """From the top down; a label that would lie on the one above it is pushed down."""
    free_us = top_us
    for line in sorted(lines, key=lambda line: -line.us):
        label_us = min(line.us, free_us)
        free_us = label_us - _LABEL_SHARE * top_us
        yield {"y": line.us / 1_000, "at": label_us / 1_000, "label": line.label, "look": line.look}


#: Bottom to top: what is wrong stands on top of what is right.
_STACK = (State.GOOD, State.UNKNOWN, State.BAD, State.UNAVAILABLE)


def _strip(steps: Sequence[Step]) -> Iterator[Row]:
    """The states of each step by their share, equal neighbours joined."""
    for shares, run in groupby(steps, key=_shares):
        found = list(run)
        low = 0.0
        for state, share in shares:
            ends = {"t": found[0].start_s * 1_000, "u": found[-1].end_s * 1_000}
            yield {**ends, "a": round(low, 3), "b": round(low + share, 3), "s": state}
            low += share


def _shares(step: Step) -> tuple[tuple[str, float], ...]:
    total = sum(step.states.values())
    high = {state: max(SHARE_MIN, count / total) for state in _STACK if (count := step.states.get(state, 0))}
    scale = sum(high.values())
    return tuple((state.value, share / scale) for state, share in high.items())
