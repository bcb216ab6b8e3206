"""CSV export and import of the windows of a verdict, to reproduce it (docs/verdicts.md).

The first line is ``#`` and a JSON header: format, period, sites with coordinates, and for each pair its paths,
ambiguous minutes and explained minutes. CSV rows follow. Values are those stored, so a verdict from the file is
identical. An empty field is None; a minute without a row has no window.
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
#: Longest period; the collector has the same limit.
DAYS_MAX = 400
#: Longest header; 2,450 pairs with all their minute ranges fit.
_HEADER_CHARACTERS_MAX = 64 << 20

#: [first, last) in minutes from the start of the period.
_MinuteRange = tuple[int, int]
#: Columns of every path by (source, destination, agent, target).
_ColumnsByPath: TypeAlias = dict[tuple[str, ...], dict[str, IntColumn]]


class _HeaderStruct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the header."""


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
    """Pairs of one period, read from a file."""

    start_s: int
    end_s: int
    pairs: tuple[PairWindows, ...]


def write_windows(file: TextIO, pairs: Sequence[PairWindows], sites: Iterable[Site]) -> int:
    """Write the windows of pairs and return their number; needs at least one pair, all of the same period."""
    header = _FileHeader(
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
    file.write(f"# {msgspec.json.encode(header).decode()}\n")
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
        paths=[
            _PathHeader(agent=path.agent, target=path.target, simulated=path.series.simulated) for path in pair.paths
        ],
        ambiguous=_to_minute_ranges(pair.ambiguous_minutes),
        explained=_to_minute_ranges(pair.explained_minutes),
    )


def _to_minute_ranges(minutes: MinuteMask) -> list[_MinuteRange]:
    runs = find_runs(minutes, merge_gap=0)
    return list(zip(runs.starts.tolist(), runs.ends.tolist(), strict=True))


def _iter_rows(pair: PairWindows, path: PathWindows) -> Iterator[tuple[object, ...]]:
    series = path.series
    present = np.flatnonzero(series.expected)
    times = series.start_s + WINDOW_S * present
    columns = [series.get_column(name)[present].tolist() for name in COLUMNS]
    key = (pair.source, pair.destination, path.agent, path.target)
    for t, *values in zip(times.tolist(), *columns, strict=True):
        yield (*key, t, *("" if value == MISSING else value for value in values))


def read_windows(file: TextIO) -> ExportedWindows:
    """Read a file; raise ConfigError with the line number if it is invalid."""
    try:
        return _parse_file(file)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError("file", f"not a file written by `leadline verdict --export`: {error}") from error


def _parse_file(file: TextIO) -> ExportedWindows:
    header = _read_header(file)
    minutes = (header.end_s - header.start_s) // WINDOW_S
    columns: _ColumnsByPath = {
        (pair.source, pair.destination, path.agent, path.target): make_empty_columns(minutes)
        for pair in header.pairs
        for path in pair.paths
    }
    reader = csv.reader(file)
    if tuple(next(reader, ())) != COLUMN_HEADER:
        raise _line_error(2, f"the columns are not {','.join(COLUMN_HEADER)}")
    for number, row in enumerate(reader, 3):
        _add_row(columns, header, number, row)
    sites = {site.name: Site(**msgspec.structs.asdict(site)) for site in header.sites}
    return ExportedWindows(
        start_s=header.start_s,
        end_s=header.end_s,
        pairs=tuple(_build_pair_windows(header, pair, columns, sites, minutes) for pair in header.pairs),
    )


def _read_header(file: TextIO) -> _FileHeader:
    line = file.readline(_HEADER_CHARACTERS_MAX)
    if not line.startswith("# {"):
        raise _line_error(1, f"not a file written by `leadline verdict --export`; it begins with {line[:40]!r}")
    try:
        header = msgspec.json.decode(line[2:], type=_FileHeader)
    except msgspec.MsgspecError as error:
        raise _line_error(1, str(error)) from error
    if header.format != FILE_FORMAT:
        raise _line_error(1, f"the format is {header.format!r}; this version reads {FILE_FORMAT!r}")
    if header.start_s % _DAY_S or header.end_s % _DAY_S or not 0 <= header.start_s < header.end_s:
        raise _line_error(1, f"{header.start_s} to {header.end_s} is not a period of whole UTC days")
    if header.end_s - header.start_s > DAYS_MAX * _DAY_S:
        raise _line_error(1, f"{header.start_s} to {header.end_s} is more than {DAYS_MAX} days")
    return header


def _add_row(columns: _ColumnsByPath, header: _FileHeader, number: int, row: Sequence[str]) -> None:
    if len(row) != len(COLUMN_HEADER):
        raise _line_error(number, f"the row has {len(row)} fields instead of {len(COLUMN_HEADER)}")
    path_columns = columns.get(tuple(row[:_KEY_COLUMN_COUNT]))
    if path_columns is None:
        raise _line_error(number, f"{' '.join(row[:_KEY_COLUMN_COUNT])} is not a path of the header")
    try:
        t, *values = (MISSING if not text else int(text) for text in row[_KEY_COLUMN_COUNT:])
    except ValueError as error:
        raise _line_error(number, str(error)) from error
    if t % WINDOW_S or not header.start_s <= t < header.end_s:
        raise _line_error(number, f"{t} is not a minute of the period")
    minute = (t - header.start_s) // WINDOW_S
    if path_columns["expected"][minute]:
        raise _line_error(number, f"duplicate window at {t}")
    for name, value in zip(COLUMNS, values, strict=True):
        if value < (0 if name in COUNT_FIELDS else MISSING) or value >= 2**31:
            raise _line_error(number, f"{name} is out of range: {value}")
        path_columns[name][minute] = value


def _build_pair_windows(
    header: _FileHeader,
    pair: _PairHeader,
    columns: _ColumnsByPath,
    sites: dict[str, Site],
    minutes: int,
) -> PairWindows:
    ends = (sites.get(pair.source), sites.get(pair.destination))
    return PairWindows(
        source=pair.source,
        destination=pair.destination,
        start_s=header.start_s,
        minutes=minutes,
        paths=tuple(
            PathWindows(
                agent=path.agent,
                target=path.target,
                series=PathSeries.from_columns(
                    header.start_s,
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


def _to_mask(ranges: Iterable[_MinuteRange], minutes: int) -> MinuteMask:
    mask = np.zeros(minutes, dtype=np.bool_)
    for first, last in ranges:
        mask[first:last] = True
    return mask


def _line_error(line: int, problem: str) -> ConfigError:
    return ConfigError(f"line {line}", problem)
