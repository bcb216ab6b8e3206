"""``leadline demo``: a complete demo installation on this machine. Needs ``leadline[collector]``.

Four sites on loopback addresses, each with a real agent that takes real measurements. In addition, a fictional mesh of
real cities with 28 days of simulated history, marked as simulated on every page. The demo deletes its data at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from leadline.clock import SystemClock
from leadline.errors import UnavailableError

if TYPE_CHECKING:
    from leadline_collector.db.transactions import Store

HISTORY_DAYS = 28
DAY_S = 86_400
#: Simulated windows also cover the next hours and appear as time passes, so that the demo stays current.
AHEAD_S = 12 * 3_600
#: Seed of a network with some pairs within 5 ms, some within 10 ms, and some just above.
SEED = 7
STOP_TIMEOUT_S = 10.0

_DESCRIPTION = """\
Run a complete demo installation on this machine. Needs leadline[collector].

Four sites on loopback addresses, each with a real agent that takes real measurements. In addition, a
fictional mesh of real cities with 28 days of simulated history, marked as simulated on every page.
The demo deletes its data at the end."""

_LOCAL_SITES = ("north", "east", "south", "west")
#: Simulated sites: name, latitude, longitude, time zone.
_CITIES = (
    ("frankfurt", 50.11, 8.68, "Europe/Berlin"),
    ("zurich", 47.37, 8.54, "Europe/Zurich"),
    ("amsterdam", 52.37, 4.90, "Europe/Amsterdam"),
    ("london", 51.51, -0.13, "Europe/London"),
    ("new-york", 40.71, -74.01, "America/New_York"),
    ("singapore", 1.35, 103.82, "Asia/Singapore"),
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``demo`` to the command line."""
    parser = commands.add_parser(
        "demo",
        help="run a collector, four agents and simulated history on this machine",
        description=_DESCRIPTION,
        epilog="example: leadline demo --no-browser --port 8500",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--port", type=int, default=8427, help="port of the web pages; 0 for any free port (default 8427)"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.set_defaults(run=run_demo)


def run_demo(args: argparse.Namespace) -> int:
    """Run until Ctrl-C or SIGTERM."""
    stop_requested = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop_requested.set())
    with (
        tempfile.TemporaryDirectory(prefix="leadline-demo-") as directory,
        _run_collector(Path(directory), args.port, stop_requested) as url,
        _run_agents(Path(directory), url) as agents,
    ):
        print(f"\n  {url}/\n\nThe four local sites take real measurements: first results in about two minutes.")
        print("The cities are simulated and marked as such. Ctrl-C stops the demo and deletes its data.", flush=True)
        if not args.no_browser:
            webbrowser.open(f"{url}/")
        while not stop_requested.wait(1.0):
            agents.report_exited()
        print("stopping", flush=True)
    return 0


@contextlib.contextmanager
def _run_collector(directory: Path, port: int, stop_requested: threading.Event) -> Iterator[str]:
    """Run a collector on SQLite in this process with the demo mesh and history; yield its URL."""
    try:
        from leadline_collector.config import read_config
        from leadline_collector.mesh import service as mesh_service
        from leadline_collector.server.serve import open_store, serve_in_thread
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"the demo needs {error.name}, which is not installed: pip install 'leadline[collector]'"
        ) from error
    config = read_config({"data_dir": directory / "collector", "port": port}, {})
    clock = SystemClock()
    with open_store(config) as store:
        version = mesh_service.apply_mesh(store, clock, build_mesh_toml().encode()).version
        # Open the socket first, so that a port conflict is reported before the simulation.
        with serve_in_thread(config, store, clock) as url:
            _simulate_history(store, version, stop_requested)
            yield url


