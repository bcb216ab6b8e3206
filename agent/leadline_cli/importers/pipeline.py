"""A file on disk, read and cut into windows: all that can be said of it without a collector."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from leadline.errors import ConfigError
from leadline.model import Window
from leadline_cli.importers import csv_file, fping, iputils, windowing
from leadline_cli.importers import samples as importers_samples
from leadline_cli.importers.samples import LogRun, ParsedLog, Sample

#: A month of a probe a second as ping prints it is 230 MB, and takes two gigabytes while it is read.
FILE_BYTES_MAX = 256 << 20
#: Between probes of ping, unless -i says otherwise (ping(8)).
PING_PERIOD_MS = 1_000


class ImportFormat(StrEnum):
    """What is read. The list is closed."""

    FPING = "fping"
    PING = "ping"
    CSV = "csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What the user says of a file."""

    format: ImportFormat
    host: str | None = None
    #: When the first probe was sent, for files without times.
    start_us: int | None = None
    interval_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportFile:
    """A file as windows."""

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
    windows: Sequence[Window]
    notes: Sequence[str]


def load_file(path: Path, options: ImportOptions) -> ImportFile:
    """The windows of a file; ConfigError says what is wrong with the file or an option."""
    try:
        return _load_file(path, options)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"is not text in UTF-8: {error}") from error
    except ConfigError as error:
        key = str(path) if error.key == "FILE" else error.key if error.key.startswith("-") else f"{path}, {error.key}"
        raise ConfigError(key, error.problem) from error


def _load_file(path: Path, choices: ImportOptions) -> ImportFile:
    size = path.stat().st_size
    if size > FILE_BYTES_MAX:
        raise ConfigError("FILE", f"has {size} bytes; import parts of at most {FILE_BYTES_MAX}")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with path.open(encoding="utf-8", newline="") as lines:
        found, samples = _read_samples(lines, choices)
    ms = windowing.choose_interval_ms(samples, choices.interval_ms)
    return ImportFile(
        file=path.name,
        sha256=sha256,
        format=choices.format,
        host=found.runs[0].host if found.runs else None,
        address=_find_address(found.runs),
        start_us=choices.start_us,
        first_us=samples[0].at_us,
        last_us=samples[-1].at_us,
        period_us=windowing.compute_period_us(samples),
        interval_ms=ms,
        resolution_us=found.resolution_us,
        windows=windowing.build_windows(samples, ms),
        notes=[*_collect_notes(found, choices)],
    )


def _read_samples(lines: Iterable[str], choices: ImportOptions) -> tuple[ParsedLog, list[Sample]]:
    """The runs of the chosen host (none for a CSV) and their samples in order."""
    if choices.format is ImportFormat.CSV:
        if choices.host is not None or choices.start_us is not None:
            raise ConfigError("--host" if choices.host else "--start", "a CSV is about one host and has its own times")
        return ParsedLog(runs=()), csv_file.parse_csv(lines)
    reading = fping.parse_log(lines) if choices.format is ImportFormat.FPING else iputils.parse_log(lines)
    chosen = importers_samples.select_runs(reading, choices.host)
    period_ms = choices.interval_ms or (PING_PERIOD_MS if choices.format is ImportFormat.PING else None)
    samples = importers_samples.assign_times(chosen, choices.start_us, None if period_ms is None else period_ms * 1_000)
    return ParsedLog(runs=chosen, resolution_us=reading.resolution_us), samples


def _find_address(found: Sequence[LogRun]) -> str | None:
    addresses = {run.address for run in found if run.address is not None}
    if len(addresses) > 1:
        raise ConfigError("FILE", f"{found[0].host} was at several addresses ({', '.join(sorted(addresses))}): cut it")
    return next(iter(addresses), None)


def _collect_notes(found: ParsedLog, choices: ImportOptions) -> Iterable[str]:
    yield from dict.fromkeys(note for run in found.runs for note in run.notes)
    if choices.start_us is not None:
        step = f"{choices.interval_ms} ms" if choices.interval_ms else f"{PING_PERIOD_MS} ms, the default of ping"
        yield f"the times are counted from --start in steps of {step}: the longer the file, the further they may be off"
    if found.resolution_us is not None and found.resolution_us > 1:
        yield f"RTTs are printed in steps up to {found.resolution_us} µs: a true one may be half a step more or less"
    yield "no kernel stamps and no calibration: what the measuring host added to an RTT is not known"
