"""Where a user's files are kept unless a command is told otherwise: functions of the environment, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

DATA_DIR_VARIABLE = "LEADLINE_DATA_DIR"


def resolve_data_dir(environ: Mapping[str, str]) -> Path:
    """A collector's database and keys: $LEADLINE_DATA_DIR, or leadline in $XDG_DATA_HOME or ~/.local/share."""
    if given := environ.get(DATA_DIR_VARIABLE):
        return Path(given)
    return Path(environ.get("XDG_DATA_HOME") or Path(environ.get("HOME", "/"), ".local", "share"), "leadline")


def resolve_state_dir(environ: Mapping[str, str]) -> Path:
    """An agent's credential and plan: what systemd gives (StateDirectory=), or leadline in $XDG_STATE_HOME or
    ~/.local/state.
    """
    if given := environ.get("STATE_DIRECTORY"):
        return Path(given)
    return Path(environ.get("XDG_STATE_HOME") or Path(environ.get("HOME", "/"), ".local", "state"), "leadline")
