"""One chaos run: set up, inject faults, drain, check."""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy.engine import URL

from leadline.clock import SystemClock, make_rng
from leadline_collector.gaps.documents import GapListResponse
from leadline_collector.gaps.service import LIMIT_MAX
from tests.chaos import checker, oracle, source
from tests.chaos.checker import ChaosVerdict, ConsistencyCheck
from tests.chaos.cluster import (
    ChaosAgent,
    ChaosCollector,
    ManagedProcess,
    Postgres,
    SmallDisk,
    build_mesh,
    enrol_chaos_agent,
    wait_until,
)
from tests.chaos.nemesis import ChaosFault, Nemesis
from tests.chaos.proxy import PROXY_FAULTS, Proxy, ProxyFault
from tests.chaos.variants import Variant
from tests.support import postgres

SITES = ("fra", "ams", "tiny")
#: Site of the agent with its spool on a small disk, which fills up.
SMALL = "tiny"
SMALL_DISK_KIB = 512
SMALL_SPOOL_BYTES = 320 << 10
CHECK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosOptions:
    """Options of a chaos run."""

    seconds: float
    seed: int
    database: str = "sqlite"
    variant: Variant = Variant.NONE
    #: Time limit without progress after the end of the faults. A rewind may wait for one hour of the fast clocks, which
    #: is 15 s of real time.
    drain_s: float = 30.0
    #: Faults to inject; a short run for a variant needs few.
    faults: Sequence[ChaosFault] = tuple(ChaosFault)
    proxy_faults: Sequence[ProxyFault] = PROXY_FAULTS
    #: Directory for logs, oracle files and the SQLite database; None removes them.
    keep: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosReport:
    """Result of a chaos run."""

    verdict: ChaosVerdict
    fired: Counter[str]
    #: Faults that never affected anything: the run proves nothing about them.
    unfired: list[str]
    drained_s: float

    @property
    def is_good(self) -> bool:
        return self.verdict.is_good and not self.unfired

    def format_text(self) -> str:
        """Return a readable report."""
        fired = ", ".join(f"{kind} {count}" for kind, count in sorted(self.fired.items()))
        figures = ", ".join(f"{count:,} {name}" for name, count in self.verdict.counts.items())
        problems = [*self.verdict.violations.format_lines(), *self.verdict.missing.format_lines()]
        problems += [f"never fired: {', '.join(self.unfired)}"] if self.unfired else []
        result = "nothing lost, nothing duplicated" if self.is_good else "\n".join(["FAILED", *problems])
        return f"faults: {fired}\n{figures}; drained in {self.drained_s:.1f} s\n{result}"


def run_chaos(options: ChaosOptions, say: Callable[[str], None]) -> ChaosReport:
    """Run with the given options; end all processes and mounts at the end."""
    home = Path(tempfile.mkdtemp(prefix="leadline-chaos-", dir="/tmp"))
    with ExitStack() as stack:
        stack.callback(_clean_up, home, options.keep)
        started = time.monotonic()
        say(f"seed {options.seed}, {options.seconds:g} s on {options.database}, variant {options.variant}, in {home}")
        run = stack.enter_context(_start_run(home, options))
        nemesis = run.create_nemesis(options, lambda text: say(f"{time.monotonic() - started:6.1f} s  {text}"))
        nemesis.run(options.seconds)
        say(f"{time.monotonic() - started:6.1f} s  end of the faults")
        return run.drain(nemesis, options)


def _clean_up(home: Path, keep: Path | None) -> None:
    if keep is not None:
        shutil.copytree(home, keep, dirs_exist_ok=True)
    shutil.rmtree(home, ignore_errors=True)


