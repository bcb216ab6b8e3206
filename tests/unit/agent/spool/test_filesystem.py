"""The spool on a real directory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from leadline.errors import UnavailableError
from leadline_agent.spool.filesystem import DirectoryFileSystem
from leadline_agent.spool.spool import CommitFailure, CommitSuccess, Spool
from tests.chaos.spool_oracle import SpoolOracle, iter_waiting


def commit_one(spool: Spool, oracle: SpoolOracle) -> CommitSuccess | CommitFailure:
    spool.append(oracle.create_batch(spool, 1_000))
    return oracle.commit(spool)


def test_batches_survive_a_restart_on_a_real_disk(tmp_path: Path) -> None:
    """Bodies, marks and the files' modes: for their owner only."""
    oracle, directory = SpoolOracle(), tmp_path / "state" / "spool"
    spool = oracle.open(DirectoryFileSystem(directory))
    for _ in range(30):
        commit_one(spool, oracle)
    names = [one.id for one in iter_waiting(spool)]
    spool.ack(names[3])
    spool.close()

    again = oracle.open(DirectoryFileSystem(directory))

    assert [one.id for one in iter_waiting(again)] == names[:3] + names[4:]
    assert [again.read_body(name) for name in names] == [oracle.bodies[name] for name in names]
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


def test_overflow_on_a_real_disk_keeps_to_the_budget(tmp_path: Path) -> None:
    """Segments become their own tombstones there as well."""
    oracle = SpoolOracle()
    spool = oracle.open(DirectoryFileSystem(tmp_path))
    for _ in range(150):
        commit_one(spool, oracle)
    spool.close()

    again = oracle.open(DirectoryFileSystem(tmp_path))

    assert oracle.find_broken_promises(again) == []
    assert len(again.list_undelivered_losses()) == 1
    assert sum(path.stat().st_size for path in tmp_path.glob("*.seg")) <= 64 << 10


def test_a_removed_directory_is_made_and_locked_again(tmp_path: Path) -> None:
    """``rm -rf`` while the agent runs: what comes after is durable, what was before is told as lost."""
    oracle, directory = SpoolOracle(), tmp_path / "spool"
    spool = oracle.open(DirectoryFileSystem(directory))
    commit_one(spool, oracle)
    shutil.rmtree(directory)
    oracle.is_damaged = True

    assert isinstance(commit_one(spool, oracle), CommitSuccess)

    assert oracle.find_broken_promises(spool) == []
    assert len(list(iter_waiting(spool))) == len(list(directory.glob("*.seg"))) == 1
    with pytest.raises(UnavailableError):
        oracle.open(DirectoryFileSystem(directory))


def test_a_directory_that_cannot_be_made_is_told_and_used_when_it_can(tmp_path: Path) -> None:
    """A file in its place stands for every disk that is away for a while."""
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


def test_a_spool_that_cannot_be_opened_names_the_remedy(tmp_path: Path) -> None:
    """At the start it is an error for a person to read."""
    (tmp_path / "spool").write_text("no directory")

    with pytest.raises(UnavailableError, match="needs a directory that this user can write to"):
        SpoolOracle().open(DirectoryFileSystem(tmp_path / "spool"))
