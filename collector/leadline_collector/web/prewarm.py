"""Makes what the first page of a pair needs while its visitor still reads the matrix: some two seconds of work.

Not at the start of a collector: the bundle takes some 100 MB, which one that nobody looks at does not need.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from functools import cache

from leadline_collector.web.charts import distribution, hour_of_week, render, timeline_spec

log = logging.getLogger(__name__)
#: What is asked for comes first.
_NICENESS = 10


@cache
def start_prewarming() -> threading.Thread:
    """The thread that makes it, or has; once in the life of the process, which at its end waits for it."""
    thread = threading.Thread(target=_prewarm_caches, name="warming")
    thread.start()
    return thread


def _prewarm_caches() -> None:
    if sys.platform == "linux":
        # Of this thread alone; other systems have no such thing.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
    for make in (timeline_spec.build_spec, distribution.build_spec, hour_of_week.build_spec, render.build_bundle):
        try:
            make()
        except Exception:
            # Nobody waits for it: the page that needs it makes it, and says what is wrong.
            log.exception("a chart could not be prepared", extra={"what": make.__qualname__})
