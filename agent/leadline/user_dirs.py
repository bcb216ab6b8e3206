"""Default directories of a user's files, derived from the environment; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

DATA_DIR_VARIABLE = "LEADLINE_DATA_DIR"


def resolve_data_dir(environ: Mapping[str, str]) -> Path:
    """Return the directory of the collector's database and keys.

    $LEADLINE_DATA_DIR, else ``leadline`` in $XDG_DATA_HOME or ~/.local/share.
    """
    if data_dir := environ.get(DATA_DIR_VARIABLE):
        return Path(data_dir)
    return Path(environ.get("XDG_DATA_HOME") or Path(environ.get("HOME", "/"), ".local", "share"), "leadline")


def resolve_state_dir(environ: Mapping[str, str]) -> Path:
    """Return the directory of the agent's credential and plan.

    $STATE_DIRECTORY (set by systemd for StateDirectory=), else ``leadline`` in $XDG_STATE_HOME or ~/.local/state.
    """
    if state_dir := environ.get("STATE_DIRECTORY"):
        return Path(state_dir)
    return Path(environ.get("XDG_STATE_HOME") or Path(environ.get("HOME", "/"), ".local", "state"), "leadline")
