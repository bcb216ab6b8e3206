"""An agent's state directory and a collector's database of version 0.1.0 work without a manual step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy.engine import URL

from leadline_agent.identity.state_dir import StateDirectory
from leadline_agent.status import read_status
from leadline_collector.db import schema
from leadline_collector.db.engine import Database
from tests.contract.golden_relics import (
    DATABASE,
    NOW_S,
    NOWHERE,
    Collector,
    ShiftedClock,
    agent_of_relics,
    collector_of_relics,
    contents,
    expected,
)
from tests.support.live_agent import LiveAgent, wait_until

STOP_S = 20


@pytest.fixture(name="clock")
def _clock() -> ShiftedClock:
    """Return the clock of agent and collector."""
    return ShiftedClock(NOW_S)


@pytest.fixture(name="collector")
def _collector(tmp_path: Path, clock: ShiftedClock) -> Iterator[Collector]:
    """Yield a collector with a copy of the golden database."""
    with collector_of_relics(tmp_path, clock) as collector:
        yield collector


def batches(rows: list[list[Any]]) -> list[list[Any]]:
    """Return epoch, number and digest of each batch, sorted."""
    return sorted([row[0], row[1], row[-1]] for row in rows)


def delivered(collector: Collector, epochs: set[str]) -> list[list[Any]]:
    """Return the batches of agent fra1 in the journal, of these epochs."""
    return batches([row[1:] for row in collector.journal() if row[0] == "fra1" and row[1] in epochs])


def all_batches() -> list[list[Any]]:
    """Return all batches of fra1: those delivered and those pending in the golden spool."""
    return batches([*expected()["delivered"], *expected()["waiting"]])


def epochs() -> set[str]:
    """Return the epochs of the golden spool."""
    return {row[0] for row in all_batches()}


def test_the_spool_is_read(tmp_path: Path) -> None:
    """The spool has exactly the expected pending batches, with their bytes, and the unreported losses."""
    agent = LiveAgent(agent_of_relics(tmp_path, NOWHERE), NOWHERE, "", ShiftedClock(NOW_S))

    spool_contents = contents(agent.spool)
    agent.spool.close()

    assert spool_contents == {name: value for name, value in expected().items() if name != "delivered"}


def test_credential_plan_and_status_are_read(tmp_path: Path) -> None:
    """Every key of the files is read with its value."""
    directory = agent_of_relics(tmp_path, NOWHERE)
    state = StateDirectory(directory)
    values = {
        "credential": state.load_credential(),
        "plan": state.load_plan(),
        "status": read_status(directory),
    }

    for name, value in values.items():
        file, read = json.loads((directory / f"{name}.json").read_text()), msgspec.to_builtins(value)
        assert differing(file, read) == [], name


def differing(file: Any, read: Any, path: str = "") -> list[str]:
    """Return the paths of values in ``file`` that differ in ``read``; ``read`` may have more keys."""
    if isinstance(file, dict) and isinstance(read, dict):
        return [place for key, value in file.items() for place in differing(value, read.get(key), f"{path}.{key}")]
    if isinstance(file, list) and isinstance(read, list | tuple) and len(file) == len(read):
        pairs = zip(file, read, strict=True)
        return [place for number, both in enumerate(pairs) for place in differing(*both, f"{path}[{number}]")]
    return [] if file == read else [path]


def test_the_agent_command_uses_the_spool(collector: Collector, tmp_path: Path) -> None:
    """``leadline agent run`` sends the oldest pending batch, keeps the others and exits with status 0.

    The host policy denies every target: the agent sends no probes and needs no privilege.
    """
    state_dir, policy = agent_of_relics(tmp_path, collector.client.url), tmp_path / "policy.toml"
    policy.write_text('denied_networks = ["0.0.0.0/0", "::/0"]\n')
    policy.chmod(0o600)
    status = state_dir / "status.json"
    before, log = status.read_bytes(), tmp_path / "log"
    command = [sys.executable, "-m", "leadline_cli", "agent", "run", "--state-dir", str(state_dir)]
    with (
        log.open("wb") as file,
        subprocess.Popen([*command, "--policy-file", str(policy)], stdout=file, stderr=file) as process,
    ):
        try:
            wait_until(lambda: process.poll() is not None or status.read_bytes() != before, "the first status")
            # The agent has the plan. A stopping agent does not wait for its random start delay.
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_S) == os.EX_OK, log.read_text()
        finally:
            process.kill()

    agent = LiveAgent(state_dir, NOWHERE, "", ShiftedClock(NOW_S))
    pending = batches(contents(agent.spool)["waiting"])
    agent.spool.close()
    assert batches([*delivered(collector, epochs()), *pending]) == all_batches()
    assert batches(expected()["waiting"][:1])[0] in delivered(collector, epochs()), log.read_text()


def test_the_agent_resumes(collector: Collector, clock: ShiftedClock, tmp_path: Path) -> None:
    """The agent delivers pending batches, reports losses and measures; every batch is stored once, unchanged."""
    agent = LiveAgent(agent_of_relics(tmp_path, collector.client.url), collector.client.url, "", clock).start()
    try:
        wait_until(lambda: delivered(collector, epochs()) == all_batches(), "the backlog")
        wait_until(lambda: len(refused_gaps(collector)) == len(expected()["tombstones"]), "the losses")
    finally:
        agent.stop()

    assert delivered(collector, epochs()) == all_batches()
    assert refused_gaps(collector) == [loss[:3] for loss in expected()["tombstones"]]
    assert agent.read_accepted()
    assert agent.find_lost(collector.store) == set()


def refused_gaps(collector: Collector) -> list[list[Any]]:
    """Return epoch, first and last number of the reported losses, each once: several batches report the same."""
    gaps = collector.client.get(f"/api/v1/agents/fra1/gaps?from={NOW_S - 7_200}&to={NOW_S}")["gaps"]
    losses = {(gap["epoch"], gap["first_seq"], gap["last_seq"]) for gap in gaps if gap["reason"] == "refused"}
    return [list(loss) for loss in sorted(losses)]


def test_the_database_is_migrated(tmp_path: Path) -> None:
    """The start migrates the database; its batches equal those the agent has delivered."""
    with collector_of_relics(tmp_path) as collector:
        stored_batches = delivered(collector, epochs())
        database_file = collector.data_dir / DATABASE

    assert stored_batches == batches(expected()["delivered"])
    database = Database(URL.create("sqlite", database=str(database_file)))
    try:
        assert schema.get_current_revision(database) == schema.get_head_revision()
        assert schema.find_drift(database) == []
    finally:
        database.close()
