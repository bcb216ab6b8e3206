"""``leadline demo`` as a process: start, printed address, Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest
import urllib3

START_S = 120
STOP_S = 30


@pytest.fixture(name="demo")
def _demo(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running demo and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "leadline_cli", "demo", "--no-browser", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        assert process.stdout is not None
        yield process, address(process.stdout)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def address(output: IO[str]) -> str:
    """Return the address in the output."""
    for line in output:
        if match := re.search(r"http://127\.0\.0\.1:\d+", line):
            return match[0]
    raise AssertionError("the demo ended without printing an address")


def get(url: str) -> Any:
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        answer = pool.request("GET", url)
    assert answer.status == 200, answer.data
    return msgspec.json.decode(answer.data)


@pytest.mark.timeout(START_S + STOP_S)
def test_the_demo_has_simulated_history_and_ends_cleanly(
    demo: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    """Cities have 28 simulated days, the local sites are not simulated; Ctrl-C leaves no processes and no files."""
    process, url = demo
    cities = get(f"{url}/api/v1/matrix?profile=vsan-stretched&group=europe-simulated&from=-28d")
    local = get(f"{url}/api/v1/matrix?profile=vsan-stretched&group=this-machine&from=-1h")

    assert cities["simulated"]
    assert len(cities["pairs"]) == 12
    assert all(pair["simulated"] and pair["pessimistic"]["coverage_ratio"] > 0.98 for pair in cities["pairs"])
    shares = [pair["pessimistic"]["good_ratio"] for pair in cities["pairs"]]
    assert min(shares) == 0
    assert max(shares) > 0.9
    assert len(local["pairs"]) == 12
    assert not local["simulated"]

    command_lines = list(Path("/proc").glob("[0-9]*/cmdline"))
    agents = [path for path in command_lines if str(tmp_path).encode() in read(path)]
    assert len(agents) == 4
    stop_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(STOP_S) == 0
    assert time.monotonic() - stop_s < STOP_S
    assert not any(path.exists() for path in agents)
    assert not list(tmp_path.iterdir())


def read(path: Path) -> bytes:
    """Return the command line of a process; empty if it has ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
