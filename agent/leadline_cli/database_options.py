"""Options and configuration of the commands that open a collector's database directly."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from leadline.durations import parse_duration_ms
from leadline.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from leadline_collector.config import CollectorConfig, Retention

#: Help texts of the ``--keep-*`` options, by kind of data.
_RETENTION_TIERS = {
    "journal": "how long to keep compacted batches as received from agents (default 14d)",
    "windows": "how long to keep one row for each window (default 90d)",
    "raw": "how long to keep every round-trip time, in chunks (default 400d)",
    "rollups": "how long to keep rollups: sums, histograms, packed windows and state counts (default 1826d)",
}
_FOREVER = "forever"
_MS_PER_S = 1_000


def add_database_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that locate the database."""
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR",
        help="directory of database and admin key (default $LEADLINE_DATA_DIR, or leadline in $XDG_DATA_HOME or "
        "~/.local/share)",
    )  # fmt: skip
    parser.add_argument(
        "--database-url", metavar="URL",
        help="postgresql://… or sqlite:///FILE (default $LEADLINE_DATABASE_URL, or leadline.sqlite in the data "
        "directory); put a password into the variable or a password file, not on the command line",
    )  # fmt: skip


def add_retention_options(parser: argparse.ArgumentParser) -> None:
    """Add the ``--keep-*`` options."""
    for tier, text in _RETENTION_TIERS.items():
        parser.add_argument(f"--keep-{tier}", metavar="DURATION", help=f"{text}; a duration or '{_FOREVER}'")


def _parse_retention(args: argparse.Namespace) -> Retention:
    """Return the retention from the options; ConfigError names the invalid option."""
    from leadline_collector.config import Retention

    texts = {tier: getattr(args, f"keep_{tier}", None) for tier in _RETENTION_TIERS}
    return Retention(**{f"{tier}_s": _parse_seconds(tier, text) for tier, text in texts.items() if text is not None})


def _parse_seconds(tier: str, text: str) -> int | None:
    if text == _FOREVER:
        return None
    try:
        return parse_duration_ms(text) // _MS_PER_S
    except ValueError as error:
        raise ConfigError(f"--keep-{tier}", f"{error}, or '{_FOREVER}'") from error


def read_collector_config(args: argparse.Namespace) -> CollectorConfig:
    """Read the configuration from options and environment; UnavailableError if the collector is not installed."""
    try:
        from leadline_collector.config import read_config
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"the collector needs {error.name}, which is not installed: pip install 'leadline[collector]'"
        ) from error
    return read_config(vars(args) | _parse_key_ttl(args) | {"retention": _parse_retention(args)}, os.environ)


def _parse_key_ttl(args: argparse.Namespace) -> dict[str, int]:
    if getattr(args, "key_ttl", None) is None:
        return {}
    try:
        return {"key_ttl_s": parse_duration_ms(args.key_ttl) // 1_000}
    except ValueError as error:
        raise ConfigError("--key-ttl", str(error)) from error
