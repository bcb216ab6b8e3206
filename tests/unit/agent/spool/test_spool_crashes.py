"""Power loss at random operations of a simulated spool, and deliberately broken spools that must fail the check.

The broken spools prove that the simulator detects violations; without them a passing run proves nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from functools import partial
from random import Random

import pytest

from leadline_agent.spool.spool import CommitSuccess
from tests.chaos.crashing_files import CrashingFiles, PowerLossError
from tests.chaos.spool_oracle import MINUTE_NS, SpoolOracle, iter_unacked, simulate_spool_life

SEEDS = (1, 2, 3, 4)
#: Enough to overflow ``SMALL_QUOTA`` several times.
STEPS = 60
#: Share of the operations after which a crash is simulated.
SHARE = 0.3
ERRORS = (errno.EIO, errno.ENOSPC, errno.EMFILE)


class NoDirectorySync(CrashingFiles):
    """Broken spool: does not sync the names of new segments."""

    def fsync_dir(self) -> None:
        self._operate()


class AcceptBeforeSync(CrashingFiles):
    """Broken spool: accepts a batch after the write, without a sync."""

    def fdatasync(self, handle: int) -> None:
        self._operate()


class SameDescriptor(CrashingFiles):
    """Broken spool: repeats a failed sync on the same descriptor."""

    def fdatasync(self, handle: int) -> None:
        try:
            super().fdatasync(handle)
        except OSError:
            super().fdatasync(handle)


class TruncateBeforeLossRecords(CrashingFiles):
    """Broken spool: truncates a segment before its loss records are durable."""

    _eviction_handle = -1

    def open_existing(self, name: str) -> int:
        self._eviction_handle = super().open_existing(name)
        return self._eviction_handle

    def fdatasync(self, handle: int) -> None:
        if handle == self._eviction_handle:
            self._operate()
        else:
            super().fdatasync(handle)


def simulate_crashes(kind: type[CrashingFiles], *, errors_per_life: int = 0) -> Iterator[str | None]:
    """Simulate a power loss at random operations; yield a broken promise or None for each."""
    for seed in SEEDS:
        files, oracle, rng = kind(), SpoolOracle(), Random(f"crash/{seed}")
        files.failures = disk_errors(seed, errors_per_life)
        results: list[str | None] = []
        files.on_operation = partial(check_crash, files, oracle, rng, results)
        simulate_spool_life(files, oracle, Random(seed), steps=STEPS)
        yield from results


def check_crash(files: CrashingFiles, oracle: SpoolOracle, rng: Random, results: list[str | None]) -> None:
    """Check the state after a crash at this operation, for a random share of the operations."""
    if rng.random() < SHARE:
        broken = oracle.find_broken_promises(oracle.open(files.after_crash(rng)))
        results.append(f"before operation {files.operations}: {broken[0]}" if broken else None)


def disk_errors(seed: int, count: int) -> dict[int, int]:
    """Return random operation numbers with the errno they fail with."""
    rng = Random(f"errors/{seed}")
    return {rng.randrange(20, 1_500): rng.choice(ERRORS) for _ in range(count)}


@pytest.mark.parametrize("errors_per_life", [0, 25, 100])
def test_no_power_loss_breaks_a_promise(errors_per_life: int) -> None:
    """No promise is broken at any operation, with and without disk errors."""
    results = list(simulate_crashes(CrashingFiles, errors_per_life=errors_per_life))

    assert len(results) > 500
    assert [broken for broken in results if broken] == []


@pytest.mark.parametrize(
    ("kind", "errors_per_life"),
    [(NoDirectorySync, 0), (AcceptBeforeSync, 0), (SameDescriptor, 100), (TruncateBeforeLossRecords, 0)],
)
def test_the_simulator_catches_a_broken_spool(kind: type[CrashingFiles], errors_per_life: int) -> None:
    """Each of these classic mistakes breaks a promise."""
    assert any(simulate_crashes(kind, errors_per_life=errors_per_life))


def test_recovery_changes_nothing() -> None:
    """A second recovery without changes gives the same result."""
    for seed in range(40):
        files, oracle = CrashingFiles(), SpoolOracle()
        files.power_loss_at = 100 + 17 * seed
        simulate_spool_life(files, oracle, Random(seed), steps=STEPS)
        crashed = files.after_crash(Random(seed))
        first = oracle.open(crashed)

        second = oracle.open(crashed.after_kill())

        assert [batch.id for batch in iter_unacked(second)] == [batch.id for batch in iter_unacked(first)]
        assert second.list_undelivered_losses() == first.list_undelivered_losses()
        assert second.list_dead_letters() == first.list_dead_letters()


def test_repeated_power_loss_breaks_no_promise() -> None:
    """Promises of one recovery hold after further power losses."""
    for seed in range(40):
        files, oracle = CrashingFiles(), SpoolOracle()
        for life in range(4):
            files.power_loss_at = 60 + (seed * 31 + life * 97) % 400
            simulate_spool_life(files, oracle, Random(f"{seed}/{life}"), steps=STEPS)
            files = files.after_crash(Random(f"{seed}/{life}"))

        assert oracle.find_broken_promises(oracle.open(files)) == []


def test_accepted_copy_of_a_batch_counts() -> None:
    """The earlier copy belongs to a failed sync: it is readable until the power loss only."""
    files, oracle = CrashingFiles(), SpoolOracle()
    spool = oracle.open(files)
    spool.append(oracle.create_batch(spool, 1_000))
    oracle.commit(spool)
    spool.append(oracle.create_batch(spool, 1_000))
    # One write, then the sync.
    files.failures[files.operations + 2] = errno.EIO
    oracle.commit(spool)
    files = files.after_kill()
    spool = oracle.open(files)
    oracle.clock.advance(MINUTE_NS)
    oracle.commit(spool)

    for seed in range(20):
        assert oracle.find_broken_promises(oracle.open(files.after_crash(Random(seed)))) == []


class CopyOnWrite(CrashingFiles):
    """File system without free space to overwrite a page."""

    def open_existing(self, name: str) -> int:
        raise OSError(errno.ENOSPC, "no room to copy", name)


def overflow(files: CrashingFiles, oracle: SpoolOracle, commits: int) -> None:
    """Fill a spool beyond its quota."""
    spool = oracle.open(files)
    for _ in range(commits):
        oracle.clock.advance(MINUTE_NS)
        spool.append(oracle.create_batch(spool, 2_000))
        oracle.commit(spool)


def test_copy_on_write_writes_losses_before_the_removal() -> None:
    """A segment that cannot store its loss records is removed only after they are durable elsewhere."""
    for operation in range(150, 400, 3):
        files, oracle = CopyOnWrite(), SpoolOracle()
        files.power_loss_at = operation
        try:
            overflow(files, oracle, 60)
        except PowerLossError:
            files.power_loss_at = None
        crashed = files.after_crash(Random(operation))

        assert oracle.find_broken_promises(oracle.open(crashed)) == []


def test_full_copy_on_write_file_system_does_not_block_the_spool() -> None:
    """The oldest segment is removed before its loss records are durable, so that new batches are accepted."""
    files, oracle = CopyOnWrite(), SpoolOracle()
    overflow(files, oracle, 12)
    files.capacity = files.used_bytes + 1_000
    spool = oracle.open(files.after_kill())
    batch = oracle.create_batch(spool, 2_000)

    spool.append(batch)

    assert oracle.commit(spool) == CommitSuccess(accepted_ids=(batch.id,))
    assert oracle.find_broken_promises(spool) == []
