"""Scheduling of the test bed: a probe or frame that waits for a core is a delay of the machine, not of the path."""

from __future__ import annotations

import os
from contextlib import suppress


def run_before_others() -> None:
    """Run the current thread before all normal threads of the machine. Without the permission, change nothing."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def run_as_others() -> None:
    """Undo ``run_before_others``."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
