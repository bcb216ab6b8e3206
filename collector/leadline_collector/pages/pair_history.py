"""A directed pair over a period: every window judged by several profiles, and added up in bins for a chart.

The judgement is ``judging.Judge``'s, window by window, as in the matrix; a test compares the two.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from statistics import median_low
from typing import Any

from leadline.judge import Judged, State, Tally, WindowJudgement, tally
from leadline.model import WINDOW_S, Pair
from leadline_collector.judging import Facts, Judge
from leadline_collector.matrix import RECENT_WINDOWS
from leadline_collector.paths import paths_by_pair
from leadline_collector.period import Period
from leadline_collector.store import PathSummary, Reader

#: Bins in a chart: a screen has no more columns to show them in.
BINS_MAX = 400
#: Minutes in a bin: divisors of a day, so that bins begin at hours and at midnight UTC.
_BIN_MINUTES = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120, 180, 240, 360, 720, 1_440)

#: A row as it is read: t, min_us, p50_us, p95_us, sent, then what the judges ask for.
_Row = tuple[Any, ...]
_COLUMNS = ("t", "min_us", "p50_us", "p95_us", "sent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Consecutive windows of a pair; microseconds, None where no window has the figure."""

    start_s: int
    #: The lowest of all replies.
    min_us: int | None
    #: The median of the windows' p50; of several paths the worst counts.
    p50_us: int | None
    #: The highest of the windows' p95 that are finite.
    p95_us: int | None
    #: Windows whose p95 is infinite: of 60 probes, more than 3 had no reply.
    infinite: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgements:
    """A pair judged by one profile."""

    #: Of the latest window, as measured; unknown if it is older than the matrix accepts.
    state: State
    pessimistic: Tally
    optimistic: Tally
    #: As measured, for each bin of the period.
    bins: tuple[Tally, ...]
    #: As measured, by start of the window; windows without a row are left out.
    states: dict[int, State]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A pair over a period."""

    bin_s: int
    #: Every bin of the period, also those without a window.
    bins: tuple[Bin, ...]
    judgements: tuple[Judgements, ...]
    min_us: int | None
    simulated: bool
    #: Some of the windows came out of files.
    imported: bool
    #: Paths with windows in the period.
    paths: int
    #: Starts of the windows that have a row, oldest first.
    times: Sequence[int]


def history(reader: Reader, pair: Pair, period: Period, profiles: Sequence[Judged]) -> History:
    """The windows of the pair in the period; ``judgements`` are in the order of ``profiles``."""
    found = (reader.path_summary(path, period.start_s, period.end_s) for path in paths_by_pair(reader).get(pair, ()))
    summaries = [summary for summary in found if summary is not None]
    judges = [Judge(judged) for judged in profiles]
    columns = (*_COLUMNS, *sorted({name for one in judges for name in one.columns} - set(_COLUMNS)))
    minutes = _minutes(reader, summaries, columns, period)
    bin_s = bin_length_s(period)
    return History(
        bin_s=bin_s,
        bins=tuple(_bins(minutes, period, bin_s)),
        judgements=tuple(_judgements(one, columns, minutes, period, bin_s) for one in judges),
        min_us=min((one.min_us for one in summaries if one.min_us is not None), default=None),
        simulated=any(one.simulated for one in summaries),
        imported=any(one.path.imported for one in summaries),
        paths=len(summaries),
        times=list(minutes),
    )


def bin_length_s(period: Period) -> int:
    """The shortest bin of which the period has at most ``BINS_MAX``, and one that is cut at each end."""
    minutes = next((one for one in _BIN_MINUTES if period.windows <= one * BINS_MAX), _BIN_MINUTES[-1])
    return minutes * WINDOW_S


def _minutes(
    reader: Reader, summaries: Sequence[PathSummary], columns: Sequence[str], period: Period
) -> dict[int, list[_Row]]:
    """The rows of each minute, oldest first."""
    rows: defaultdict[int, list[_Row]] = defaultdict(list)
    for summary in summaries:
        for row in reader.path_windows(summary.path, columns, period.start_s, period.end_s):
            rows[row[0]].append(row)
    return {t: rows[t] for t in sorted(rows)}


def _bin_starts(period: Period, bin_s: int) -> range:
    return range(period.start_s // bin_s * bin_s, period.end_s, bin_s)


def _bins(minutes: dict[int, list[_Row]], period: Period, bin_s: int) -> list[Bin]:
    by_bin: defaultdict[int, list[list[_Row]]] = defaultdict(list)
    for t, rows in minutes.items():
        by_bin[t // bin_s * bin_s].append(rows)
    return [_bin(start_s, by_bin[start_s]) for start_s in _bin_starts(period, bin_s)]


def _bin(start_s: int, minutes: list[list[_Row]]) -> Bin:
    rows = [row for paths in minutes for row in paths]
    middles = [max(known) for paths in minutes if (known := [row[2] for row in paths if row[2] is not None])]
    return Bin(
        start_s=start_s,
        min_us=min((row[1] for row in rows if row[1] is not None), default=None),
        p50_us=median_low(middles) if middles else None,
        p95_us=max((row[3] for row in rows if row[3] is not None), default=None),
        infinite=sum(any(row[3] is None and row[4] for row in paths) for paths in minutes),
    )


def _judgements(
    one: Judge, columns: Sequence[str], minutes: dict[int, list[_Row]], period: Period, bin_s: int
) -> Judgements:
    facts: Callable[[_Row], Facts] = itemgetter(*(columns.index(name) for name in one.columns))
    readings: dict[int, WindowJudgement] = {t: one.merged([facts(row) for row in rows]) for t, rows in minutes.items()}
    states = {t: reading.pessimistic for t, reading in readings.items()}
    latest_t = next(reversed(states), 0)
    is_recent = latest_t >= period.end_s - RECENT_WINDOWS * WINDOW_S
    return Judgements(
        state=states[latest_t] if states and is_recent else State.UNKNOWN,
        pessimistic=tally(states.values(), windows=period.windows),
        optimistic=tally((reading.optimistic for reading in readings.values()), windows=period.windows),
        bins=tuple(_tallies(states, period, bin_s)),
        states=states,
    )


def _tallies(states: dict[int, State], period: Period, bin_s: int) -> list[Tally]:
    counts: defaultdict[int, Counter[State]] = defaultdict(Counter)
    for t, state in states.items():
        counts[t // bin_s * bin_s][state] += 1
    return [
        tally(counts[start_s].elements(), windows=_windows_in(period, start_s, start_s + bin_s))
        for start_s in _bin_starts(period, bin_s)
    ]


def _windows_in(period: Period, start_s: int, end_s: int) -> int:
    """How many windows of the period lie in [start_s, end_s)."""
    return (min(end_s, period.end_s) - max(start_s, period.start_s)) // WINDOW_S
