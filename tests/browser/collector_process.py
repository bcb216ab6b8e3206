"""Runs a real collector with a fixed clock, so that its pages are the same in every run."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from leadline_cli.log_format import log_to_stderr
from leadline_collector.config import read_config
from leadline_collector.server.serve import serve
from tests.support.clock import FakeClock


def main() -> int:
    """Serve until SIGTERM; print the URL as the only line of output."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--now-s", type=int, required=True)
    parser.add_argument("--viewer-key-file", type=Path)
    args = parser.parse_args()
    log_to_stderr()
    config = read_config(vars(args) | {"port": 0}, {})
    serve(config, FakeClock(wall_ns=args.now_s * 1_000_000_000), partial(print, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
