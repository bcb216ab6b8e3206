"""Reader of CSV files with the columns ``t,rtt_ms`` or ``t,rtt_us``, and optionally ``failure`` and ``detail``.

``t`` is the send time of the probe: seconds since 1970 with or without a fraction, or ISO 8601 with a time zone. An
empty RTT is a lost probe. ``failure`` may give the reason with a value of ``leadline.model.Failure``.

A file of ``leadline export rtts`` is read too (``leadline.wire.probes``). It may have several paths: then one is
selected. Its rows of simulated sites are refused, because an import paths as a measurement.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise

from leadline.errors import ConfigError
from leadline.model import RTT_US_MAX, Failure, Miss
from leadline.wire.batch import TIME_S_MAX
from leadline.wire.probes import PROBE_COLUMNS, ProbeOrigin
from leadline_cli.importers.parse_errors import build_line_error
from leadline_cli.importers.samples import Sample, parse_rtt_us
from leadline_cli.importers.timestamps import parse_timestamp_us

_COLUMNS = {"t", "rtt_ms", "rtt_us", "failure", "detail"}
EXPORT_NOTE = "the columns slot, error_p50_us, error_p99_us and origin of the export are not imported"
#: Columns of an export under the names of this reader.
_EXPORT_COLUMNS = ["t" if name == "time" else name for name in PROBE_COLUMNS]
_HEADER_HELP = "t,rtt_ms or t,rtt_us, optionally followed by failure and detail"


def parse_csv(lines: Iterable[str], path: str | None = None) -> list[Sample]:
    """Parse a CSV file; return the samples in order of time. ConfigError has the line and the invalid value.

    ``path`` selects the rows of one path of an export: ``AGENT,TARGET``.
    """
    rows = csv.reader(lines, strict=True)
    try:
        columns = _parse_header(next(rows, []))
        if path is not None and columns != _EXPORT_COLUMNS:
            raise ConfigError("--host", "cannot be used with a CSV, which has one host and its own times")
        numbered_rows: Iterator[tuple[int, Mapping[str, str]]] = (
            (rows.line_num, _name_values(rows.line_num, columns, row)) for row in rows if row
        )
        if columns == _EXPORT_COLUMNS:
            numbered_rows = _select_path(numbered_rows, path)
        samples = [(_parse_row(line, values), line) for line, values in numbered_rows]
    except csv.Error as error:
        raise build_line_error(rows.line_num, f"is not valid CSV: {error}") from error
    if not samples:
        raise ConfigError("FILE", "contains no probes")
    return _sort_samples(samples)


def is_export(header: str) -> bool:
    """Return True for the first line of a file of ``leadline export rtts``."""
    return header.strip() == ",".join(PROBE_COLUMNS)


def _parse_header(header: Sequence[str]) -> list[str]:
    names = [name.strip().lower() for name in header]
    names[:1] = [names[0].removeprefix("\ufeff")] if names else []
    if tuple(names) == PROBE_COLUMNS:
        return _EXPORT_COLUMNS
    if set(names) - _COLUMNS or len(set(names)) < len(names) or "t" not in names or not _has_one_rtt_column(names):
        raise build_line_error(1, f"must contain the column names {_HEADER_HELP}; it is {','.join(header)!r}")
    return names


def _select_path(
    rows: Iterable[tuple[int, Mapping[str, str]]], path: str | None
) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield the rows of a path of an export, or all if there is one path; raise ConfigError for simulated rows."""
    paths: set[str] = set()
    for line, values in rows:
        row_path = f"{values['agent']},{values['target']}"
        paths.add(row_path)
        if path is not None and row_path != path:
            continue
        if values["origin"] == ProbeOrigin.SIMULATED:
            raise build_line_error(line, "is simulated; only measurements can be imported")
        yield line, values
    if path is None and len(paths) > 1:
        raise ConfigError("--host", f"is required: the file has several paths: {_join_paths(paths)}")
    if path is not None and path not in paths:
        raise ConfigError("--host", f"the file has no path {path!r}; it has {_join_paths(paths)}")


def _join_paths(paths: Iterable[str]) -> str:
    return "; ".join(sorted(paths)) or "none"


def _has_one_rtt_column(names: Sequence[str]) -> bool:
    return ("rtt_ms" in names) != ("rtt_us" in names)


def _name_values(line: int, columns: Sequence[str], row: Sequence[str]) -> Mapping[str, str]:
    if len(row) != len(columns):
        raise build_line_error(line, f"has {len(row)} values for {len(columns)} columns")
    return dict(zip(columns, (value.strip() for value in row), strict=True))


def _parse_row(line: int, values: Mapping[str, str]) -> Sample:
    try:
        return _parse_values(values)
    except ValueError as error:
        raise build_line_error(line, str(error)) from error


def _parse_values(values: Mapping[str, str]) -> Sample:
    at_us = parse_timestamp_us(values["t"])
    if not 0 <= at_us <= TIME_S_MAX * 1_000_000:
        raise ValueError(f"t: {values['t']!r} is not a time between 1970 and 2100; is it in seconds?")
    rtt = _parse_rtt_value(values)
    failure = _parse_failure(values.get("failure", ""), is_lost=rtt is None)
    detail = _parse_detail(values.get("detail", ""))
    if failure is not None:
        Miss(0, failure, detail).check()
    elif detail is not None:
        raise ValueError(f"detail: {detail} in a row with an RTT; only a failure has a detail")
    return Sample(at_us, rtt, failure, detail)


def _parse_rtt_value(values: Mapping[str, str]) -> int | None:
    name = "rtt_ms" if "rtt_ms" in values else "rtt_us"
    text = values[name]
    if not text:
        return None
    try:
        milliseconds = text if name == "rtt_ms" else str(Decimal(text) / 1_000)
        us = parse_rtt_us(milliseconds)
    except (ValueError, InvalidOperation):
        raise ValueError(f"{name}: {text!r} is not a number; leave it empty for a lost probe") from None
    if not 0 < us <= RTT_US_MAX:
        raise ValueError(f"{name}: {text!r} is outside 0 to 60 s; leave it empty for a lost probe")
    return us


def _parse_failure(text: str, *, is_lost: bool) -> Failure | None:
    if text and not is_lost:
        raise ValueError(f"failure: {text!r} in a row with an RTT; a row has one or the other")
    if not text:
        return Failure.TIMEOUT if is_lost else None
    try:
        return Failure(text)
    except ValueError:
        raise ValueError(f"failure: {text!r} is not one of {', '.join(Failure)}") from None


def _parse_detail(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) <= RTT_US_MAX):
        raise ValueError(f"detail: {text!r} is not a whole number up to {RTT_US_MAX}")
    return int(text)


def _sort_samples(samples: list[tuple[Sample, int]]) -> list[Sample]:
    samples.sort(key=lambda item: item[0].at_us)
    for (before, line), (after, other) in pairwise(samples):
        if before.at_us == after.at_us:
            raise build_line_error(max(line, other), f"has the same time as line {min(line, other)}")
    return [sample for sample, _ in samples]
