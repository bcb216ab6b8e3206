"""Distribution of tests to workers: one worker runs a whole file, or a whole folder with an expensive fixture."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

#: Folders for one worker: a second worker would start a second Chromium and simulate the month of the demo again.
WHOLE_FOLDERS = ("tests/browser/",)

#: Hypothesis without wall-clock limits: a busy machine must not fail a test.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("person", UNTIMED, max_examples=25)
#: The same examples in every run, and a printed blob that reproduces a failure.
settings.register_profile("ci", UNTIMED, max_examples=100, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "person")


class _Scheduling(LoadFileScheduling):  # type: ignore[misc]  # xdist has no type information
    def _split_scope(self, nodeid: str) -> str:
        whole = next((folder for folder in WHOLE_FOLDERS if nodeid.startswith(folder)), None)
        return whole or super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling | None:
    """Return the scheduler for ``--dist loadfile``; None selects the default of other modes."""
    return _Scheduling(config, log) if config.getoption("dist") == "loadfile" else None
