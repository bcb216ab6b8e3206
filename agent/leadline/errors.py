"""Exceptions with a message for the user: what happened, with which value, and what to do next.

LeadlineError
├── ConfigError       a file, an option or an environment variable is wrong; has the key
├── WireError         a document from another process is invalid; has the path inside the document
│   └── WireVersionError  the document has a version newer than this program supports
└── UnavailableError  an external resource refused or is missing: permission, socket, collector, database

Expected outcomes (a lost probe, a refused upload) are values, not exceptions.
"""

from __future__ import annotations


class LeadlineError(Exception):
    """Base class; the command line prints the message in one line and exits with status 2."""


class ConfigError(LeadlineError):
    """Invalid setting; ``key`` is its name in the file, on the command line or in the environment."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class WireError(LeadlineError):
    """Invalid wire document; ``path`` is the place of the error, such as ``series[3].rtt_us``."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class WireVersionError(WireError):
    """Wire document of a newer version than this program supports."""


class UnavailableError(LeadlineError):
    """External resource that refused or is missing; the message includes the remedy."""