def _simulate_history(store: Store, version: int, stop_requested: threading.Event) -> None:
    from leadline.mesh.parser import parse_mesh
    from leadline_collector.demo.simulation import simulate_windows

    mesh = parse_mesh(build_mesh_toml())
    end_s = SystemClock().wall_ns() // 60_000_000_000 * 60
    done = 0

    def show_progress(windows: int) -> None:
        nonlocal done
        done += windows
        if sys.stderr.isatty():
            print(f"\rsimulating {HISTORY_DAYS} days: {done:,} minutes", end="", file=sys.stderr, flush=True)
        if stop_requested.is_set():
            raise KeyboardInterrupt

    # Start at midnight, because a verdict covers whole UTC days.
    start_s = (end_s // DAY_S - HISTORY_DAYS) * DAY_S
    total = simulate_windows(store, mesh, version, start_s, end_s + AHEAD_S, SEED, show_progress)
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr)
    print(f"simulated {HISTORY_DAYS} days: {total:,} minutes of {len(_CITIES)} cities")


class _AgentProcesses:
    """Processes and logs of the agents, by site."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._directory, self._environment = directory, environment
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._reported_sites: set[str] = set()

    def start(self, site: str, url: str) -> None:
        """Enrol an agent with its own token, as in the README, and start it."""
        state = str(self._directory / site)
        token = self._run_command("token", "create", "--site", site)
        self._run_command("agent", "enroll", url, "--token-file", "-", "--state-dir", state, stdin=token)
        with self._log_path(site).open("wb") as log:
            self._processes[site] = subprocess.Popen(
                [*_COMMAND, "agent", "run", "--state-dir", state],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def report_exited(self) -> None:
        """Print once why an agent ended. The other agents and the history stay."""
        for site, process in self._processes.items():
            if process.poll() is not None and site not in self._reported_sites:
                self._reported_sites.add(site)
                lines = self._log_path(site).read_text(encoding="utf-8", errors="replace").splitlines()
                reason = next((line for line in lines if line.startswith("leadline: ")), "no error message")
                print(f"the agent of {site} ended: {reason}", file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Terminate the processes; kill those that do not exit."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _log_path(self, site: str) -> Path:
        return self._directory / f"{site}.log"

    def _run_command(self, *arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [*_COMMAND, *arguments], env=self._environment, input=stdin, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UnavailableError(f"`leadline {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return done.stdout


@contextlib.contextmanager
def _run_agents(directory: Path, url: str) -> Iterator[_AgentProcesses]:
    """Start four agents; stop them at the end."""
    key_file = directory / "collector" / "admin.key"
    environment = {**os.environ, "LEADLINE_ADMIN_KEY_FILE": str(key_file), "LEADLINE_COLLECTOR_URL": url}
    agents = _AgentProcesses(directory, environment)
    try:
        for site in _LOCAL_SITES:
            agents.start(site, url)
        yield agents
    finally:
        agents.stop()


_COMMAND = (sys.executable, "-m", "leadline_cli")


def build_mesh_toml() -> str:
    """Return the mesh file of the demo."""
    sites = [
        f'[[site]]\nname = "{name}"\nlatitude = 51.48\nlongitude = 0.0\n'
        f'[[agent]]\nname = "{name}-a1"\nsite = "{name}"\naddress = "127.0.{number}.1"\n'
        for number, name in enumerate(_LOCAL_SITES, start=1)
    ]
    sites += [
        f'[[site]]\nname = "{name}"\nlatitude = {latitude}\nlongitude = {longitude}\ntime_zone = "{zone}"\n'
        f'simulated = true\n[[agent]]\nname = "{name}-a1"\nsite = "{name}"\naddress = "192.0.2.{number}"\n'
        for number, (name, latitude, longitude, zone) in enumerate(_CITIES, start=1)
    ]
    metro = [name for name, *_ in _CITIES[:4]]
    return "\n".join(
        [
            "# Mesh of the demo: four agents on this machine, and cities with simulated data.",
            'profiles = ["vsan-stretched", "vcf9-stretched-cluster", "vsphere-long-distance-vmotion"]',
            *sites,
            f'[[group]]\nname = "this-machine"\nkind = "full-mesh"\nsites = {list(_LOCAL_SITES)!r}',
            f'[[group]]\nname = "europe-simulated"\nkind = "full-mesh"\nsites = {metro!r}',
            '[[group]]\nname = "world-simulated"\nkind = "hub-and-spoke"\nhub = "frankfurt"\n'
            'sites = ["new-york", "singapore"]',
            "",
        ]
    )
