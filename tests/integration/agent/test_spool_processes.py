"""The spool between two processes, and after the kill of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from leadline.errors import UnavailableError
from leadline_agent.spool.filesystem import DirectoryFileSystem
from tests.chaos.spool_oracle import SpoolOracle, iter_waiting


def test_a_second_agent_is_refused_and_told_who_has_the_spool(tmp_path: Path) -> None:
    """Also another process; and the lock ends with the process that held it."""
    oracle = SpoolOracle()
    spool = oracle.open(DirectoryFileSystem(tmp_path))

    with pytest.raises(UnavailableError, match=f"in use by process {os.getpid()}: two agents cannot share one"):
        oracle.open(DirectoryFileSystem(tmp_path))

    code = (
        "import sys; from pathlib import Path; from leadline_agent.spool.filesystem import DirectoryFiles\n"
        "DirectoryFiles(Path(sys.argv[1])).acquire()"
    )
    other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "UnavailableError" in other.stderr
    spool.close()
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert oracle.open(DirectoryFileSystem(tmp_path)).get_usage().degraded is None


def test_a_killed_agent_leaves_what_it_accepted(tmp_path: Path) -> None:
    """kill -9 in the middle of writing: every batch it said to be accepted is there."""
    code = """
import sys
from pathlib import Path
from leadline_agent.spool.filesystem import DirectoryFiles
from leadline_agent.spool.spool import Committed
from tests.chaos.spool_oracle import Oracle
oracle = Oracle()
spool = oracle.open(DirectoryFiles(Path(sys.argv[1])))
while True:
    spool.append(oracle.batch(spool, 700))
    for name in oracle.commit(spool).accepted:
        print(name.seq, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        accepted = [int(agent.stdout.readline()) for _ in range(25)]
        agent.kill()
        accepted += [int(line) for line in agent.stdout if line.endswith("\n")]

    spool = SpoolOracle().open(DirectoryFileSystem(tmp_path))

    told = {seq for one in spool.list_undelivered_losses() for seq in range(one.first_seq, (one.last_seq or 0) + 1)}
    assert set(accepted) <= told | {one.id.seq for one in iter_waiting(spool)}
