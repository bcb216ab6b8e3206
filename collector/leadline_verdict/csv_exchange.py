"""CSV export and import of the windows of a verdict, to reproduce it (docs/verdicts.md).

The first line is ``#`` and a JSON header: format, period, sites with coordinates, and for each pair its paths,
ambiguous minutes and explained minutes. CSV rows follow. Values are those stored, so a verdict from the file is
identical. An empty field is None; a minute without a row has no window.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, TextIO

import msgspec
import numpy as np

from leadline.errors import ConfigError
from leadline.model import WINDOW_S, Pair, Site, check_name
from leadline.propagation import compute_propagation_delay
from leadline.wire.batch import IMPORT_PREFIX
from leadline_verdict.csv_rows import COLUMN_HEADER, LineReader, PathColumns, line_error, read_rows
from leadline_verdict.episodes import find_runs
from leadline_verdict.pair import PairWindows, PathWindows
from leadline_verdict.series import COLUMNS, MISSING, PathSeries
from leadline_verdict.states import MinuteMask

FILE_FORMAT = "leadline windows 1"
_DAY_S = 86_400
#: Longest period; the collector has the same limit.
DAYS_MAX = 400
#: Longest header; 2,450 pairs with all their minute ranges fit.
_HEADER_BYTES_MAX = 64 << 20
#: Most minutes of all paths: 50 bytes of memory each. 300 pairs over 230 days fit.
_PATH_MINUTES_MAX = 100_000_000
#: 2286; t has ten digits.
_END_S_MAX = 10**10

#: [first, last) in minutes from the start of the period.
_MinuteRange = tuple[int, int]


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


def read_windows(file: TextIO | BinaryIO) -> ExportedWindows:
    """Read a file; raise ConfigError with the line number if it is invalid or inconsistent."""
    try:
        return _parse_file(LineReader(file))
    except UnicodeDecodeError as error:
        raise ConfigError("file", f"not a file written by `leadline verdict --export`: {error}") from error


def _parse_file(reader: LineReader) -> ExportedWindows:
    header = _read_header(reader)
    minutes = (header.end_s - header.start_s) // WINDOW_S
    if reader.read_line(_HEADER_BYTES_MAX) != ",".join(COLUMN_HEADER).encode():
        raise line_error(2, f"the columns are not {','.join(COLUMN_HEADER)}")
    paths = [(pair.source, pair.destination, path.agent, path.target) for pair in header.pairs for path in pair.paths]
    columns = read_rows(reader, paths, header.start_s, minutes)
    for index, path_key in enumerate(paths):
        if not columns["expected"][index].any():
            raise line_error(1, f"the path {' '.join(path_key)} has no row", "the file is incomplete: export it again")
    sites = {site.name: Site(**msgspec.structs.asdict(site)) for site in header.sites}
    indexes = iter(range(len(paths)))
    return ExportedWindows(
        start_s=header.start_s,
        end_s=header.end_s,
        pairs=tuple(_build_pair_windows(header, pair, columns, indexes, sites, minutes) for pair in header.pairs),
    )


def _read_header(reader: LineReader) -> _FileHeader:
    start = reader.peek(40)
    if not start.startswith(b"# {"):
        problem = f"it begins with {start.decode(errors='backslashreplace')!r}" if start else "it is empty"
        raise line_error(
            1,
            f"not a file written by `leadline verdict --export`: {problem}",
            "write one with `leadline verdict --export FILE`",
        )
    line = reader.read_line(_HEADER_BYTES_MAX)
    try:
        header = msgspec.json.decode(line[2:], type=_FileHeader)
        if header.format != FILE_FORMAT:
            raise line_error(
                1,
                f"the format is {header.format!r}; this version reads {FILE_FORMAT!r}",
                "use the version that wrote it",
            )
        _check_header(header)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise line_error(1, str(error)) from error
    return header


def _check_header(header: _FileHeader) -> None:
    """Raise ValueError if values of the header are invalid or repeated."""
    period = f"{header.start_s} to {header.end_s}"
    if header.start_s % _DAY_S or header.end_s % _DAY_S or not 0 <= header.start_s < header.end_s:
        raise ValueError(f"{period} is not a period of whole UTC days")
    if header.end_s - header.start_s > DAYS_MAX * _DAY_S:
        raise ValueError(f"{period} is more than {DAYS_MAX} days")
    if header.end_s > _END_S_MAX:
        raise ValueError(f"{period} is not a period before the year 2286")
    minutes = (header.end_s - header.start_s) // WINDOW_S
    if not header.pairs:
        raise ValueError("the header has no pair")
    if minutes * sum(max(1, len(pair.paths)) for pair in header.pairs) > _PATH_MINUTES_MAX:
        raise ValueError(f"the paths have more than {_PATH_MINUTES_MAX:,} minutes in total: export fewer pairs or days")
    for site in header.sites:
        Site(**msgspec.structs.asdict(site))
    _check_unique("site", [site.name for site in header.sites])
    _check_unique("pair", [f"{pair.source} -> {pair.destination}" for pair in header.pairs])
    for pair in header.pairs:
        _check_pair(pair, minutes)


def _check_pair(pair: _PairHeader, minutes: int) -> None:
    check_name("site", pair.source)
    check_name("site", pair.destination)
    Pair(source=pair.source, destination=pair.destination)
    name = f"{pair.source} -> {pair.destination}"
    for path in pair.paths:
        check_name("agent", path.agent.removeprefix(IMPORT_PREFIX))
        check_name("target", path.target)
    _check_unique(f"path of {name}", [f"{path.agent} {path.target}" for path in pair.paths])
    for label, ranges in (("ambiguous", pair.ambiguous), ("explained", pair.explained)):
        previous = 0
        for first, last in ranges:
            if not previous <= first < last <= minutes:
                raise ValueError(
                    f"{label} minutes {first} to {last} of {name} are not a range after minute {previous} "
                    f"within the {minutes} minutes of the period"
                )
            previous = last


def _check_unique(label: str, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        name = next(name for name, count in Counter(names).items() if count > 1)
        raise ValueError(f"duplicate {label}: {name}")


def _build_pair_windows(
    header: _FileHeader,
    pair: _PairHeader,
    columns: PathColumns,
    indexes: Iterator[int],
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
                    {name: columns[name][index] for name in COLUMNS},
                    simulated=path.simulated,
                ),
            )
            for path, index in zip(pair.paths, indexes, strict=False)
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
