"""An agent of a chaos run: put together as ``leadline agent run`` does, with three things of the test's own.

The clock is fast, the spool's promises are witnessed, and the probing process is ``tests.chaos.source``. A collector
that says nothing is given up after a second of real time.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
from pathlib import Path

import urllib3

from leadline.clock import make_rng
from leadline_agent.agent import AgentLoop
from leadline_agent.delivery import collector_client
from leadline_agent.delivery.batch_builder import BatchBuilder
from leadline_agent.delivery.collector_client import CollectorClient
from leadline_agent.identity.state_dir import StateDirectory
from leadline_agent.spool.filesystem import DirectoryFileSystem
from leadline_agent.spool.quota import SpoolQuota
from leadline_cli.log_format import log_to_stderr
from tests.chaos.cluster import OPENED
from tests.chaos.fast_clock import FastClock
from tests.chaos.oracle import OracleFile, WitnessedSpool
from tests.chaos.variants import Variant, break_agent, choose_sender_class

TIMEOUT = urllib3.Timeout(connect=1.0, read=1.0)
#: Small, so that a run has many of them.
SEGMENT_BYTES = 64 << 10


def main() -> int:
    """Run until SIGTERM."""
    args = _build_parser().parse_args()
    log_to_stderr()
    collector_client.TIMEOUT = TIMEOUT
    break_agent(args.variant)
    loop = _build_agent(args)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    loop.run()
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--oracle", type=Path, required=True)
    parser.add_argument("--origin-ns", type=int, required=True)
    parser.add_argument("--quiet-file", type=Path, required=True)
    parser.add_argument("--spool-bytes", type=int, default=512 << 20)
    parser.add_argument("--variant", type=Variant, default=Variant.NONE)
    return parser


def _build_agent(args: argparse.Namespace) -> AgentLoop:
    state = StateDirectory(args.state_dir)
    credential = state.load_credential()
    clock, rng = FastClock(args.origin_ns), make_rng()
    spool = WitnessedSpool(
        oracle=OracleFile(args.oracle),
        file_system=DirectoryFileSystem(args.state_dir / "spool"),
        clock=clock,
        make_epoch=lambda: secrets.token_hex(16),
        quota=_build_limits(args.spool_bytes),
    )
    # It knows now what its spool holds: whatever goes from here on it can tell.
    (args.state_dir / OPENED).write_text(str(os.getpid()))
    sealer = BatchBuilder(credential.agent, spool, clock)
    clients = [
        CollectorClient(url, credential, state.load_credential, spool.get_backlog)
        for url in (credential.collector, *credential.also)
    ]
    source = [sys.executable, "-m", "tests.chaos.source", "--agent", credential.agent]
    source += ["--origin-ns", str(args.origin_ns), "--quiet-file", str(args.quiet_file)]
    sender = choose_sender_class(args.variant)(clients=clients, spool=spool, batch_builder=sealer, clock=clock, rng=rng)
    return AgentLoop(
        agent=credential.agent,
        site=credential.site,
        uploader=sender,
        batch_builder=sealer,
        spool=spool,
        state_dir=state,
        clock=clock,
        rng=rng,
        prober_command=source,
    )


def _build_limits(bytes_max: int) -> SpoolQuota:
    return SpoolQuota(
        bytes_max=bytes_max,
        segment_bytes=SEGMENT_BYTES,
        free_bytes_min=0,
        memory_bytes_max=min(8 << 20, bytes_max // 8),
        dead_letter_bytes_max=bytes_max // 32,
    )


if __name__ == "__main__":
    sys.exit(main())
