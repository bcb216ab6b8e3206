"""Where everything lies on the chart of a pair: numbers to coordinates. The template ``_chart.html`` draws it.

Rule 1: the axis of the round trip begins at zero, and a limit that would squeeze the data is named instead of drawn.
Rule 2: a bin is a step of its own width; where a bin has no figure the line is interrupted, never bridged.
Rule 3: a state that occurred at all is seen: in the strips it gets a height of at least ``STATE_MIN``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from math import ceil, floor, log10

from leadline.judge import State, Tally
from leadline_collector.pages.pair_history import Bin
from leadline_collector.period import Period

#: The drawing's units; a style sheet scales them.
WIDTH, PLOT_TOP, PLOT_BOTTOM, LEFT, RIGHT = 1_000, 18, 278, 58, 922
AXIS_HEIGHT = 36
STRIP_LABEL, STRIP_HEIGHT, STRIP_GAP = 15, 20, 9
#: The least height of a state in a strip.
STATE_MIN = 2.5
#: A limit is drawn up to this many times the highest p95.
LIMIT_RATIO_MAX = 2.5
#: How far the axis goes beyond what is drawn.
HEADROOM = 1.04
#: The least distance between the labels of two lines.
LABEL_HEIGHT = 13
TICKS_MAX = 9
_TICK_S = (300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, *(86_400 * n for n in (2, 4, 7, 14, 28)))
#: Bottom to top: what is wrong stands on top of what is right.
_STACK = (State.GOOD, State.UNKNOWN, State.BAD, State.UNAVAILABLE)


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
class Level:
    """A line in its place, and its label."""

    y: float
    label: str
    look: str
    label_y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A place on an axis; ``below`` is the date under an hour."""

    at: float
    text: str
    below: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """The states of a profile over time, one path for each state that occurred."""

    label: str
    label_y: float
    top: float
    areas: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """The whole drawing."""

    width: float
    height: float
    #: Left, right, top and bottom of the plot.
    plot: tuple[float, float, float, float]
    #: Texts of the lines that are drawn, and of those that lie too high.
    lines: tuple[str, ...]
    above: tuple[str, ...]
    levels: tuple[Level, ...]
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    band: str
    p50: str
    p95: str
    #: Middle of each bin with an infinite p95.
    infinite: tuple[float, ...]
    strips: tuple[Strip, ...]


def chart(
    period: Period,
    bin_s: int,
    bins: Sequence[Bin],
    strips: Iterable[tuple[str, Sequence[Tally]]],
    lines: Sequence[Line],
) -> Chart:
    """The drawing; ``strips`` are labels with the tallies of each bin, ``lines`` what the round trips stand against."""
    highest_us = max((one.p95_us for one in bins if one.p95_us is not None), default=0)
    drawn = [line for line in lines if line.us <= LIMIT_RATIO_MAX * highest_us or not highest_us]
    scale = _scale(period, bin_s, max([highest_us, *(line.us for line in drawn)]))
    placed = tuple(_strips(strips, bins, scale))
    return Chart(
        width=WIDTH,
        plot=(LEFT, RIGHT, PLOT_TOP, PLOT_BOTTOM),
        lines=tuple(line.text for line in drawn),
        height=PLOT_BOTTOM + AXIS_HEIGHT + len(placed) * (STRIP_LABEL + STRIP_HEIGHT + STRIP_GAP),
        above=tuple(line.text for line in lines if line not in drawn),
        levels=tuple(_levels(drawn, scale)),
        y_ticks=tuple(_y_ticks(scale)),
        x_ticks=tuple(_x_ticks(period, scale)),
        band=_band(bins, scale),
        p50=_steps_path([(one.start_s, one.p50_us) for one in bins], scale),
        p95=_steps_path([(one.start_s, one.p95_us) for one in bins], scale),
        infinite=tuple(scale.x(one.start_s + bin_s / 2) for one in bins if one.infinite),
        strips=placed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """From seconds and microseconds to the drawing."""

    period: Period
    bin_s: int
    #: Between two ticks of the axis of the round trip, and how many there are.
    step_us: float
    steps: int

    def x(self, second: float) -> float:
        """The place of an instant; one outside of the period lies at its edge."""
        share = (second - self.period.start_s) / (self.period.end_s - self.period.start_s)
        return round(LEFT + min(1.0, max(0.0, share)) * (RIGHT - LEFT), 1)

    def y(self, us: float) -> float:
        """The place of a round trip."""
        return round(PLOT_BOTTOM - us / (self.steps * self.step_us) * (PLOT_BOTTOM - PLOT_TOP), 1)


def _scale(period: Period, bin_s: int, highest_us: float) -> _Scale:
    """An axis of four to eight round steps that ends a little above ``highest_us``."""
    top_us = HEADROOM * highest_us or 1_000
    rough_us = top_us / 6
    power: float = 10 ** floor(log10(rough_us))
    step_us = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough_us)
    return _Scale(period=period, bin_s=bin_s, step_us=step_us, steps=ceil(top_us / step_us))


