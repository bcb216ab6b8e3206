"""How the tests share the cores: a file is one worker's, and so are all files that need the same costly thing."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

#: One worker's as a whole: a second one would start a second Chromium and simulate the demo's month again.
WHOLE_FOLDERS = ("tests/browser/",)

#: Hypothesis measures neither an example nor its generation by the wall clock: a busy machine fails no test.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("person", UNTIMED, max_examples=25)
#: The same examples in every run, and a line that repeats a failure elsewhere.
settings.register_profile("ci", UNTIMED, max_examples=100, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "person")


class _Scheduling(LoadFileScheduling):  # type: ignore[misc]  # xdist has no type information
    def _split_scope(self, nodeid: str) -> str:
        whole = next((folder for folder in WHOLE_FOLDERS if nodeid.startswith(folder)), None)
        return whole or super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling | None:
    """For ``--dist loadfile``; any other way to share keeps its own rules."""
    return _Scheduling(config, log) if config.getoption("dist") == "loadfile" else None
