"""Builds chart specifications and the script bundle in the background, about two seconds of work.

It starts with the first request for the matrix, so that the first pair page does not wait. It does not start with the
collector, because the bundle takes about 100 MB, which a collector without visitors does not need.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from functools import cache

from leadline_collector.web.charts import distribution, hour_of_week, render, timeline_spec

log = logging.getLogger(__name__)
#: Lower priority than the threads that handle requests.
_NICENESS = 10


@cache
def start_prewarming() -> threading.Thread:
    """Start the thread on the first call, and return it. The process waits for it at exit."""
    thread = threading.Thread(target=_prewarm_caches, name="prewarm")
    thread.start()
    return thread


def _prewarm_caches() -> None:
    if sys.platform == "linux":
        # Only Linux has a priority per thread.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
    for build in (timeline_spec.build_spec, distribution.build_spec, hour_of_week.build_spec, render.build_bundle):
        try:
            build()
        except Exception:
            # The page that needs it builds it again and reports the error.
            log.exception("prewarming failed", extra={"what": build.__qualname__})
