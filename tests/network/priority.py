"""Realtime scheduling of the test bed: waiting for a core would add delay to probes and frames."""

from __future__ import annotations

import os
from contextlib import suppress


def run_before_others() -> None:
    """Run the current thread before all normal threads of the machine; do nothing without the permission."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def run_as_others() -> None:
    """Undo ``run_before_others``."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
