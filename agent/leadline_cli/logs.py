"""Logs of the long-running commands: one line per fact on standard error, values as key=value."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

#: What every record carries; all else came in by ``extra`` and is printed.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class LineFormatter(logging.Formatter):
    """``2026-11-22T10:00:00.123Z info leadline_agent.loop: batch accepted seq=17 windows=50``."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        values = "".join(f" {key}={_value(value)}" for key, value in vars(record).items() if key not in _STANDARD)
        line = (
            f"{at:%Y-%m-%dT%H:%M:%S}.{record.msecs:03.0f}Z {record.levelname.lower()} {record.name}: "
            f"{record.getMessage()}{values}"
        )
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _value(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(character.isspace() or character == '"' for character in text) else text


def log_to_stderr(*, verbose: bool = False) -> None:
    """Set up logging for this process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)
    # urllib3 warns of every retry; the agent says in its own words why a batch is kept.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
