"""Collector process of a chaos run: the real collector with the fast clock, and deliberately broken for a variant."""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
from pathlib import Path

from leadline_cli.log_format import log_to_stderr
from leadline_collector.config import Retention, read_config
from leadline_collector.server.serve import serve
from tests.chaos.fast_clock import FastClock
from tests.chaos.variants import Variant, break_collector


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--database-url")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--origin-ns", type=int, required=True)
    parser.add_argument("--variant", type=Variant, default=Variant.NONE)
    args = parser.parse_args()
    # Print a traceback if the interpreter itself crashes.
    faulthandler.enable()
    log_to_stderr()
    break_collector(args.variant)
    # The checker compares bodies, and the windows of a run are two months old: retain everything.
    unlimited = Retention(journal_s=None, windows_s=None, raw_s=None, rollups_s=None)
    serve(read_config(vars(args) | {"retention": unlimited}, os.environ), FastClock(args.origin_ns), print)
    return 0


if __name__ == "__main__":
    sys.exit(main())
