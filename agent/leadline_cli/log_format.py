"""Log format of long-running commands: one line per event on standard error.

Format: ``time level logger: event key=value …``.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import msgspec

#: Attributes of every LogRecord; all others come from ``extra``. uvicorn adds a second, coloured message.
_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
#: Minimum levels of libraries. Our own log lines already cover their requests, retries and migrations.
_LIBRARY_LEVELS = {
    "uvicorn": logging.WARNING,
    "uvicorn.error": logging.WARNING,
    "alembic": logging.WARNING,
    "urllib3": logging.ERROR,
}


class LineFormatter(logging.Formatter):
    """Formats an event as one line; a traceback follows on separate lines."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        extra = "".join(
            f" {name}={_quote_value(value)}" for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES
        )
        line = f"{at} {record.levelname.lower()} {record.name}: {record.getMessage()}{extra}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _quote_value(value: object) -> str:
    """Quote a value, so that it cannot break or forge a log line."""
    text = str(value)
    is_plain = text and text.isprintable() and " " not in text and '"' not in text
    return text if is_plain else msgspec.json.encode(text).decode()


def log_to_stderr(*, verbose: bool = False) -> None:
    """Send the logs of this process to standard error. Call it once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)
    for name, level in _LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(level)