def _y_ticks(scale: _Scale) -> Iterator[Tick]:
    for number in range(scale.steps + 1):
        us = number * scale.step_us
        yield Tick(at=scale.y(us), text=f"{us / 1_000:g}" + (" ms" if number == scale.steps else ""))


def _x_ticks(period: Period, scale: _Scale) -> Iterator[Tick]:
    length_s = period.end_s - period.start_s
    step_s = next((step_s for step_s in _TICK_S if length_s / step_s <= TICKS_MAX), _TICK_S[-1])
    first_s = -(-period.start_s // step_s) * step_s
    for second in range(first_s, period.end_s, step_s):
        moment = datetime.fromtimestamp(second, UTC)
        day = f"{moment.day} {moment:%b}"
        has_day = second == first_s or (moment.hour, moment.minute) == (0, 0)
        if step_s >= 86_400:
            yield Tick(at=scale.x(second), text=day)
        else:
            yield Tick(at=scale.x(second), text=f"{moment:%H:%M}", below=day if has_day else "")


def _levels(lines: Iterable[Line], scale: _Scale) -> Iterator[Level]:
    """From the top down; a label that would lie on the one above it is pushed down."""
    free_y = 0.0
    for line in sorted(lines, key=lambda line: -line.us):
        y = scale.y(line.us)
        label_y = max(y + 4, free_y)
        free_y = label_y + LABEL_HEIGHT
        yield Level(y=y, label=line.label, look=line.look, label_y=label_y)


def _runs(points: Iterable[tuple[int, int | None]]) -> Iterator[list[tuple[int, int]]]:
    """Consecutive bins that have the figure."""
    for is_known, run in groupby(points, key=lambda point: point[1] is not None):
        if is_known:
            yield [(start_s, us) for start_s, us in run if us is not None]


def _steps_path(points: Iterable[tuple[int, int | None]], scale: _Scale) -> str:
    return "".join("M" + _stairs(run, scale)[1:] for run in _runs(points))


def _stairs(run: Iterable[tuple[int, int]], scale: _Scale) -> str:
    """Lines along the bins of a run, from left to right."""
    return "".join(f"L{scale.x(start_s)} {scale.y(us)}H{scale.x(start_s + scale.bin_s)}" for start_s, us in run)


def _band(bins: Iterable[Bin], scale: _Scale) -> str:
    """The area between min and p95, for each run of bins that have a p95, and so a min."""
    lows = {one.start_s: one.min_us or 0 for one in bins}
    return "".join(_area(run, lows, scale) for run in _runs((one.start_s, one.p95_us) for one in bins))


def _area(run: list[tuple[int, int]], lows: dict[int, int], scale: _Scale) -> str:
    back = [f"L{scale.x(start_s + scale.bin_s)} {scale.y(lows[start_s])}H{scale.x(start_s)}" for start_s, _ in run]
    return f"M{_stairs(run, scale)[1:]}{''.join(reversed(back))}Z"


def _strips(strips: Iterable[tuple[str, Sequence[Tally]]], bins: Sequence[Bin], scale: _Scale) -> Iterator[Strip]:
    for number, (label, tallies) in enumerate(strips):
        label_y = PLOT_BOTTOM + AXIS_HEIGHT + STRIP_LABEL + number * (STRIP_LABEL + STRIP_HEIGHT + STRIP_GAP)
        top = label_y + 4.0
        heights = [(one.start_s, _heights(tally)) for one, tally in zip(bins, tallies, strict=True)]
        areas = ((state.value, _state_area(state, heights, top, scale)) for state in _STACK)
        yield Strip(label=label, label_y=label_y, top=top, areas=tuple(area for area in areas if area[1]))


def _heights(tally: Tally) -> dict[State, float]:
    """How high each state stands in a bin: by its share, and at least ``STATE_MIN`` if it occurred."""
    counts = {state: getattr(tally, state.value) for state in _STACK}
    total = sum(counts.values())
    high = {state: max(STATE_MIN, STRIP_HEIGHT * number / total) for state, number in counts.items() if number}
    scale = STRIP_HEIGHT / sum(high.values()) if high else 1.0
    return {state: height * scale for state, height in high.items()}


def _state_area(state: State, heights: Iterable[tuple[int, dict[State, float]]], top: float, scale: _Scale) -> str:
    """Rectangles of one state; equal neighbours are one."""
    path = ""
    spans = ((start_s, _span(state, high)) for start_s, high in heights)
    for span, run in groupby(spans, key=lambda item: item[1]):
        starts = [start_s for start_s, _ in run]
        if span:
            below, above = (round(top + STRIP_HEIGHT - edge, 1) for edge in span)
            left, right = scale.x(starts[0]), scale.x(starts[-1] + scale.bin_s)
            path += f"M{left} {below}V{above}H{right}V{below}Z"
    return path


def _span(state: State, high: dict[State, float]) -> tuple[float, float] | None:
    """From where to where a state stands in its bin, from the bottom; None if it does not occur."""
    if state not in high:
        return None
    bottom = sum(high[one] for one in _STACK[: _STACK.index(state)] if one in high)
    return round(bottom, 2), round(bottom + high[state], 2)
