"""Windows as a file: what a verdict was computed from, so that anybody can compute it again (docs/verdicts.md).

CSV below one line of JSON behind a ``#``: format, period, sites with their coordinates, and of each pair its paths and
the minutes that were marked. Numbers are the stored ones: a verdict from the file is the same to the last digit.
Empty is "none"; a minute without a row has no window.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO, TypeAlias

import msgspec
import numpy as np

from leadline.errors import ConfigError
from leadline.model import WINDOW_S, Site
from leadline.propagation import floors
from leadline_verdict.episodes import runs
from leadline_verdict.pair import PairWindows, PathWindows
from leadline_verdict.series import COLUMNS, COUNTS, NONE, IntColumn, PathSeries, empty_columns
from leadline_verdict.states import Minutes

FORMAT = "leadline windows 1"
HEADER = ("source", "destination", "agent", "target", "t", *COLUMNS)
_PLACE = 4
_DAY_S = 86_400
#: As a collector answers at most.
DAYS_MAX = 400
#: A line of the head names every path; 2,450 pairs with all their marks stay below this.
_HEAD_CHARACTERS_MAX = 64 << 20

#: [first, last) in minutes from the start.
_Span = tuple[int, int]
#: Columns of every path, by source, destination, agent and target.
_ColumnsOf: TypeAlias = dict[tuple[str, ...], dict[str, IntColumn]]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the head."""


class _Path(_Strict, frozen=True, kw_only=True):
    agent: str
    target: str
    simulated: bool


class _Pair(_Strict, frozen=True, kw_only=True):
    source: str
    destination: str
    paths: list[_Path]
    #: See ``PairWindows``.
    ambiguous: list[_Span]
    explained: list[_Span]


class _Site(_Strict, frozen=True, kw_only=True):
    name: str
    latitude_deg: float
    longitude_deg: float
    uncertainty_km: float


