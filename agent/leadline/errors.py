"""One root for every error that a person is meant to read: what happened, with which value, and what to do next.

LeadlineError
├── ConfigError       a file, an option or an environment variable is wrong: names the key
├── WireError         a document from another process is wrong: names the path inside the document
│   └── WireVersionError  it is of a version that is newer than this program
└── UnavailableError  something outside refused or is missing: permission, socket, collector, database

Expected outcomes (a lost probe, a refused push) are values, not exceptions.
"""

from __future__ import annotations


class LeadlineError(Exception):
    """Root: the command line prints it in one line and exits 2."""


class ConfigError(LeadlineError):
    """A setting is wrong; ``key`` says which, in the words of the file or the option."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class WireError(LeadlineError):
    """A document of the wire is wrong; ``path`` says where, such as ``series[3].rtt_us``."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class WireVersionError(WireError):
    """The document is of a newer version of the wire: not wrong, only not for us yet."""


class UnavailableError(LeadlineError):
    """Something outside of leadline refused or is missing; the message carries the remedy."""