@dataclass(slots=True, kw_only=True)
class ChaosRun:
    """Processes and files of a run."""

    agents: list[ChaosAgent]
    collector: ChaosCollector
    postgres: Postgres | None
    disk: SmallDisk | None
    quiet_file: Path
    origin_ns: int

    def create_nemesis(self, options: ChaosOptions, say: Callable[[str], None]) -> Nemesis:
        return Nemesis(
            agents=self.agents,
            collector=self.collector,
            postgres=self.postgres,
            disk=self.disk,
            journal=lambda: checker.read_journal_digests(self.collector.database),
            rng=make_rng(options.seed),
            say=say,
            faults=options.faults,
            proxy_faults=options.proxy_faults,
        )

    def drain(self, nemesis: Nemesis, options: ChaosOptions) -> ChaosReport:
        """Repeat the check until nothing is missing, a violation is found, or no more batches arrive."""
        self.quiet_file.touch()
        due = self._read_promises().accepted
        started = progress_at = time.monotonic()
        fewest: float = math.inf
        while True:
            self._assert_up()
            check_at = time.monotonic()
            verdict = self._check(due, nemesis)
            now, missing = time.monotonic(), verdict.missing.counts.total()
            if missing < fewest:
                fewest, progress_at = missing, now
            if verdict.is_good or verdict.violations.counts or now - progress_at > options.drain_s:
                break
            # The proxies run in this process and need most of its time.
            time.sleep(max(CHECK_EVERY_S, 3 * (now - check_at)))
        duration_s = time.monotonic() - started
        fired = sum((agent.proxy.fault_counts for agent in self.agents), Counter()) + nemesis.fault_log.fired
        kinds = [*nemesis.faults, *nemesis.proxy_faults]
        return ChaosReport(
            verdict=verdict, fired=fired, unfired=[kind for kind in kinds if not fired[kind]], drained_s=duration_s
        )

    def _read_promises(self) -> oracle.Promises:
        return oracle.read_oracle_files({agent.name: agent.oracle_path for agent in self.agents})

    def _check(self, due: set[oracle.OracleBatch], nemesis: Nemesis) -> ChaosVerdict:
        # Read the store first: the oracle files then contain everything that is stored.
        stored = checker.read_store(self.collector.database)
        promises = self._read_promises()
        return ConsistencyCheck(
            promises=promises,
            due=due,
            stored=stored,
            holes={agent.name: self._fetch_gaps(agent.name) for agent in self.agents},
            fault_log=nemesis.fault_log,
            acknowledged=nemesis.collect_acknowledged(),
            small={agent.name for agent in self.agents if agent.is_small},
        ).run()

    def _fetch_gaps(self, agent: str) -> list[tuple[int, int]]:
        """Return the gaps that the collector lists for all minutes of the run."""
        from_s: int | None = source.compute_base_s(self.origin_ns)
        end_s = source.compute_base_s(self.origin_ns) + source.HISTORY_S
        holes: list[tuple[int, int]] = []
        while from_s is not None:
            path = f"/api/v1/agents/{agent}/gaps?from={from_s}&to={end_s}&limit={LIMIT_MAX}"
            response = msgspec.json.decode(self.collector.send_admin_request("GET", path), type=GapListResponse)
            holes += [(gap.start_s, gap.end_s) for gap in response.gaps]
            from_s = response.next_from
        return holes

    def _assert_up(self) -> None:
        """Raise RuntimeError if a process has ended unexpectedly."""
        for process in (self.collector.process, *(agent.process for agent in self.agents)):
            if process.exit_status is not None:
                raise RuntimeError(f"unexpected exit status {process.exit_status}:\n{process.log.read_text()[-3000:]}")


@contextmanager
def _start_run(home: Path, options: ChaosOptions) -> Iterator[ChaosRun]:
    origin_ns = SystemClock().wall_ns()
    with ExitStack() as stack:
        server = stack.enter_context(_run_postgres(options))
        database = postgres.create_database(server.server, "chaos") if server else None
        if database is not None:
            _migrate_database(database)
        collector = ChaosCollector(home, database, options.variant, origin_ns)
        stack.callback(collector.process.kill)
        collector.start()
        collector.send_admin_request("PUT", "/api/v1/mesh", build_mesh(SITES).encode())
        disk = SmallDisk(home / SMALL / "spool", SMALL_DISK_KIB) if os.geteuid() == 0 else None
        quiet_file = home / "quiet"
        agents = [_create_agent(home, site, collector, options, origin_ns, quiet_file) for site in SITES]
        if server is not None:
            server.checkpoint()
        if disk is not None:
            disk.mount()
            stack.callback(disk.unmount)
        for agent in agents:
            stack.callback(agent.proxy.close)
            stack.callback(agent.process.kill)
            agent.process.start()
        for agent in agents:
            wait_until(
                "the first window", lambda agent=agent: agent.oracle_path.exists() and agent.oracle_path.stat().st_size
            )
        yield ChaosRun(
            agents=agents, collector=collector, postgres=server, disk=disk, quiet_file=quiet_file, origin_ns=origin_ns
        )


@contextmanager
def _run_postgres(options: ChaosOptions) -> Iterator[Postgres | None]:
    if options.database == "sqlite":
        yield None
        return
    home = Path(tempfile.mkdtemp(prefix="leadline-pg-", dir="/tmp"))
    server = Postgres(home)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def _migrate_database(database: URL) -> None:
    from leadline_collector.db import schema
    from leadline_collector.db.engine import Database

    connection = Database(database)
    try:
        schema.upgrade(connection)
    finally:
        connection.close()


def _create_agent(
    home: Path, site: str, collector: ChaosCollector, options: ChaosOptions, origin_ns: int, quiet_file: Path
) -> ChaosAgent:
    proxy = Proxy(collector.port, make_rng(f"{options.seed} {site}"))
    state_dir, oracle_file = home / site, home / f"{site}.oracle"
    enrol_chaos_agent(collector, site, proxy, state_dir)
    command = [
        sys.executable, "-m", "tests.chaos.agent_process", "--state-dir", str(state_dir), "--oracle", str(oracle_file),
        "--origin-ns", str(origin_ns), "--quiet-file", str(quiet_file), "--variant", options.variant,
    ]  # fmt: skip
    if site == SMALL:
        command += ["--spool-bytes", str(SMALL_SPOOL_BYTES)]
    return ChaosAgent(
        name=f"{site}-a1",
        process=ManagedProcess(command, home / f"{site}.log"),
        proxy=proxy,
        state_dir=state_dir,
        oracle_path=oracle_file,
        is_small=site == SMALL,
    )