class _Head(_Strict, frozen=True, kw_only=True):
    format: str
    start_s: int
    end_s: int
    sites: list[_Site]
    pairs: list[_Pair]


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Pairs over one period, from a file."""

    start_s: int
    end_s: int
    pairs: tuple[PairWindows, ...]


def write(file: TextIO, pairs: Sequence[PairWindows], sites: Iterable[Site]) -> int:
    """Write at least one pair; all over one period. How many windows."""
    head = _Head(
        format=FORMAT,
        start_s=pairs[0].start_s,
        end_s=pairs[0].end_s,
        sites=[
            _Site(
                name=site.name,
                latitude_deg=site.latitude_deg,
                longitude_deg=site.longitude_deg,
                uncertainty_km=site.uncertainty_km,
            )
            for site in sites
        ],
        pairs=[_pair_head(pair) for pair in pairs],
    )
    file.write(f"# {msgspec.json.encode(head).decode()}\n")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEADER)
    total = 0
    for pair in pairs:
        for path in pair.paths:
            rows = list(_rows(pair, path))
            writer.writerows(rows)
            total += len(rows)
    return total


def _pair_head(pair: PairWindows) -> _Pair:
    return _Pair(
        source=pair.source,
        destination=pair.destination,
        paths=[_Path(agent=one.agent, target=one.target, simulated=one.series.simulated) for one in pair.paths],
        ambiguous=_spans(pair.ambiguous),
        explained=_spans(pair.explained),
    )


def _spans(minutes: Minutes) -> list[_Span]:
    found = runs(minutes, gap=0)
    return list(zip(found.starts.tolist(), found.ends.tolist(), strict=True))


def _rows(pair: PairWindows, path: PathWindows) -> Iterator[tuple[object, ...]]:
    series = path.series
    present = np.flatnonzero(series.expected)
    times = series.start_s + WINDOW_S * present
    columns = [series.column(name)[present].tolist() for name in COLUMNS]
    place = (pair.source, pair.destination, path.agent, path.target)
    for t, *values in zip(times.tolist(), *columns, strict=True):
        yield (*place, t, *("" if value == NONE else value for value in values))


def read(file: TextIO) -> Windows:
    """The pairs of a file; ConfigError with the line where it is none."""
    try:
        return _read(file)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError("file", f"it is no file of `leadline verdict --export`: {error}") from error


def _read(file: TextIO) -> Windows:
    head = _head(file)
    minutes = (head.end_s - head.start_s) // WINDOW_S
    columns: _ColumnsOf = {
        (pair.source, pair.destination, path.agent, path.target): empty_columns(minutes)
        for pair in head.pairs
        for path in pair.paths
    }
    reader = csv.reader(file)
    if tuple(next(reader, ())) != HEADER:
        raise _wrong(2, f"the columns are not {','.join(HEADER)}")
    for number, row in enumerate(reader, 3):
        _take(columns, head, number, row)
    sites = {site.name: Site(**msgspec.structs.asdict(site)) for site in head.sites}
    return Windows(
        start_s=head.start_s,
        end_s=head.end_s,
        pairs=tuple(_pair(head, pair, columns, sites, minutes) for pair in head.pairs),
    )


def _head(file: TextIO) -> _Head:
    line = file.readline(_HEAD_CHARACTERS_MAX)
    if not line.startswith("# {"):
        raise _wrong(1, f"it is no file of `leadline verdict --export`: it begins with {line[:40]!r}")
    try:
        head = msgspec.json.decode(line[2:], type=_Head)
    except msgspec.MsgspecError as error:
        raise _wrong(1, str(error)) from error
    if head.format != FORMAT:
        raise _wrong(1, f"the format is {head.format!r}; this version reads {FORMAT!r}")
    if head.start_s % _DAY_S or head.end_s % _DAY_S or not 0 <= head.start_s < head.end_s:
        raise _wrong(1, f"{head.start_s} to {head.end_s} is no period of whole UTC days")
    if head.end_s - head.start_s > DAYS_MAX * _DAY_S:
        raise _wrong(1, f"{head.start_s} to {head.end_s} is more than {DAYS_MAX} days")
    return head


def _take(columns: _ColumnsOf, head: _Head, number: int, row: Sequence[str]) -> None:
    if len(row) != len(HEADER):
        raise _wrong(number, f"{len(row)} fields instead of {len(HEADER)}")
    found = columns.get(tuple(row[:_PLACE]))
    if found is None:
        raise _wrong(number, f"{' '.join(row[:_PLACE])} is no path of the head")
    try:
        t, *values = (NONE if not text else int(text) for text in row[_PLACE:])
    except ValueError as error:
        raise _wrong(number, str(error)) from error
    if t % WINDOW_S or not head.start_s <= t < head.end_s:
        raise _wrong(number, f"{t} is no minute of the period")
    minute = (t - head.start_s) // WINDOW_S
    if found["expected"][minute]:
        raise _wrong(number, f"the window at {t} is there twice")
    for name, value in zip(COLUMNS, values, strict=True):
        if value < (0 if name in COUNTS else NONE) or value >= 2**31:
            raise _wrong(number, f"{name} cannot be {value}")
        found[name][minute] = value


def _pair(
    head: _Head,
    pair: _Pair,
    columns: _ColumnsOf,
    sites: dict[str, Site],
    minutes: int,
) -> PairWindows:
    ends = (sites.get(pair.source), sites.get(pair.destination))
    return PairWindows(
        source=pair.source,
        destination=pair.destination,
        start_s=head.start_s,
        minutes=minutes,
        paths=tuple(
            PathWindows(
                agent=path.agent,
                target=path.target,
                series=PathSeries.of(
                    head.start_s,
                    columns[pair.source, pair.destination, path.agent, path.target],
                    simulated=path.simulated,
                ),
            )
            for path in pair.paths
        ),
        floors=None if ends[0] is None or ends[1] is None else floors(ends[0], ends[1]),
        ambiguous=_marked(pair.ambiguous, minutes),
        explained=_marked(pair.explained, minutes),
    )


def _marked(spans: Iterable[_Span], minutes: int) -> Minutes:
    marked = np.zeros(minutes, dtype=np.bool_)
    for first, last in spans:
        marked[first:last] = True
    return marked


def _wrong(line: int, problem: str) -> ConfigError:
    return ConfigError(f"line {line}", problem)
