"""The spool on a real directory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from leadline.errors import UnavailableError
from leadline_agent.spool.filesystem import DirectoryFileSystem
from leadline_agent.spool.spool import CommitFailure, CommitSuccess, Spool
from tests.chaos.spool_oracle import SpoolOracle, iter_unacked


def commit_one(spool: Spool, oracle: SpoolOracle) -> CommitSuccess | CommitFailure:
    spool.append(oracle.create_batch(spool, 1_000))
    return oracle.commit(spool)


def test_batches_survive_a_restart_on_a_real_disk(tmp_path: Path) -> None:
    """Bodies and acknowledgements survive, and only the owner can access the files."""
    oracle, directory = SpoolOracle(), tmp_path / "state" / "spool"
    spool = oracle.open(DirectoryFileSystem(directory))
    for _ in range(30):
        commit_one(spool, oracle)
    ids = [batch.id for batch in iter_unacked(spool)]
    spool.ack(ids[3])
    spool.close()

    restarted = oracle.open(DirectoryFileSystem(directory))

    assert [batch.id for batch in iter_unacked(restarted)] == ids[:3] + ids[4:]
    assert [restarted.read_body(batch_id) for batch_id in ids] == [oracle.bodies[batch_id] for batch_id in ids]
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


def test_overflow_on_a_real_disk_stays_within_the_quota(tmp_path: Path) -> None:
    """Evicted segments are replaced with their loss records on a real disk too."""
    oracle = SpoolOracle()
    spool = oracle.open(DirectoryFileSystem(tmp_path))
    for _ in range(150):
        commit_one(spool, oracle)
    spool.close()

    restarted = oracle.open(DirectoryFileSystem(tmp_path))

    assert oracle.find_broken_promises(restarted) == []
    assert len(restarted.list_undelivered_losses()) == 1
    assert sum(path.stat().st_size for path in tmp_path.glob("*.seg")) <= 64 << 10


def test_removed_directory_is_recreated_and_locked(tmp_path: Path) -> None:
    """After ``rm -rf`` during operation, new batches are durable and old ones are reported as lost."""
    oracle, directory = SpoolOracle(), tmp_path / "spool"
    spool = oracle.open(DirectoryFileSystem(directory))
    commit_one(spool, oracle)
    shutil.rmtree(directory)
    oracle.is_damaged = True

    assert isinstance(commit_one(spool, oracle), CommitSuccess)

    assert oracle.find_broken_promises(spool) == []
    assert len(list(iter_unacked(spool))) == len(list(directory.glob("*.seg"))) == 1
    with pytest.raises(UnavailableError):
        oracle.open(DirectoryFileSystem(directory))


def test_directory_that_cannot_be_created_is_retried(tmp_path: Path) -> None:
    """A file at the path of the directory simulates a disk that is temporarily unavailable."""
    oracle, directory = SpoolOracle(), tmp_path / "spool"
    spool = oracle.open(DirectoryFileSystem(directory))
    commit_one(spool, oracle)
    shutil.rmtree(directory)
    oracle.is_damaged = True
    directory.write_text("in the way")

    assert isinstance(commit_one(spool, oracle), CommitFailure)

    directory.unlink()
    assert isinstance(commit_one(spool, oracle), CommitSuccess)
    assert oracle.find_broken_promises(spool) == []


def test_error_of_an_unusable_spool_contains_the_remedy(tmp_path: Path) -> None:
    """The start fails with a readable error."""
    (tmp_path / "spool").write_text("no directory")

    with pytest.raises(UnavailableError, match="needs a directory that this user can write to"):
        SpoolOracle().open(DirectoryFileSystem(tmp_path / "spool"))
