"""A CSV file: ``t,rtt_ms`` or ``t,rtt_us``, and where wanted ``failure`` and ``detail``.

``t`` is when the probe was sent: seconds since 1970 with or without a fraction, or ISO 8601 with its zone. An empty RTT
is a lost probe, of which ``failure`` may say more, in the words of the wire.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise

from leadline.errors import ConfigError
from leadline.model import Failure, Miss
from leadline.wire.batch import RTT_US_MAX, TIME_S_MAX
from leadline_cli.importers.parse_errors import wrong
from leadline_cli.importers.samples import Sample, rtt_us
from leadline_cli.importers.timestamps import moment_us

_COLUMNS = {"t", "rtt_ms", "rtt_us", "failure", "detail"}
_HEADER = "t,rtt_ms or t,rtt_us, then failure and detail if wanted"


def read(lines: Iterable[str]) -> list[Sample]:
    """The samples of a CSV file in order of time; ConfigError names the line and the value that is wrong."""
    rows = csv.reader(lines, strict=True)
    try:
        columns = _columns(next(rows, []))
        samples = [(_sample(rows.line_num, columns, row), rows.line_num) for row in rows if row]
    except csv.Error as error:
        raise wrong(rows.line_num, f"is no CSV: {error}") from error
    if not samples:
        raise ConfigError("FILE", "has no probes in it")
    return _in_order(samples)


def _columns(header: Sequence[str]) -> list[str]:
    names = [name.strip().lower() for name in header]
    names[:1] = [names[0].removeprefix("\ufeff")] if names else []
    if set(names) - _COLUMNS or len(set(names)) < len(names) or "t" not in names or not _one_rtt(names):
        raise wrong(1, f"has to name the columns, {_HEADER}; it is {','.join(header)!r}")
    return names


def _one_rtt(names: Sequence[str]) -> bool:
    return ("rtt_ms" in names) != ("rtt_us" in names)


def _sample(line: int, columns: Sequence[str], row: Sequence[str]) -> Sample:
    if len(row) != len(columns):
        raise wrong(line, f"has {len(row)} values for {len(columns)} columns")
    values = dict(zip(columns, (value.strip() for value in row), strict=True))
    try:
        return _checked(values)
    except ValueError as error:
        raise wrong(line, str(error)) from error


def _checked(values: dict[str, str]) -> Sample:
    at_us = moment_us(values["t"])
    if not 0 <= at_us <= TIME_S_MAX * 1_000_000:
        raise ValueError(f"t: {values['t']!r} is not a time between 1970 and 2100; is it in seconds?")
    rtt = _rtt_us(values)
    failure = _failure(values.get("failure", ""), is_lost=rtt is None)
    detail = _detail(values.get("detail", ""))
    if failure is not None:
        Miss(0, failure, detail)
    elif detail is not None:
        raise ValueError(f"detail: {detail} belongs to a failure, and this row has an RTT")
    return Sample(at_us, rtt, failure, detail)


def _rtt_us(values: dict[str, str]) -> int | None:
    name = "rtt_ms" if "rtt_ms" in values else "rtt_us"
    text = values[name]
    if not text:
        return None
    try:
        milliseconds = text if name == "rtt_ms" else str(Decimal(text) / 1_000)
        us = rtt_us(milliseconds)
    except (ValueError, InvalidOperation):
        raise ValueError(f"{name}: {text!r} is not a number; leave it empty for a lost probe") from None
    if not 0 < us <= RTT_US_MAX:
        raise ValueError(f"{name}: {text!r} is no round trip: 0 to 60 s; leave it empty for a lost probe")
    return us


def _failure(text: str, *, is_lost: bool) -> Failure | None:
    if text and not is_lost:
        raise ValueError(f"failure: {text!r} in a row with an RTT: it is one or the other")
    if not text:
        return Failure.TIMEOUT if is_lost else None
    try:
        return Failure(text)
    except ValueError:
        raise ValueError(f"failure: {text!r} is none of {', '.join(Failure)}") from None


def _detail(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) <= RTT_US_MAX):
        raise ValueError(f"detail: {text!r} is not a whole number up to {RTT_US_MAX}")
    return int(text)


def _in_order(samples: list[tuple[Sample, int]]) -> list[Sample]:
    samples.sort(key=lambda item: item[0].at_us)
    for (before, line), (after, other) in pairwise(samples):
        if before.at_us == after.at_us:
            raise wrong(max(line, other), f"has the same time as line {min(line, other)}")
    return [sample for sample, _ in samples]
