"""Columns of exported probes: the contract between the collector's export and the CSV reader of ``leadline import``.

docs/export.md describes them.
"""

from __future__ import annotations

from enum import StrEnum

#: Columns of a row, in order; the same names are the keys of a JSON line.
PROBE_COLUMNS = (
    "time", "agent", "target", "slot", "rtt_us", "failure", "detail", "error_p50_us", "error_p99_us", "origin",
)  # fmt: skip
#: Response header with the start of the first hour with probes, if earlier ones of the period were deleted.
DELETED_BEFORE_HEADER = "Leadline-Deleted-Before"


class ProbeOrigin(StrEnum):
    """Where the probes of a path come from. The list is complete."""

    #: Measured by an agent.
    MEASURED = "measured"
    #: Imported from a file.
    IMPORTED = "imported"
    #: The mesh marks a site of the pair as simulated.
    SIMULATED = "simulated"
