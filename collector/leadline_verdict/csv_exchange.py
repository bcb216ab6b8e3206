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
from leadline.propagation import compute_propagation_delay
from leadline_verdict.episodes import find_runs
from leadline_verdict.pair import PairWindows, PathWindows
from leadline_verdict.series import COLUMNS, COUNT_FIELDS, MISSING, IntColumn, PathSeries, make_empty_columns
from leadline_verdict.states import MinuteMask

FILE_FORMAT = "leadline windows 1"
COLUMN_HEADER = ("source", "destination", "agent", "target", "t", *COLUMNS)
_KEY_COLUMN_COUNT = 4
_DAY_S = 86_400
#: As a collector answers at most.
DAYS_MAX = 400
#: A line of the head names every path; 2,450 pairs with all their marks stay below this.
_HEADER_CHARACTERS_MAX = 64 << 20

#: [first, last) in minutes from the start.
_MinuteRange = tuple[int, int]
#: Columns of every path, by source, destination, agent and target.
_ColumnsByPath: TypeAlias = dict[tuple[str, ...], dict[str, IntColumn]]


class _HeaderStruct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the head."""


class _PathHeader(_HeaderStruct, frozen=True, kw_only=True):
    agent: str
    target: str
    simulated: bool


class _PairHeader(_HeaderStruct, frozen=True, kw_only=True):
    source: str
    destination: str
    paths: list[_PathHeader]
    #: See ``PairWindows``.
    ambiguous: list[_MinuteRange]
    explained: list[_MinuteRange]


class _SiteHeader(_HeaderStruct, frozen=True, kw_only=True):
    name: str
    latitude_deg: float
    longitude_deg: float
    uncertainty_km: float


class _FileHeader(_HeaderStruct, frozen=True, kw_only=True):
    format: str
    start_s: int
    end_s: int
    sites: list[_SiteHeader]
    pairs: list[_PairHeader]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedWindows:
    """Pairs over one period, from a file."""

    start_s: int
    end_s: int
    pairs: tuple[PairWindows, ...]


def write_windows(file: TextIO, pairs: Sequence[PairWindows], sites: Iterable[Site]) -> int:
    """Write at least one pair; all over one period. How many windows."""
    head = _FileHeader(
        format=FILE_FORMAT,
        start_s=pairs[0].start_s,
        end_s=pairs[0].end_s,
        sites=[
            _SiteHeader(
                name=site.name,
                latitude_deg=site.latitude_deg,
                longitude_deg=site.longitude_deg,
                uncertainty_km=site.uncertainty_km,
            )
            for site in sites
        ],
        pairs=[_to_pair_header(pair) for pair in pairs],
    )
    file.write(f"# {msgspec.json.encode(head).decode()}\n")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMN_HEADER)
    total = 0
    for pair in pairs:
        for path in pair.paths:
            rows = list(_iter_rows(pair, path))
            writer.writerows(rows)
            total += len(rows)
    return total


def _to_pair_header(pair: PairWindows) -> _PairHeader:
    return _PairHeader(
        source=pair.source,
        destination=pair.destination,
        paths=[_PathHeader(agent=one.agent, target=one.target, simulated=one.series.simulated) for one in pair.paths],
        ambiguous=_to_minute_ranges(pair.ambiguous_minutes),
        explained=_to_minute_ranges(pair.explained_minutes),
    )


def _to_minute_ranges(minutes: MinuteMask) -> list[_MinuteRange]:
    found = find_runs(minutes, merge_gap=0)
    return list(zip(found.starts.tolist(), found.ends.tolist(), strict=True))


def _iter_rows(pair: PairWindows, path: PathWindows) -> Iterator[tuple[object, ...]]:
    series = path.series
    present = np.flatnonzero(series.expected)
    times = series.start_s + WINDOW_S * present
    columns = [series.get_column(name)[present].tolist() for name in COLUMNS]
    place = (pair.source, pair.destination, path.agent, path.target)
    for t, *values in zip(times.tolist(), *columns, strict=True):
        yield (*place, t, *("" if value == MISSING else value for value in values))


def read_windows(file: TextIO) -> ExportedWindows:
    """The pairs of a file; ConfigError with the line where it is none."""
    try:
        return _parse_file(file)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError("file", f"it is no file of `leadline verdict --export`: {error}") from error


def _parse_file(file: TextIO) -> ExportedWindows:
    head = _read_header(file)
    minutes = (head.end_s - head.start_s) // WINDOW_S
    columns: _ColumnsByPath = {
        (pair.source, pair.destination, path.agent, path.target): make_empty_columns(minutes)
        for pair in head.pairs
        for path in pair.paths
    }
    reader = csv.reader(file)
    if tuple(next(reader, ())) != COLUMN_HEADER:
        raise _line_error(2, f"the columns are not {','.join(COLUMN_HEADER)}")
    for number, row in enumerate(reader, 3):
        _add_row(columns, head, number, row)
    sites = {site.name: Site(**msgspec.structs.asdict(site)) for site in head.sites}
    return ExportedWindows(
        start_s=head.start_s,
        end_s=head.end_s,
        pairs=tuple(_build_pair_windows(head, pair, columns, sites, minutes) for pair in head.pairs),
    )


def _read_header(file: TextIO) -> _FileHeader:
    line = file.readline(_HEADER_CHARACTERS_MAX)
    if not line.startswith("# {"):
        raise _line_error(1, f"it is no file of `leadline verdict --export`: it begins with {line[:40]!r}")
    try:
        head = msgspec.json.decode(line[2:], type=_FileHeader)
    except msgspec.MsgspecError as error:
        raise _line_error(1, str(error)) from error
    if head.format != FILE_FORMAT:
        raise _line_error(1, f"the format is {head.format!r}; this version reads {FILE_FORMAT!r}")
    if head.start_s % _DAY_S or head.end_s % _DAY_S or not 0 <= head.start_s < head.end_s:
        raise _line_error(1, f"{head.start_s} to {head.end_s} is no period of whole UTC days")
    if head.end_s - head.start_s > DAYS_MAX * _DAY_S:
        raise _line_error(1, f"{head.start_s} to {head.end_s} is more than {DAYS_MAX} days")
    return head


def _add_row(columns: _ColumnsByPath, head: _FileHeader, number: int, row: Sequence[str]) -> None:
    if len(row) != len(COLUMN_HEADER):
        raise _line_error(number, f"{len(row)} fields instead of {len(COLUMN_HEADER)}")
    found = columns.get(tuple(row[:_KEY_COLUMN_COUNT]))
    if found is None:
        raise _line_error(number, f"{' '.join(row[:_KEY_COLUMN_COUNT])} is no path of the head")
    try:
        t, *values = (MISSING if not text else int(text) for text in row[_KEY_COLUMN_COUNT:])
    except ValueError as error:
        raise _line_error(number, str(error)) from error
    if t % WINDOW_S or not head.start_s <= t < head.end_s:
        raise _line_error(number, f"{t} is no minute of the period")
    minute = (t - head.start_s) // WINDOW_S
    if found["expected"][minute]:
        raise _line_error(number, f"the window at {t} is there twice")
    for name, value in zip(COLUMNS, values, strict=True):
        if value < (0 if name in COUNT_FIELDS else MISSING) or value >= 2**31:
            raise _line_error(number, f"{name} cannot be {value}")
        found[name][minute] = value


def _build_pair_windows(
    head: _FileHeader,
    pair: _PairHeader,
    columns: _ColumnsByPath,
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
                series=PathSeries.from_columns(
                    head.start_s,
                    columns[pair.source, pair.destination, path.agent, path.target],
                    simulated=path.simulated,
                ),
            )
            for path in pair.paths
        ),
        propagation_delay=None if ends[0] is None or ends[1] is None else compute_propagation_delay(ends[0], ends[1]),
        ambiguous_minutes=_to_mask(pair.ambiguous, minutes),
        explained_minutes=_to_mask(pair.explained, minutes),
    )


def _to_mask(spans: Iterable[_MinuteRange], minutes: int) -> MinuteMask:
    marked = np.zeros(minutes, dtype=np.bool_)
    for first, last in spans:
        marked[first:last] = True
    return marked


def _line_error(line: int, problem: str) -> ConfigError:
    return ConfigError(f"line {line}", problem)
