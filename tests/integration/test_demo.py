"""``leadline demo`` as a person starts it: one command, an address to open, Ctrl-C."""

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
    """The address it prints."""
    for line in output:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return found[0]
    raise AssertionError("the demo ended without printing an address")


def get(url: str) -> Any:
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        answer = pool.request("GET", url)
    assert answer.status == 200, answer.data
    return msgspec.json.decode(answer.data)


@pytest.mark.timeout(START_S + STOP_S)
def test_the_demo_shows_history_that_says_it_is_simulated_and_ends_cleanly(
    demo: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    """Cities are simulated over 28 days, the local sites are not; Ctrl-C leaves neither processes nor files."""
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

    agents = list(Path("/proc").glob("[0-9]*/cmdline"))
    ours = [path for path in agents if str(tmp_path).encode() in read(path)]
    assert len(ours) == 4
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(STOP_S) == 0
    assert time.monotonic() - started < STOP_S
    assert not any(path.exists() for path in ours)
    assert not list(tmp_path.iterdir())


def read(path: Path) -> bytes:
    """A process's command line; empty when it has ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
