"""Rows of the CSV exchange file: a vectorised parser that checks every value.

Rule 1: a file is consistent or refused. An error has the line number, the value and the remedy.
Rule 2: the error is the first one of the file, by line.
Rule 3: memory is bounded by the header, not by the length of a line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import BinaryIO, TextIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from leadline.errors import ConfigError
from leadline.model import RTT_US_MAX, SLOTS_MAX, WINDOW_S
from leadline_verdict.csv_header import line_error
from leadline_verdict.series import COLUMNS, COUNT_FIELDS, MISSING, IntColumn, make_empty_columns

KEY_COLUMNS = ("source", "destination", "agent", "target")
COLUMN_HEADER = (*KEY_COLUMNS, "t", *COLUMNS)
#: Columns of format 1; the values of the other ones are MISSING.
FIRST_COLUMN_HEADER = tuple(name for name in COLUMN_HEADER if name != "latency_p95_us")
#: Longest row: four names of 70 characters and thirteen numbers of ten digits are shorter.
_ROW_BYTES_MAX = 4_096
_BLOCK_BYTES = 2 << 20
#: Longest number in digits; int64 holds it.
_DIGITS_MAX = 10
_NEWLINE, _COMMA, _ZERO = b"\n,0"
_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_SHOWN_CHARACTERS = 40
_WINDOW_MS = WINDOW_S * 1_000
#: Percentiles by column, as a fraction: the rank is the ceiling of the fraction of the probes sent.
_PERCENTILES = {"p50_us": (1, 2), "p95_us": (19, 20), "p99_us": (99, 100)}

_Int64Array: TypeAlias = NDArray[np.int64]
_Mask: TypeAlias = NDArray[np.bool_]
#: Columns of all paths: one row per path, one entry per minute.
PathColumns: TypeAlias = dict[str, IntColumn]


class LineReader:
    """Reads a file of bytes or text in whole lines; accepts CRLF and a byte order mark."""

    def __init__(self, file: TextIO | BinaryIO) -> None:
        # Bytes keep the line of an encoding error; a decoder reads ahead.
        self._file = getattr(file, "buffer", file)
        self._pending = self._read()
        if self._pending.startswith(_GZIP_MAGIC):
            raise line_error(1, "the file is compressed with gzip", "decompress it with gunzip first")
        self._pending = self._pending.removeprefix(_BOM)
        #: Number of the next line.
        self.line = 1
        self._digest = hashlib.sha256()

    def _read(self) -> bytes:
        data = self._file.read(_BLOCK_BYTES)
        return data.encode("utf-8", "surrogatepass") if isinstance(data, str) else bytes(data)

    @property
    def digest(self) -> str:
        """SHA-256 of the lines read after the first, with LF ends, in hex."""
        return self._digest.hexdigest()

    def peek(self, byte_count: int) -> bytes:
        """Return the first unread bytes."""
        return self._pending[:byte_count]

    def read_line(self, bytes_max: int) -> bytes:
        """Return the next line without its end."""
        parts, length = [self._pending], len(self._pending)
        while _NEWLINE not in parts[-1]:
            if length > bytes_max:
                raise line_error(self.line, f"the line is longer than {bytes_max:,} bytes")
            if not (data := self._read()):
                raise self._incomplete_line(b"".join(parts))
            parts.append(data)
            length += len(data)
        line, _, self._pending = b"".join(parts).partition(b"\n")
        if len(line) > bytes_max:
            raise line_error(self.line, f"the line is longer than {bytes_max:,} bytes")
        line = line.removesuffix(b"\r")
        if self.line > 1:
            self._digest.update(line + b"\n")
        self.line += 1
        return line

    def iter_blocks(self) -> Iterator[bytes]:
        """Yield the remaining lines in blocks of whole lines; update ``line`` after each block."""
        while True:
            end = self._pending.rfind(b"\n") + 1
            block, self._pending = self._pending[:end], self._pending[end:]
            if block:
                block = block.replace(b"\r\n", b"\n")
                self._digest.update(block)
                yield block
                self.line += block.count(b"\n")
            if len(self._pending) > _ROW_BYTES_MAX:
                raise line_error(self.line, f"the row is longer than {_ROW_BYTES_MAX:,} bytes")
            if not (data := self._read()):
                break
            self._pending += data
        if self._pending:
            raise self._incomplete_line(self._pending)

    def _incomplete_line(self, line: bytes) -> ConfigError:
        problem = f"the line has no end: {_show(line[:_SHOWN_CHARACTERS])}" if line else "the line is missing"
        return line_error(self.line, problem, "the file is incomplete: export it again")


def read_rows(
    reader: LineReader,
    column_header: tuple[str, ...],
    paths: Sequence[tuple[str, ...]],
    start_s: int,
    minutes: int,
) -> PathColumns:
    """Read the rows of these paths, given as ``KEY_COLUMNS``, over the minutes from ``start_s``.

    ``column_header`` is ``COLUMN_HEADER`` or ``FIRST_COLUMN_HEADER``.
    """
    columns: PathColumns = make_empty_columns((len(paths), minutes))
    index_by_key = {",".join(path).encode(): index for index, path in enumerate(paths)}
    for block in reader.iter_blocks():
        rows = _Rows(block, reader.line, column_header, index_by_key)
        rows.check(start_s, minutes, columns["expected"])
        at = rows.path_indexes, (rows["t"] - start_s) // WINDOW_S
        for name in COLUMNS:
            columns[name][at] = rows[name]
    return columns


class _Rows:
    """The rows of one block as columns. An error in the form of a row hides the rows after it until ``check``."""

    def __init__(
        self, block: bytes, first_line: int, column_header: tuple[str, ...], index_by_key: dict[bytes, int]
    ) -> None:
        self._block, self._first_line = block, first_line
        field_count = len(column_header)
        #: Errors by row, those of the same row in order of the checks.
        self._errors: list[tuple[int, str]] = []
        data = np.frombuffer(block, dtype=np.uint8)
        ends = np.flatnonzero(data == _NEWLINE)
        commas = np.flatnonzero(data == _COMMA)
        comma_counts = np.diff(np.searchsorted(commas, ends), prepend=0)
        wrong = np.flatnonzero(comma_counts != field_count - 1)
        if len(wrong):
            row = int(wrong[0])
            fields = int(comma_counts[row]) + 1 if ends[row] - (ends[row - 1] + 1 if row else 0) else 0
            self._errors.append((row, f"the row has {fields} fields instead of {field_count}"))
            ends, commas = ends[:row], commas[: row * (field_count - 1)]
        self._count = len(ends)
        separators = commas.reshape(self._count, field_count - 1)
        starts = np.concatenate(([0], ends[:-1] + 1)) if self._count else ends
        self.path_indexes = self._find_paths(starts, separators[:, len(KEY_COLUMNS) - 1], index_by_key)
        self._begins = separators[:, len(KEY_COLUMNS) - 1 :] + 1
        self._lengths = np.column_stack((separators[:, len(KEY_COLUMNS) :], ends)) - self._begins
        self._values = self._parse_numbers(data)

    def __getitem__(self, name: str) -> _Int64Array:
        return self._values[:, COLUMN_HEADER.index(name) - len(KEY_COLUMNS)]

    def _find_paths(self, starts: _Int64Array, ends: _Int64Array, index_by_key: dict[bytes, int]) -> _Int64Array:
        block = self._block
        keys = [block[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        indexes = np.array([index_by_key.get(key, -1) for key in keys], dtype=np.int64)
        unknown = np.flatnonzero(indexes < 0)
        if len(unknown):
            key = keys[unknown[0]].replace(b",", b" ").decode(errors="backslashreplace")
            key = key if key.isprintable() else repr(key)
            self._errors.append((int(unknown[0]), f"{key[:300]} is not a path of the header"))
        return indexes

    def _parse_numbers(self, data: NDArray[np.uint8]) -> _Int64Array:
        """Return the numbers; an empty field is MISSING, also in a column that may not be empty."""
        begins, lengths = self._begins.ravel(), self._lengths.ravel()
        values = np.where(lengths == 0, np.int64(MISSING), np.int64(0))
        is_number = lengths <= _DIGITS_MAX
        for position in range(_DIGITS_MAX):
            fields = np.flatnonzero(lengths > position)
            if not len(fields):
                break
            digits = data[begins[fields] + position] - np.uint8(_ZERO)
            is_number[fields] &= digits <= 9
            values[fields] = values[fields] * 10 + digits
        wrong = np.flatnonzero(~is_number)
        if len(wrong):
            row, column = divmod(int(wrong[0]), self._begins.shape[1])
            name, text = COLUMN_HEADER[len(KEY_COLUMNS) + column], self._get_field(row, column)
            is_integer = text.removeprefix(b"-").isdigit()
            shown = _show(text[:_SHOWN_CHARACTERS])
            problem = f"{name} is out of range: " if is_integer else f"invalid literal for a whole number: {name} is "
            self._errors.append((row, problem + (shown.strip("'") if is_integer else shown)))
        return self._add_absent_columns(values.reshape(self._begins.shape))

    def _add_absent_columns(self, values: _Int64Array) -> _Int64Array:
        """Return the values with a MISSING column for each column that format 1 does not have at its end."""
        absent = len(COLUMN_HEADER) - len(KEY_COLUMNS) - values.shape[1]
        return np.pad(values, ((0, 0), (0, absent)), constant_values=MISSING) if absent else values

    def _get_field(self, row: int, column: int) -> bytes:
        begin = int(self._begins[row, column])
        return self._block[begin : begin + int(self._lengths[row, column])]

    def check(self, start_s: int, minutes: int, expected_by_path: IntColumn) -> None:
        """Raise the first error of the block. ``expected_by_path`` has the windows of the previous blocks."""
        self._check_times(start_s, minutes)
        self._check_ranges()
        self._check_counts()
        self._check_presence()
        self._check_order()
        self._check_duplicates(start_s, minutes, expected_by_path)
        if self._errors:
            row, problem = min(self._errors, key=lambda error: error[0])
            raise line_error(self._first_line + row, problem)

    def _refuse(self, is_wrong: _Mask, problem: str, *names: str) -> None:
        """Note the first row of the mask; ``problem`` has a placeholder for each name and its value."""
        row = int(is_wrong.argmax()) if len(is_wrong) else 0
        if len(is_wrong) and is_wrong[row]:
            self._errors.append((row, problem.format(*(self._describe(row, name) for name in names))))

    def _describe(self, row: int, name: str) -> str:
        value = int(self[name][row])
        return f"{name} empty" if value == MISSING else f"{name} {value}"

    def _check_times(self, start_s: int, minutes: int) -> None:
        t = self["t"]
        is_wrong = (t % WINDOW_S != 0) | (t < start_s) | (t >= start_s + minutes * WINDOW_S)
        self._refuse(is_wrong, "{} is not a minute of the period", "t")

    def _check_ranges(self) -> None:
        for name in COUNT_FIELDS:
            self._refuse(self[name] == MISSING, "{}; a count is required", name)
            self._refuse(self[name] > SLOTS_MAX, f"{name} is out of range: {{}} is above {SLOTS_MAX}", name)
        for name in COLUMNS:
            if name not in COUNT_FIELDS:
                self._refuse(self[name] > RTT_US_MAX, f"{name} is out of range: {{}} is above {RTT_US_MAX}", name)

    def _check_counts(self) -> None:
        expected = self["expected"]
        is_schedule = (expected > 0) & (_WINDOW_MS % np.maximum(expected, 1) == 0)
        self._refuse(
            ~is_schedule,
            f"{{}} is not a number of probes in a minute: it must divide {_WINDOW_MS:,} milliseconds",
            "expected",
        )
        self._refuse(self["sent"] > expected, "{} is above {}", "sent", "expected")
        self._refuse(self["received"] > self["sent"], "{} is above {}", "received", "sent")

    def _check_presence(self) -> None:
        """A statistic is present exactly if it is defined (``leadline.statistics``); ``latency_p95_us`` only if."""
        sent, received = self["sent"], self["received"]
        is_defined = dict.fromkeys(("min_us", "mean_us", "max_us"), received > 0)
        for name, (numerator, denominator) in _PERCENTILES.items():
            is_defined[name] = (received > 0) & (-(-numerator * sent // denominator) <= received)
        is_defined["pdv_us"] = is_defined["p95_us"]
        for name, defined in is_defined.items():
            is_missing = self[name] == MISSING
            self._refuse(defined & is_missing, "{} with {} of {}: a value is required", name, "received", "sent")
            self._refuse_undefined(name, defined)
        # Empty also in a window that was stored before the column existed.
        lost = sent - received
        self._refuse_undefined("latency_p95_us", (lost > 0) & (lost <= sent // 20))

    def _refuse_undefined(self, name: str, defined: _Mask) -> None:
        is_wrong = (self[name] != MISSING) & ~defined
        self._refuse(is_wrong, "{} with {} of {}: the field must be empty", name, "received", "sent")

    def _check_order(self) -> None:
        orders = ("min_us", *_PERCENTILES), ("p50_us", "latency_p95_us", "p95_us"), ("min_us", "mean_us")
        for low, high in (pair for order in orders for pair in pairwise(order)):
            self._refuse((self[high] != MISSING) & (self[low] > self[high]), "{} is above {}", low, high)
        for name in ("min_us", "mean_us", *_PERCENTILES):
            self._refuse(self[name] > self["max_us"], "{} is above {}", name, "max_us")
        pdv = self["pdv_us"]
        self._refuse(
            (pdv != MISSING) & (pdv != self["p95_us"] - self["min_us"]),
            "{} is not the difference of {} and {}",
            "pdv_us",
            "p95_us",
            "min_us",
        )

    def _check_duplicates(self, start_s: int, minutes: int, expected_by_path: IntColumn) -> None:
        if self._errors:
            self._truncate(min(row for row, _ in self._errors))
        cells = self.path_indexes * minutes + (self["t"] - start_s) // WINDOW_S
        is_duplicate = expected_by_path.ravel()[cells] > 0
        order = np.argsort(cells, kind="stable")
        is_duplicate[order[1:]] |= cells[order[1:]] == cells[order[:-1]]
        self._refuse(is_duplicate, "duplicate window at {}", "t")

    def _truncate(self, count: int) -> None:
        """Keep the rows before the first error: only they have valid cells."""
        self.path_indexes, self._values = self.path_indexes[:count], self._values[:count]


def _show(data: bytes) -> str:
    return repr(data.decode(errors="backslashreplace"))
