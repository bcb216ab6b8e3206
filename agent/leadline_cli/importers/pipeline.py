"""Import pipeline: read a file and split it into windows. It needs no collector."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain
from pathlib import Path

from leadline.errors import ConfigError
from leadline.model import Window
from leadline_cli.importers import csv_file, fping, iputils, windowing
from leadline_cli.importers import samples as importers_samples
from leadline_cli.importers.printed_rtt import Rounding
from leadline_cli.importers.samples import LogRun, ParsedLog, Sample

#: A month of ping output at one probe a second is 230 MB, and needs two gigabytes of memory to read.
FILE_BYTES_MAX = 256 << 20
#: Default interval of ping (option -i, ping(8)).
PING_PERIOD_MS = 1_000


class ImportFormat(StrEnum):
    """Supported formats."""

    FPING = "fping"
    PING = "ping"
    CSV = "csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """Options of the user for a file."""

    format: ImportFormat
    host: str | None = None
    #: Send time of the first probe, for files without times.
    start_us: int | None = None
    interval_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportFile:
    """A file split into windows."""

    file: str
    sha256: str
    format: ImportFormat
    host: str | None
    address: str | None
    start_us: int | None
    first_us: int
    last_us: int
    period_us: int | None
    interval_ms: int
    resolution_us: int | None
    rounding: Rounding
    windows: Sequence[Window]
    notes: Sequence[str]


def load_file(path: Path, options: ImportOptions) -> ImportFile:
    """Load a file; ConfigError describes a problem of the file or an option."""
    try:
        return _load_file(path, options)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"is not text in UTF-8: {error}") from error
    except ConfigError as error:
        key = str(path) if error.key == "FILE" else error.key if error.key.startswith("-") else f"{path}, {error.key}"
        raise ConfigError(key, error.problem) from error


def _load_file(path: Path, options: ImportOptions) -> ImportFile:
    size = path.stat().st_size
    if size > FILE_BYTES_MAX:
        raise ConfigError("FILE", f"has {size} bytes; split it into parts of at most {FILE_BYTES_MAX} bytes")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with path.open(encoding="utf-8", newline="") as lines:
        log, samples = _read_samples(lines, options)
    interval_ms = windowing.choose_interval_ms(samples, options.interval_ms)
    return ImportFile(
        file=path.name,
        sha256=sha256,
        format=options.format,
        host=log.runs[0].host if log.runs else None,
        address=_find_address(log.runs),
        start_us=options.start_us,
        first_us=samples[0].at_us,
        last_us=samples[-1].at_us,
        period_us=windowing.compute_period_us(samples),
        interval_ms=interval_ms,
        resolution_us=log.resolution_us,
        rounding=log.rounding,
        windows=windowing.build_windows(samples, interval_ms),
        notes=[*_collect_notes(log, options)],
    )


def _read_samples(lines: Iterable[str], options: ImportOptions) -> tuple[ParsedLog, list[Sample]]:
    """Return the runs of the selected host (none for a CSV) and their samples in order."""
    if options.format is ImportFormat.CSV:
        return _read_csv(lines, options)
    log = fping.parse_log(lines) if options.format is ImportFormat.FPING else iputils.parse_log(lines)
    runs = importers_samples.select_runs(log, options.host)
    period_ms = options.interval_ms or (PING_PERIOD_MS if options.format is ImportFormat.PING else None)
    samples = importers_samples.assign_times(runs, options.start_us, None if period_ms is None else period_ms * 1_000)
    return replace(log, runs=runs), samples


def _read_csv(lines: Iterable[str], options: ImportOptions) -> tuple[ParsedLog, list[Sample]]:
    if options.start_us is not None:
        raise ConfigError("--start", "cannot be used with a CSV, which has one host and its own times")
    rest = iter(lines)
    header = next(rest, "")
    notes = (csv_file.EXPORT_NOTE,) if csv_file.is_export(header) else ()
    content = csv_file.parse_csv(chain([header], rest), options.host)
    log = ParsedLog(runs=(), resolution_us=content.resolution_us, rounding=content.rounding, notes=notes)
    return log, content.samples


def _find_address(runs: Sequence[LogRun]) -> str | None:
    addresses = {run.address for run in runs if run.address is not None}
    if len(addresses) > 1:
        raise ConfigError(
            "FILE", f"{runs[0].host} has several addresses ({', '.join(sorted(addresses))}): split the file"
        )
    return next(iter(addresses), None)


def _collect_notes(log: ParsedLog, options: ImportOptions) -> Iterable[str]:
    yield from dict.fromkeys(note for run in log.runs for note in run.notes)
    yield from log.notes
    if options.start_us is not None:
        step = f"{options.interval_ms} ms" if options.interval_ms else f"{PING_PERIOD_MS} ms, the default of ping"
        yield f"times are computed from --start in steps of {step}; their error grows with the length of the file"
    if options.format is not ImportFormat.CSV or not log.notes:
        yield "no kernel timestamps and no calibration: the own error does not include the delay of the measuring host"
