"""The options and the settings of every command that opens a collector's database itself."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from leadline.durations import duration_ms
from leadline.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from leadline_collector.config import CollectorConfig


def add_storage(parser: argparse.ArgumentParser) -> None:
    """Where the data is."""
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR",
        help="database and admin key (default $LEADLINE_DATA_DIR, or leadline in $XDG_DATA_HOME or ~/.local/share)",
    )  # fmt: skip
    parser.add_argument(
        "--database-url", metavar="URL",
        help="postgresql://… or sqlite:///FILE (default $LEADLINE_DATABASE_URL, or leadline.sqlite in the data "
        "directory); a password belongs into the variable or a password file, not on the command line",
    )  # fmt: skip


def config_of(args: argparse.Namespace) -> CollectorConfig:
    """What the options and the environment say; UnavailableError where the collector is not installed."""
    try:
        from leadline_collector.config import read_config
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"the collector needs {error.name}, which is not installed: pip install 'leadline[collector]'"
        ) from error
    return read_config(vars(args) | _key_ttl(args), os.environ)


def _key_ttl(args: argparse.Namespace) -> dict[str, int]:
    if getattr(args, "key_ttl", None) is None:
        return {}
    try:
        return {"key_ttl_s": duration_ms(args.key_ttl) // 1_000}
    except ValueError as error:
        raise ConfigError("--key-ttl", str(error)) from error
