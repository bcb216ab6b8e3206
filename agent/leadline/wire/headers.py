"""What an agent tells of itself in the headers of its requests, and how a collector reads it. Pure.

It is news and no evidence: nothing is signed, journalled or judged by it, and what is malformed is passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from leadline import __version__

#: Header of every POST of a batch: ``batches=12, bytes=34567, max=536870912``.
SPOOL_HEADER = "Leadline-Spool"
#: 9 PB or 10^15 batches: far beyond any spool, and within 64 bits.
_DIGITS_MAX = 15
VERSION_LENGTH_MAX = 32

_NUMBER_PATTERN = rf"(0|[1-9][0-9]{{0,{_DIGITS_MAX - 1}}})"
_SPOOL_PATTERN = re.compile(rf"batches={_NUMBER_PATTERN}, bytes={_NUMBER_PATTERN}, max={_NUMBER_PATTERN}")
#: A version as PEP 440 writes them, and nothing behind it.
_USER_AGENT_PATTERN = re.compile(rf"leadline-agent/([0-9][0-9A-Za-z.+-]{{0,{VERSION_LENGTH_MAX - 1}}})")

#: What an agent sends as ``User-Agent``.
USER_AGENT = f"leadline-agent/{__version__}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolBacklog:
    """What waits in a spool for its acknowledgement."""

    batches: int
    #: On disk, by whole segments: what is acknowledged in them goes with them.
    bytes: int
    #: How much the spool may take.
    bytes_max: int

    def to_header(self) -> str:
        """As it travels."""
        return f"batches={self.batches}, bytes={self.bytes}, max={self.bytes_max}"


def parse_backlog(header: str) -> SpoolBacklog | None:
    """What a ``SPOOL_HEADER`` says; None for anything that no agent of ours sends."""
    found = _SPOOL_PATTERN.fullmatch(header)
    if found is None:
        return None
    batches, size, size_max = map(int, found.groups())
    return SpoolBacklog(batches=batches, bytes=size, bytes_max=size_max)


def parse_agent_version(header: str) -> str | None:
    """The version in a ``User-Agent``; None for one that is not an agent's."""
    found = _USER_AGENT_PATTERN.fullmatch(header)
    return None if found is None else found[1]
