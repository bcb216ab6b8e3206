"""Power loss at every operation of a spool's life; and spools that are broken on purpose, which must be seen to lose.

The broken ones show that the simulator sees what it has to see: without them a green run would prove nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from functools import partial
from random import Random

import pytest

from leadline_agent.spool.spool import CommitSuccess
from tests.chaos.crashing_files import CrashingFiles, PowerLossError
from tests.chaos.spool_oracle import MINUTE_NS, SpoolOracle, iter_waiting, simulate_spool_life

SEEDS = (1, 2, 3, 4)
#: Enough for the budget of ``SMALL`` to overflow several times.
STEPS = 60
#: Of the operations of a life, how many are looked at.
SHARE = 0.3
ERRORS = (errno.EIO, errno.ENOSPC, errno.EMFILE)


class NoDirectorySync(CrashingFiles):
    """A spool that forgets to sync the names of new segments."""

    def fsync_dir(self) -> None:
        self._operate()


class AcceptBeforeSync(CrashingFiles):
    """A spool that calls a batch accepted once it is written."""

    def fdatasync(self, handle: int) -> None:
        self._operate()


class SameDescriptor(CrashingFiles):
    """A spool that syncs once more, through the same descriptor, after a sync that failed."""

    def fdatasync(self, handle: int) -> None:
        try:
            super().fdatasync(handle)
        except OSError:
            super().fdatasync(handle)


class DeleteBeforeTombstone(CrashingFiles):
    """A spool that cuts a segment off before the note of what it held is durable."""

    _noting = -1

    def open_existing(self, name: str) -> int:
        self._noting = super().open_existing(name)
        return self._noting

    def fdatasync(self, handle: int) -> None:
        if handle == self._noting:
            self._operate()
        else:
            super().fdatasync(handle)


def looks(kind: type[CrashingFiles], *, errors_per_life: int = 0) -> Iterator[str | None]:
    """Pull the plug at one operation after the other: a promise broken there, or None."""
    for seed in SEEDS:
        files, oracle, rng = kind(), SpoolOracle(), Random(f"crash/{seed}")
        files.failures = disk_errors(seed, errors_per_life)
        seen: list[str | None] = []
        files.on_operation = partial(look, files, oracle, rng, seen)
        simulate_spool_life(files, oracle, Random(seed), steps=STEPS)
        yield from seen


def look(files: CrashingFiles, oracle: SpoolOracle, rng: Random, seen: list[str | None]) -> None:
    """What a crash at this moment may leave, now and then."""
    if rng.random() < SHARE:
        broken = oracle.find_broken_promises(oracle.open(files.after_crash(rng)))
        seen.append(f"before operation {files.operations}: {broken[0]}" if broken else None)


def disk_errors(seed: int, count: int) -> dict[int, int]:
    """Operations that fail, and how."""
    rng = Random(f"errors/{seed}")
    return {rng.randrange(20, 1_500): rng.choice(ERRORS) for _ in range(count)}


@pytest.mark.parametrize("errors_per_life", [0, 25, 100])
def test_no_power_loss_breaks_a_promise(errors_per_life: int) -> None:
    """Wherever the power goes, on a disk that works and on one that fails now and then."""
    seen = list(looks(CrashingFiles, errors_per_life=errors_per_life))

    assert len(seen) > 500
    assert [broken for broken in seen if broken] == []


@pytest.mark.parametrize(
    ("kind", "errors_per_life"),
    [(NoDirectorySync, 0), (AcceptBeforeSync, 0), (SameDescriptor, 100), (DeleteBeforeTombstone, 0)],
)
def test_the_simulator_catches_a_broken_spool(kind: type[CrashingFiles], errors_per_life: int) -> None:
    """Each of the classical mistakes loses something that was promised."""
    assert any(looks(kind, errors_per_life=errors_per_life))


def test_reading_after_a_crash_changes_nothing() -> None:
    """A spool that is read and not used is read the same again."""
    for seed in range(40):
        files, oracle = CrashingFiles(), SpoolOracle()
        files.power_loss_at = 100 + 17 * seed
        simulate_spool_life(files, oracle, Random(seed), steps=STEPS)
        crashed = files.after_crash(Random(seed))
        first = oracle.open(crashed)

        second = oracle.open(crashed.after_kill())

        assert [one.id for one in iter_waiting(second)] == [one.id for one in iter_waiting(first)]
        assert second.list_undelivered_losses() == first.list_undelivered_losses()
        assert second.list_dead_letters() == first.list_dead_letters()


def test_a_power_loss_in_the_life_after_a_power_loss_breaks_no_promise() -> None:
    """What one recovery promised, the next one keeps."""
    for seed in range(40):
        files, oracle = CrashingFiles(), SpoolOracle()
        for life in range(4):
            files.power_loss_at = 60 + (seed * 31 + life * 97) % 400
            simulate_spool_life(files, oracle, Random(f"{seed}/{life}"), steps=STEPS)
            files = files.after_crash(Random(f"{seed}/{life}"))

        assert oracle.find_broken_promises(oracle.open(files)) == []


def test_of_two_copies_the_accepted_one_counts() -> None:
    """The copy before it was given to a sync that failed: it can be read until the power goes, and not after."""
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
    """A file system that has no room to write over a page."""

    def open_existing(self, name: str) -> int:
        raise OSError(errno.ENOSPC, "no room to copy", name)


def overflow(files: CrashingFiles, oracle: SpoolOracle, commits: int) -> None:
    """Fill a spool beyond its budget."""
    spool = oracle.open(files)
    for _ in range(commits):
        oracle.clock.advance(MINUTE_NS)
        spool.append(oracle.create_batch(spool, 2_000))
        oracle.commit(spool)


def test_on_a_file_system_that_copies_on_write_the_note_goes_first() -> None:
    """Where a segment cannot take its own note, it goes only after the note is durable elsewhere."""
    for operation in range(150, 400, 3):
        files, oracle = CopyOnWrite(), SpoolOracle()
        files.power_loss_at = operation
        try:
            overflow(files, oracle, 60)
        except PowerLossError:
            files.power_loss_at = None
        crashed = files.after_crash(Random(operation))

        assert oracle.find_broken_promises(oracle.open(crashed)) == []


def test_a_full_file_system_that_copies_on_write_does_not_wedge_the_spool() -> None:
    """There the oldest segment goes even before its note: new batches are accepted all the same."""
    files, oracle = CopyOnWrite(), SpoolOracle()
    overflow(files, oracle, 12)
    files.capacity = files.used_bytes + 1_000
    spool = oracle.open(files.after_kill())
    batch = oracle.create_batch(spool, 2_000)

    spool.append(batch)

    assert oracle.commit(spool) == CommitSuccess(accepted_ids=(batch.id,))
    assert oracle.find_broken_promises(spool) == []
