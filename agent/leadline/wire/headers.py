"""Request headers in which an agent reports its version and its backlog.

Informational only: unsigned, not stored in the journal, not used in evaluations. Malformed values are ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from leadline import __version__

#: Header of every POST of a batch: ``batches=12, bytes=34567, max=536870912``.
SPOOL_HEADER = "Leadline-Spool"
#: Up to 10^15 bytes (1 PB) or batches: more than any spool, and within 64 bits.
_DIGITS_MAX = 15
VERSION_LENGTH_MAX = 32

_NUMBER_PATTERN = rf"(0|[1-9][0-9]{{0,{_DIGITS_MAX - 1}}})"
_SPOOL_PATTERN = re.compile(rf"batches={_NUMBER_PATTERN}, bytes={_NUMBER_PATTERN}, max={_NUMBER_PATTERN}")
#: A version in PEP 440 form at the end of the header.
_USER_AGENT_PATTERN = re.compile(rf"leadline-agent/([0-9][0-9A-Za-z.+-]{{0,{VERSION_LENGTH_MAX - 1}}})")

#: ``User-Agent`` header of an agent.
USER_AGENT = f"leadline-agent/{__version__}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolBacklog:
    """Unacknowledged batches in a spool."""

    batches: int
    #: Size on disk of whole segments, including the acknowledged batches in them.
    bytes: int
    #: Size limit of the spool.
    bytes_max: int

    def to_header(self) -> str:
        """Format the value of ``SPOOL_HEADER``."""
        return f"batches={self.batches}, bytes={self.bytes}, max={self.bytes_max}"


def parse_backlog(header: str) -> SpoolBacklog | None:
    """Parse the value of ``SPOOL_HEADER``; None if it is malformed."""
    match = _SPOOL_PATTERN.fullmatch(header)
    if match is None:
        return None
    batches, size, size_max = map(int, match.groups())
    return SpoolBacklog(batches=batches, bytes=size, bytes_max=size_max)


def parse_agent_version(header: str) -> str | None:
    """Return the agent version in a ``User-Agent`` header; None if the client is not an agent."""
    match = _USER_AGENT_PATTERN.fullmatch(header)
    return None if match is None else match[1]
