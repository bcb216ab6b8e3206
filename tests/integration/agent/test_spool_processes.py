"""Two processes on one spool, and a killed process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from leadline.errors import UnavailableError
from leadline_agent.spool.filesystem import DirectoryFileSystem
from tests.chaos.spool_oracle import SpoolOracle, iter_unacked


def test_second_agent_on_one_spool_is_refused(tmp_path: Path) -> None:
    """The second opening fails in the same and in another process; the lock ends with its process."""
    oracle = SpoolOracle()
    spool = oracle.open(DirectoryFileSystem(tmp_path))

    with pytest.raises(UnavailableError, match=f"in use by process {os.getpid()}; two agents cannot share a spool"):
        oracle.open(DirectoryFileSystem(tmp_path))

    code = (
        "import sys; from pathlib import Path; from leadline_agent.spool.filesystem import DirectoryFileSystem\n"
        "DirectoryFileSystem(Path(sys.argv[1])).acquire_lock()"
    )
    other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "UnavailableError" in other.stderr
    spool.close()
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert oracle.open(DirectoryFileSystem(tmp_path)).get_usage().degraded is None


def test_accepted_batches_survive_a_kill(tmp_path: Path) -> None:
    """After kill -9 during writes, every batch that was reported as accepted is there."""
    code = """
import sys
from pathlib import Path
from leadline_agent.spool.filesystem import DirectoryFileSystem
from tests.chaos.spool_oracle import SpoolOracle
oracle = SpoolOracle()
spool = oracle.open(DirectoryFileSystem(Path(sys.argv[1])))
while True:
    spool.append(oracle.create_batch(spool, 700))
    for batch_id in oracle.commit(spool).accepted_ids:
        print(batch_id.seq, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        accepted = [int(agent.stdout.readline()) for _ in range(25)]
        agent.kill()
        accepted += [int(line) for line in agent.stdout if line.endswith("\n")]

    spool = SpoolOracle().open(DirectoryFileSystem(tmp_path))

    losses = spool.list_undelivered_losses()
    lost = {seq for loss in losses for seq in range(loss.first_seq, (loss.last_seq or 0) + 1)}
    assert set(accepted) <= lost | {batch.id.seq for batch in iter_unacked(spool)}
