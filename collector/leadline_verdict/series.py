"""The windows of one path over a period as columns: dense by minute, so that position is time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from leadline.model import WINDOW_S

#: "None" in a column of microseconds: +infinity, or nothing to say (``leadline.statistics``).
MISSING = -1
IntColumn: TypeAlias = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSeries:
    """The windows of a path from ``start_s`` on, one a minute; a minute without a window has ``expected`` 0.

    RTTs are whole microseconds rounded up, NONE where ``WindowStats`` has None.
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
    #: H: the agent's own delay is at most this in 99 % of its loopback probes; NONE where it measured none.
    error_p99_us: IntColumn
    #: Some windows were generated and not measured.
    simulated: bool = False

    def __post_init__(self) -> None:
        if self.start_s % WINDOW_S:
            raise ValueError(f"{self.start_s} is not the start of a minute")
        if lengths := {len(self.get_column(name)) for name in COLUMNS} - {len(self)}:
            raise ValueError(f"columns of {len(self)} and of {lengths.pop()} minutes")

    @classmethod
    def from_columns(cls, start_s: int, columns: Mapping[str, IntColumn], *, simulated: bool = False) -> PathSeries:
        """A series from all of its columns by name (``empty_columns``)."""
        return cls(start_s=start_s, simulated=simulated, **{name: columns[name] for name in COLUMNS})

    def __len__(self) -> int:
        return len(self.expected)

    @property
    def end_s(self) -> int:
        """The first second after the period."""
        return self.start_s + len(self) * WINDOW_S

    def get_column(self, name: str) -> IntColumn:
        """One of ``COLUMNS``."""
        column: IntColumn = getattr(self, name)
        return column

    def min_rtt_us(self) -> int | None:
        """The shortest round trip of the period; None without a reply."""
        replied = self.min_us[self.min_us != MISSING]
        return int(replied.min()) if len(replied) else None


#: The columns by name, in order.
COLUMNS = tuple(field.name for field in fields(PathSeries) if field.name not in {"start_s", "simulated"})
#: Those that count probes: 0 where there is no window. The others are NONE there.
COUNT_FIELDS = ("expected", "sent", "received")


def make_empty_columns(minutes: int) -> dict[str, IntColumn]:
    """Columns of a period without a single window, to be filled."""
    return {name: np.full(minutes, 0 if name in COUNT_FIELDS else MISSING, dtype=np.int32) for name in COLUMNS}
