"""A collector and an agent as processes on loopback, and their resource usage."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LEADLINE = (sys.executable, "-m", "leadline_cli")
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 15
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_ECHO_REQUEST = 8


class AgentBenchError(Exception):
    """A process failed or did not respond in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessUsage:
    """Resource usage of one process; memory in kB as reported by the kernel."""

    rss_kb: int
    #: Peak since the start.
    rss_peak_kb: int
    #: Shared pages are counted proportionally.
    pss_kb: int
    #: Memory that is not shared with another process.
    private_kb: int
    cpu_s: float


def read_usage(process_id: int) -> ProcessUsage:
    """Return the current usage of a process."""
    status = Path(f"/proc/{process_id}/status").read_text()
    rollup = Path(f"/proc/{process_id}/smaps_rollup").read_text()
    ticks = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[11:13]
    return ProcessUsage(
        rss_kb=_parse_kb(status, "VmRSS"),
        rss_peak_kb=_parse_kb(status, "VmHWM"),
        pss_kb=_parse_kb(rollup, "Pss"),
        private_kb=_parse_kb(rollup, "Private_Clean") + _parse_kb(rollup, "Private_Dirty"),
        cpu_s=sum(map(int, ticks)) / _TICKS_PER_S,
    )


def _parse_kb(text: str, name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    assert match is not None, name
    return int(match[1])


def find_child(process_id: int) -> int:
    """Wait for the child of a process and return its id; raise AgentBenchError after the timeout."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and _read_parent(entry) == process_id:
                return int(entry.name)
        time.sleep(0.05)
    raise AgentBenchError("the agent has no prober process")


def _read_parent(entry: Path) -> int | None:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkCollector:
    """A running collector on SQLite, with its administrator key."""

    url: str
    directory: Path

    def run_command(self, *arguments: str, stdin_text: str = "") -> str:
        """Run one command against the collector and return its output."""
        environment = os.environ | {
            "LEADLINE_COLLECTOR_URL": self.url,
            "LEADLINE_ADMIN_KEY_FILE": str(self.directory / "data" / "admin.key"),
        }
        process = subprocess.run(
            [*LEADLINE, *arguments], env=environment, input=stdin_text, capture_output=True, text=True, check=False
        )
        if process.returncode:
            raise AgentBenchError(f"leadline {' '.join(arguments)}: {process.stderr.strip()}")
        return process.stdout

    def enrol_agent(self, mesh: str) -> Path:
        """Apply a mesh, enrol a new agent and return its state directory."""
        state = self.directory / f"state{time.monotonic_ns()}"
        file = self.directory / "mesh.toml"
        file.write_text(mesh)
        self.run_command("mesh", "apply", str(file))
        token = self.run_command("token", "create", "--site", "near")
        self.run_command(
            "agent",
            "enroll",
            self.url,
            "--token-file",
            "-",
            "--agent",
            "near-a1",
            "--state-dir",
            str(state),
            stdin_text=token,
        )
        return state


@contextmanager
def run_collector(directory: Path) -> Iterator[BenchmarkCollector]:
    """Start a collector and yield it when it accepts connections."""
    command = [*LEADLINE, "collector", "serve", "--port", "0", "--data-dir", str(directory / "data")]
    with (directory / "collector.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        first_line = process.stdout.readline()
        if not first_line.startswith("listening on "):
            raise AgentBenchError("the collector did not start: " + (directory / "collector.log").read_text()[-500:])
        yield BenchmarkCollector(url=first_line.removeprefix("listening on ").strip(), directory=directory)
    finally:
        _terminate(process)


@contextmanager
def run_agent(state: Path) -> Iterator[int]:
    """Start an agent and yield its process id."""
    with (state / "agent.log").open("ab") as log:
        process = subprocess.Popen(
            [*LEADLINE, "agent", "run", "--state-dir", str(state)], stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process.pid
        if process.poll() is not None:
            raise AgentBenchError("the agent ended")
    except AgentBenchError as error:
        raise AgentBenchError(f"{error}: {(state / 'agent.log').read_text()[-500:]}") from error
    finally:
        _terminate(process)


def _terminate(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def measure_seconds_to_first_probe(state: Path, address: str) -> float:
    """Return the seconds from the start of the agent to its first echo request to ``address``, on a raw socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as listener:
        listener.settimeout(START_TIMEOUT_S)
        start_s = time.monotonic()
        with run_agent(state):
            while True:
                packet, _ = listener.recvfrom(256)
                header_bytes = (packet[0] & 0xF) * 4
                if packet[header_bytes] == _ECHO_REQUEST and socket.inet_ntoa(packet[16:20]) == address:
                    return time.monotonic() - start_s
