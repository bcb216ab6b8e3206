"""Windows of one path over a period as columns with one entry per minute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from leadline.model import WINDOW_S

#: None in a column of microseconds: +infinity or undefined (``leadline.statistics``).
MISSING = -1
IntColumn: TypeAlias = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSeries:
    """Windows of a path from ``start_s``, one per minute; a minute without a window has ``expected`` 0.

    RTTs are whole microseconds, rounded up; MISSING replaces the None of ``WindowStats``.
    """

    #: Epoch second of the first minute.
    start_s: int
    expected: IntColumn
    sent: IntColumn
    received: IntColumn
    min_us: IntColumn
    mean_us: IntColumn
    p50_us: IntColumn
    p95_us: IntColumn
    p99_us: IntColumn
    max_us: IntColumn
    pdv_us: IntColumn
    #: H: error bound, the p99 of the agent's loopback probes; MISSING without loopback probes.
    error_p99_us: IntColumn
    #: See ``WindowStats``; MISSING also for a window of one to three losses that was stored before it existed.
    latency_p95_us: IntColumn
    #: True if any window is simulated, not measured.
    simulated: bool = False

    def __post_init__(self) -> None:
        if self.start_s % WINDOW_S:
            raise ValueError(f"{self.start_s} is not the start of a minute")
        if lengths := {len(self.get_column(name)) for name in COLUMNS} - {len(self)}:
            raise ValueError(f"the columns differ in length: {len(self)} and {lengths.pop()} minutes")

    @classmethod
    def from_columns(cls, start_s: int, columns: Mapping[str, IntColumn], *, simulated: bool = False) -> PathSeries:
        """Build a series from its columns by name (see ``make_empty_columns``)."""
        return cls(start_s=start_s, simulated=simulated, **{name: columns[name] for name in COLUMNS})

    def __len__(self) -> int:
        return len(self.expected)

    @property
    def end_s(self) -> int:
        """First second after the period."""
        return self.start_s + len(self) * WINDOW_S

    def get_column(self, name: str) -> IntColumn:
        """Return one of ``COLUMNS``."""
        column: IntColumn = getattr(self, name)
        return column

    def find_first_minute(self) -> int:
        """Return the index of the first minute with a window; the length without any."""
        present = np.flatnonzero(self.expected)
        return int(present[0]) if len(present) else len(self)

    def skip_minutes(self, count: int) -> PathSeries:
        """Return the series without its first ``count`` minutes."""
        columns = {name: self.get_column(name)[count:] for name in COLUMNS}
        return PathSeries.from_columns(self.start_s + count * WINDOW_S, columns, simulated=self.simulated)

    def min_rtt_us(self) -> int | None:
        """Return the minimum RTT of the period; None without a reply."""
        replied = self.min_us[self.min_us != MISSING]
        return int(replied.min()) if len(replied) else None


#: Names of the columns, in order.
COLUMNS = tuple(field.name for field in fields(PathSeries) if field.name not in {"start_s", "simulated"})
#: Columns that count probes: 0 for a minute without a window. The other columns are MISSING there.
COUNT_FIELDS = ("expected", "sent", "received")


def make_empty_columns(shape: int | tuple[int, int]) -> dict[str, IntColumn]:
    """Return the columns of a period without windows; ``shape`` is minutes, or (paths, minutes)."""
    return {name: np.full(shape, 0 if name in COUNT_FIELDS else MISSING, dtype=np.int32) for name in COLUMNS}
