"""Reader of CSV files with the columns ``t,rtt_ms`` or ``t,rtt_us``, and optionally ``failure`` and ``detail``.

``t`` is the send time of the probe: seconds since 1970 with or without a fraction, or ISO 8601 with a time zone. An
empty RTT is a lost probe. ``failure`` may give the reason with a value of ``leadline.model.Failure``.

A file of ``leadline export rtts`` is read too (``leadline.wire.probes``). It may have several paths: then one is
selected. Its rows of simulated sites are refused, because an import counts as a measurement.

Rule 1: RTTs of an export have the error bound of their row, or a microsecond if it is empty. ``rtt_us`` and values of
three decimals in ``rtt_ms`` are exact to the microsecond.
Rule 2: other values in ``rtt_ms`` may be rounded in any way to their last digit. Many programs omit zeros at the end
and print fewer decimals for longer RTTs. So the last digit is that of the value with the most decimals among all
with the same number of digits before the point.
Rule 3: ``<1`` is a value up to 1, as ping of Windows prints it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import pairwise

from leadline.errors import ConfigError
from leadline.model import RTT_US_MAX, ErrorBound, Failure, Miss
from leadline.wire.batch import TIME_S_MAX
from leadline.wire.probes import PROBE_COLUMNS, ProbeOrigin
from leadline_cli.importers.parse_errors import build_line_error
from leadline_cli.importers.printed_rtt import (
    Rounding,
    build_error_bound,
    compute_interval_us,
    parse_resolution_us,
    parse_rtt_us,
)
from leadline_cli.importers.samples import Sample
from leadline_cli.importers.timestamps import parse_timestamp_us

_COLUMNS = {"t", "rtt_ms", "rtt_us", "failure", "detail"}
EXPORT_NOTE = "the columns slot and origin of the export are not imported"
#: Columns of an export under the names of this reader.
_EXPORT_COLUMNS = ["t" if name == "time" else name for name in PROBE_COLUMNS]
#: Before a value in ``rtt_ms``: the RTT is at most this value.
_BELOW = "<"
_HEADER_HELP = "t,rtt_ms or t,rtt_us, optionally followed by failure and detail"


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvContent:
    """Content of a CSV file."""

    #: In order of time.
    samples: list[Sample]
    #: Coarsest resolution of an RTT in microseconds; None without a reply.
    resolution_us: int | None
    rounding: Rounding


def parse_csv(lines: Iterable[str], path: str | None = None) -> CsvContent:
    """Parse a CSV file. ConfigError has the line and the invalid value.

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
        finest = _FinestResolutions()
        samples = [(_parse_row(line, values, finest), line) for line, values in numbered_rows]
    except csv.Error as error:
        raise build_line_error(rows.line_num, f"is not valid CSV: {error}") from error
    if not samples:
        raise ConfigError("FILE", "contains no probes")
    return _build_content(_sort_samples(samples), finest)


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


class _FinestResolutions:
    """Finest resolution of the values of a file in microseconds, by magnitude."""

    def __init__(self) -> None:
        self._resolutions_us: dict[int, int] = {}
        #: Largest value after ``<``; 0 without one.
        self.below_us = 0

    def add(self, rtt_us: int, resolution_us: int) -> None:
        magnitude = _find_magnitude(rtt_us)
        self._resolutions_us[magnitude] = min(resolution_us, self._resolutions_us.get(magnitude, resolution_us))

    def get_us(self, rtt_us: int) -> int:
        return self._resolutions_us[_find_magnitude(rtt_us)]


def _find_magnitude(rtt_us: int) -> int:
    """Return the number of digits of the whole milliseconds (0 below a millisecond).

    1, 10, 100, 1000 and 10000 ms have their own negative magnitude: fping prints 0.9996 ms as ``1.000`` and 1.23 ms as
    ``1.23``.
    """
    digits = len(str(rtt_us // 1_000)) if rtt_us >= 1_000 else 0
    return -digits if digits and rtt_us == 10 ** (digits + 2) else digits


def _parse_row(line: int, values: Mapping[str, str], finest: _FinestResolutions) -> Sample:
    try:
        return _parse_values(values, finest)
    except ValueError as error:
        raise build_line_error(line, str(error)) from error


def _parse_values(values: Mapping[str, str], finest: _FinestResolutions) -> Sample:
    """Return the sample of a row. Its error is None if it depends on the resolution of the file."""
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
    return Sample(at_us, rtt, failure, detail, error=_parse_error(values, rtt, finest))


def _parse_error(values: Mapping[str, str], rtt_us: int | None, finest: _FinestResolutions) -> ErrorBound | None:
    """Return the error bound of a row; None if it depends on the resolution of the file, which is then recorded.

    Only an export has an error bound of a lost probe: that of its window.
    """
    text = values.get("rtt_ms", "")
    if rtt_us is not None and text.startswith(_BELOW):
        finest.below_us = max(finest.below_us, rtt_us)
        return build_error_bound(rtt_us, rtt_us)
    if rtt_us is not None and text:
        finest.add(rtt_us, parse_resolution_us(text))
        return None
    texts = [values.get(name, "") for name in ("error_p50_us", "error_p99_us")]
    if not any(texts):
        return None if rtt_us is None else build_error_bound(1, 1)
    if not all(text.isascii() and text.isdecimal() for text in texts):
        raise ValueError(f"error_p50_us, error_p99_us: {','.join(texts)!r} are not two whole numbers")
    p50_us, p99_us = map(int, texts)
    if not p50_us <= p99_us <= RTT_US_MAX:
        raise ValueError(f"error_p50_us, error_p99_us: {','.join(texts)!r} are not in order, or above {RTT_US_MAX}")
    return build_error_bound(p50_us, p99_us)


def _build_content(samples: list[Sample], finest: _FinestResolutions) -> CsvContent:
    """Set the errors that depend on the resolution of the file."""
    coarsest_us = finest.below_us or None
    for index, sample in enumerate(samples):
        if sample.rtt_us is None:
            continue
        resolution_us = 1
        if sample.error is None:
            resolution_us = finest.get_us(sample.rtt_us)
            rounding = Rounding.EXACT if resolution_us == 1 else Rounding.UNKNOWN
            rtt_us, error_us = compute_interval_us(sample.rtt_us, resolution_us, rounding)
            samples[index] = sample._replace(rtt_us=rtt_us, error=build_error_bound(error_us, error_us))
        coarsest_us = max(coarsest_us or 0, resolution_us)
    rounding = Rounding.UNKNOWN if coarsest_us is not None and coarsest_us > 1 else Rounding.EXACT
    return CsvContent(samples=samples, resolution_us=coarsest_us, rounding=rounding)


def _parse_rtt_value(values: Mapping[str, str]) -> int | None:
    name = "rtt_ms" if "rtt_ms" in values else "rtt_us"
    text = values[name]
    if not text:
        return None
    try:
        milliseconds = text.removeprefix(_BELOW) if name == "rtt_ms" else str(Decimal(text) / 1_000)
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
