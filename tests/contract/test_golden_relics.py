"""An agent's state directory and a collector's database of version 0.1.0 go on working without a manual step."""

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
    """Of agent and collector."""
    return ShiftedClock(NOW_S)


@pytest.fixture(name="collector")
def _collector(tmp_path: Path, clock: ShiftedClock) -> Iterator[Collector]:
    """A collector on a copy of the golden database."""
    with collector_of_relics(tmp_path, clock) as collector:
        yield collector


def batches(rows: list[list[Any]]) -> list[list[Any]]:
    """Epoch, number and digest of each batch, in order."""
    return sorted([row[0], row[1], row[-1]] for row in rows)


def delivered(collector: Collector, epochs: set[str]) -> list[list[Any]]:
    """The batches of agent fra1 in the journal, of these epochs."""
    return batches([row[1:] for row in collector.journal() if row[0] == "fra1" and row[1] in epochs])


def everything() -> list[list[Any]]:
    """The batches that the collector must have at the end: those it had and those that wait in the spool."""
    return batches([*expected()["delivered"], *expected()["waiting"]])


def epochs() -> set[str]:
    """The epochs of the golden spool."""
    return {row[0] for row in everything()}


def test_the_spool_is_read(tmp_path: Path) -> None:
    """Exactly the batches that wait, with their bytes, and the losses that no collector knows."""
    agent = LiveAgent(agent_of_relics(tmp_path, NOWHERE), NOWHERE, "", ShiftedClock(NOW_S))

    found = contents(agent.spool)
    agent.spool.close()

    assert found == {name: value for name, value in expected().items() if name != "delivered"}


def test_credential_plan_and_status_are_read(tmp_path: Path) -> None:
    """Every key of the files means what it meant: none is passed over and none has another value."""
    directory = agent_of_relics(tmp_path, NOWHERE)
    state = StateDirectory(directory)
    found = {
        "credential": state.load_credential(),
        "plan": state.load_plan(),
        "status": read_status(directory),
    }

    for name, value in found.items():
        file, read = json.loads((directory / f"{name}.json").read_text()), msgspec.to_builtins(value)
        assert differing(file, read) == [], name


def differing(file: Any, read: Any, path: str = "") -> list[str]:
    """Return the paths at which a value of the file was not read; what was read may have more keys."""
    if isinstance(file, dict) and isinstance(read, dict):
        return [place for key, value in file.items() for place in differing(value, read.get(key), f"{path}.{key}")]
    if isinstance(file, list) and isinstance(read, list | tuple) and len(file) == len(read):
        pairs = zip(file, read, strict=True)
        return [place for number, both in enumerate(pairs) for place in differing(*both, f"{path}[{number}]")]
    return [] if file == read else [path]


def test_the_agent_command_takes_the_spool_over(collector: Collector, tmp_path: Path) -> None:
    """``leadline agent run`` as a process: it sends the oldest batch that waits, ends with status 0, keeps the others.

    The policy of the host forbids every target: nothing is probed, and no privilege is needed.
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
            # It has the plan by now. The end of an agent does not wait for the spread of starts.
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_S) == os.EX_OK, log.read_text()
        finally:
            process.kill()

    agent = LiveAgent(state_dir, NOWHERE, "", ShiftedClock(NOW_S))
    left = batches(contents(agent.spool)["waiting"])
    agent.spool.close()
    assert batches([*delivered(collector, epochs()), *left]) == everything()
    assert batches(expected()["waiting"][:1])[0] in delivered(collector, epochs()), log.read_text()


def test_the_loop_goes_on_where_it_stopped(collector: Collector, clock: ShiftedClock, tmp_path: Path) -> None:
    """What waits is delivered, losses are reported, new minutes are measured; nothing is stored twice or differs."""
    agent = LiveAgent(agent_of_relics(tmp_path, collector.client.url), collector.client.url, "", clock).start()
    try:
        wait_until(lambda: delivered(collector, epochs()) == everything(), "the backlog")
        wait_until(lambda: len(refused(collector)) == len(expected()["tombstones"]), "the losses")
    finally:
        agent.stop()

    assert delivered(collector, epochs()) == everything()
    assert refused(collector) == [[one[0], one[1], one[2]] for one in expected()["tombstones"]]
    assert agent.read_accepted()
    assert agent.find_lost(collector.store) == set()


def refused(collector: Collector) -> list[list[Any]]:
    """Epoch, first and last number of the losses that the agent reported, each once: several batches report it."""
    gaps = collector.client.get(f"/api/v1/agents/fra1/gaps?from={NOW_S - 7_200}&to={NOW_S}")["gaps"]
    found = {(gap["epoch"], gap["first_seq"], gap["last_seq"]) for gap in gaps if gap["reason"] == "refused"}
    return [list(one) for one in sorted(found)]


def test_the_database_is_brought_up_to_date(tmp_path: Path) -> None:
    """A start migrates it; its batches are those that the agent counts as delivered."""
    with collector_of_relics(tmp_path) as collector:
        found = delivered(collector, epochs())
        database_file = collector.data_dir / DATABASE

    assert found == batches(expected()["delivered"])
    database = Database(URL.create("sqlite", database=str(database_file)))
    try:
        assert schema.get_current_revision(database) == schema.get_head_revision()
        assert schema.find_drift(database) == []
    finally:
        database.close()
