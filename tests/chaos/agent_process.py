"""Agent process of a chaos run: composed like ``leadline agent run``, with three replacements.

It uses a fast clock, a spool that records its promises, and ``tests.chaos.source`` instead of the prober. Requests time
out after one second of real time.
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
from tests.chaos.variants import Variant, break_agent, choose_uploader_class

TIMEOUT = urllib3.Timeout(connect=1.0, read=1.0)
#: Small, so that a run has many segments.
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
    state_dir = StateDirectory(args.state_dir)
    credential = state_dir.load_credential()
    clock, rng = FastClock(args.origin_ns), make_rng()
    spool = WitnessedSpool(
        oracle=OracleFile(args.oracle),
        file_system=DirectoryFileSystem(args.state_dir / "spool"),
        clock=clock,
        make_epoch=lambda: secrets.token_hex(16),
        quota=_build_limits(args.spool_bytes),
    )
    # The spool has been recovered: from here on, the agent can report every loss.
    (args.state_dir / OPENED).write_text(str(os.getpid()))
    batch_builder = BatchBuilder(credential.agent, spool, clock)
    clients = [
        CollectorClient(url, credential, state_dir.load_credential, spool.get_backlog)
        for url in (credential.collector, *credential.also)
    ]
    source = [sys.executable, "-m", "tests.chaos.source", "--agent", credential.agent]
    source += ["--origin-ns", str(args.origin_ns), "--quiet-file", str(args.quiet_file)]
    uploader = choose_uploader_class(args.variant)(
        clients=clients, spool=spool, batch_builder=batch_builder, clock=clock, rng=rng
    )
    return AgentLoop(
        agent=credential.agent,
        site=credential.site,
        uploader=uploader,
        batch_builder=batch_builder,
        spool=spool,
        state_dir=state_dir,
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
