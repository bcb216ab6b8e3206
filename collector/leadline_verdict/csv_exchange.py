"""CSV export and import of the windows of a verdict, to reproduce it (docs/verdicts.md).

The first line is ``#`` and a JSON header: format, rule, digests, period, sites with coordinates, and for each pair its
paths, ambiguous minutes, explained minutes and declared outages. CSV rows follow. Values are those stored, so a verdict
from the file is identical. An empty field is None; a minute without a row has no window.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, TextIO

import msgspec
import numpy as np

from leadline.errors import ConfigError
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import DeclaredOutages
from leadline.model import WINDOW_S, Site
from leadline.propagation import compute_propagation_delay
from leadline_verdict.csv_header import (
    FILE_FORMAT,
    FIRST_FILE_FORMAT,
    FileHeader,
    MinuteRange,
    OutagesHeader,
    PairHeader,
    PathHeader,
    SiteHeader,
    decode_header,
    line_error,
)
from leadline_verdict.csv_rows import COLUMN_HEADER, FIRST_COLUMN_HEADER, LineReader, PathColumns, read_rows
from leadline_verdict.episodes import find_runs
from leadline_verdict.pair import PairWindows, PathWindows
from leadline_verdict.rule_edition import RuleEdition
from leadline_verdict.series import COLUMNS, MISSING, PathSeries
from leadline_verdict.states import MinuteMask

#: Longest header; 2,450 pairs with all their minute ranges fit.
_HEADER_BYTES_MAX = 64 << 20
#: Rows that are formatted at a time.
_BLOCK_ROWS = 10_080


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedWindows:
    """Pairs of one period, read from a file."""

    start_s: int
    end_s: int
    pairs: tuple[PairWindows, ...]
    #: Id of the decision rule that the file names; FIRST for a file of format 1.
    rule_id: RuleEdition
    #: SHA-256 of the limit catalogue's data file at the export; None for a file of format 1.
    catalogue_digest: str | None


def write_windows(
    file: TextIO, pairs: Sequence[PairWindows], sites: Iterable[Site], *, edition: RuleEdition = RuleEdition.SECOND
) -> int:
    """Write the windows of pairs and return their number; needs at least one pair, all of the same period.

    ``edition`` is the rule that judges the file unless another one is chosen.
    """
    # The header has the digest of the rows, so they are formatted twice: this needs neither memory nor a second file.
    digest = hashlib.sha256()
    for block in _iter_blocks(pairs):
        digest.update(block.encode())
    header = FileHeader(
        format=FILE_FORMAT,
        rule=edition.value,
        sha256=digest.hexdigest(),
        catalogue=load_catalogue().digest,
        start_s=pairs[0].start_s,
        end_s=pairs[0].end_s,
        sites=[
            SiteHeader(
                name=site.name,
                latitude_deg=site.latitude_deg,
                longitude_deg=site.longitude_deg,
                uncertainty_km=site.uncertainty_km,
                time_zone=site.time_zone,
            )
            for site in sites
        ],
        pairs=[_to_pair_header(pair) for pair in pairs],
    )
    file.write(f"# {msgspec.json.encode(header).decode()}\n")
    for block in _iter_blocks(pairs):
        file.write(block)
    return sum(int(np.count_nonzero(series.expected)) for pair in pairs for series in pair.series)


def _to_pair_header(pair: PairWindows) -> PairHeader:
    return PairHeader(
        source=pair.source,
        destination=pair.destination,
        paths=[
            PathHeader(agent=path.agent, target=path.target, simulated=path.series.simulated) for path in pair.paths
        ],
        ambiguous=_to_minute_ranges(pair.ambiguous_minutes),
        explained=_to_minute_ranges(pair.explained_minutes),
        outages=_to_outages_header(pair.declared_outages),
        measured_since_s=None if pair.paths else pair.measured_since_s,
    )


def _to_outages_header(outages: DeclaredOutages | None) -> OutagesHeader | None:
    if outages is None:
        return None
    return OutagesHeader(
        outages_per_year=outages.outages_per_year,
        longest_outage_s=outages.longest_outage_s,
        declared_on=outages.declared_on,
    )


def _to_minute_ranges(minutes: MinuteMask) -> list[MinuteRange]:
    runs = find_runs(minutes, merge_gap=0)
    return list(zip(runs.starts.tolist(), runs.ends.tolist(), strict=True))


def _iter_blocks(pairs: Sequence[PairWindows]) -> Iterator[str]:
    """Yield the lines after the header."""
    yield ",".join(COLUMN_HEADER) + "\n"
    for pair in pairs:
        for path in pair.paths:
            yield from _iter_path_blocks(f"{pair.source},{pair.destination},{path.agent},{path.target},", path.series)


def _iter_path_blocks(key: str, series: PathSeries) -> Iterator[str]:
    present = np.flatnonzero(series.expected)
    columns = [series.get_column(name) for name in COLUMNS]
    row_format = ",".join(["%d"] * (1 + len(COLUMNS))) + "\n"
    for first in range(0, len(present), _BLOCK_ROWS):
        at = present[first : first + _BLOCK_ROWS]
        times = series.start_s + WINDOW_S * at
        values = np.column_stack((times, *(column[at] for column in columns))).ravel().tolist()
        # One operation formats all rows: it is three times as fast as csv.writer, and no value needs quotes.
        lines = (row_format * len(at) % tuple(values)).replace(f",{MISSING}", ",")
        yield key + lines[:-1].replace("\n", f"\n{key}") + "\n"


def read_windows(file: TextIO | BinaryIO) -> ExportedWindows:
    """Read a file; raise ConfigError with the line number if it is invalid or inconsistent."""
    try:
        return _parse_file(LineReader(file))
    except UnicodeDecodeError as error:
        raise ConfigError("file", f"not a file written by `leadline verdict --export`: {error}") from error


def _parse_file(reader: LineReader) -> ExportedWindows:
    header = _read_header(reader)
    minutes = (header.end_s - header.start_s) // WINDOW_S
    column_header = FIRST_COLUMN_HEADER if header.format == FIRST_FILE_FORMAT else COLUMN_HEADER
    if reader.read_line(_HEADER_BYTES_MAX) != ",".join(column_header).encode():
        raise line_error(2, f"the columns are not {','.join(column_header)}")
    paths = [(pair.source, pair.destination, path.agent, path.target) for pair in header.pairs for path in pair.paths]
    columns = read_rows(reader, column_header, paths, header.start_s, minutes)
    for index, path_key in enumerate(paths):
        if not columns["expected"][index].any():
            raise line_error(1, f"the path {' '.join(path_key)} has no row", "the file is incomplete: export it again")
    if header.sha256 not in {None, reader.digest}:
        raise line_error(
            1,
            f"the rows were changed after the export: the header says sha256 {header.sha256}, the rows give "
            f"{reader.digest}",
            "export it again",
        )
    sites = {site.name: site.site for site in header.sites}
    indexes = iter(range(len(paths)))
    return ExportedWindows(
        start_s=header.start_s,
        end_s=header.end_s,
        pairs=tuple(_build_pair_windows(header, pair, columns, indexes, sites, minutes) for pair in header.pairs),
        rule_id=RuleEdition(header.rule),
        catalogue_digest=header.catalogue,
    )


def _read_header(reader: LineReader) -> FileHeader:
    start = reader.peek(40)
    if not start.startswith(b"# {"):
        problem = f"it begins with {start.decode(errors='backslashreplace')!r}" if start else "it is empty"
        raise line_error(
            1,
            f"not a file written by `leadline verdict --export`: {problem}",
            "write one with `leadline verdict --export FILE`",
        )
    return decode_header(reader.read_line(_HEADER_BYTES_MAX)[2:])


def _build_pair_windows(
    header: FileHeader,
    pair: PairHeader,
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
        declared_outages=pair.declared_outages,
        time_zone="UTC" if ends[0] is None else ends[0].time_zone,
        measured_since_s=pair.measured_since_s,
    )


def _to_mask(ranges: Iterable[MinuteRange], minutes: int) -> MinuteMask:
    mask = np.zeros(minutes, dtype=np.bool_)
    for first, last in ranges:
        mask[first:last] = True
    return mask
