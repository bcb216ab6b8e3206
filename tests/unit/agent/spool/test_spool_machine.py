"""Stateful test of the spool with random sequences of events."""

from __future__ import annotations

import errno
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from leadline_agent.spool.manifest import MANIFEST_NAME
from leadline_agent.spool.spool import CommitSuccess, Spool
from tests.chaos.crashing_files import CrashingFiles, PowerLossError
from tests.chaos.spool_oracle import MINUTE_NS, SMALL_QUOTA, SpoolOracle, iter_unacked

SEEDS = st.integers(0, 1 << 30)


class SpoolMachine(RuleBasedStateMachine):
    """After any process, power and disk fault, every accepted batch is available or reported as lost."""

    def __init__(self) -> None:
        super().__init__()
        self.files = CrashingFiles()
        self.oracle = SpoolOracle()
        self.spool: Spool

    @initialize()
    def begin(self) -> None:
        self.spool = self.oracle.open(self.files)

    @rule(sizes=st.lists(st.integers(1, 4_000), min_size=1, max_size=6))
    def append(self, sizes: list[int]) -> None:
        """Append several batches before a commit (group commit)."""
        self.oracle.clock.advance(MINUTE_NS)
        for size in sizes:
            self.spool.append(self.oracle.create_batch(self.spool, size))

    @rule()
    def commit(self) -> None:
        self.oracle.commit(self.spool)

    @rule(seed=SEEDS)
    def ack_any(self, seed: int) -> None:
        """Acknowledge a random batch."""
        batches = list(iter_unacked(self.spool))
        if batches:
            self.oracle.ack(self.spool, Random(seed).choice(batches).id)

    @rule()
    def ack_newest(self) -> None:
        if (batch := self.spool.find_newest()) is not None:
            self.oracle.ack(self.spool, batch.id)

    @rule()
    def refuse(self) -> None:
        if (batch := self.spool.find_oldest()) is not None:
            self.spool.refuse(batch.id, "400 damaged")

    @rule()
    def deliver_losses(self) -> None:
        self.oracle.deliver(self.spool)

    @rule(minutes=st.integers(1, 120))
    def time_passes(self, minutes: int) -> None:
        self.oracle.clock.advance(minutes * MINUTE_NS)

    @rule()
    def rewind(self) -> None:
        """Make all acknowledged batches unacknowledged."""
        usage = self.spool.get_usage()
        assert self.spool.rewind() == usage.acked
        assert self.spool.get_usage().unacked == usage.unacked + usage.acked

    @rule()
    def restart(self) -> None:
        if isinstance(self.spool.close(), CommitSuccess):
            self.oracle.accepted.update(name for name in self.oracle.bodies if self.spool.read_body(name) is not None)
        self.spool = self.oracle.open(self.files)

    @rule()
    def kill(self) -> None:
        self.files = self.files.after_kill()
        self.spool = self.oracle.open(self.files)

    @rule(seed=SEEDS)
    def power_loss(self, seed: int) -> None:
        self.files = self.files.after_crash(Random(seed))
        self.spool = self.oracle.open(self.files)

    @rule(seed=SEEDS, operations=st.integers(1, 12))
    def power_loss_in_commit(self, seed: int, operations: int) -> None:
        self.files.power_loss_at = self.files.operations + operations
        try:
            self.oracle.commit(self.spool)
        except PowerLossError:
            self.files = self.files.after_crash(Random(seed))
            self.spool = self.oracle.open(self.files)
        self.files.power_loss_at = None

    @rule(operations=st.integers(1, 12), code=st.sampled_from((errno.EIO, errno.ENOSPC, errno.EMFILE)))
    def disk_error(self, operations: int, code: int) -> None:
        self.files.failures[self.files.operations + operations] = code

    @rule(free_bytes=st.integers(0, 6_000))
    def disk_full(self, free_bytes: int) -> None:
        self.files.capacity = self.files.used_bytes + free_bytes

    @rule()
    def disk_free(self) -> None:
        self.files.capacity = None

    @rule()
    def read_only(self) -> None:
        self.files.read_only = True
        self.spool.append(self.oracle.create_batch(self.spool, 10))
        assert not isinstance(self.oracle.commit(self.spool), CommitSuccess)
        self.files.read_only = False

    @precondition(lambda self: any(name.endswith(".seg") for name in self.files.list_names()))
    @rule(seed=SEEDS, kind=st.sampled_from(("flip", "zero", "cut", "remove", "manifest")))
    def damage(self, seed: int, kind: str) -> None:
        """Damage one file while the spool is closed."""
        rng = Random(seed)
        self.oracle.is_damaged = True
        self.files.failures, self.files.capacity = {}, None
        self.restart()
        names = sorted(name for name in self.files.list_names() if name.endswith(".seg"))
        if kind == "manifest" or not names:
            damage(self.files, MANIFEST_NAME, "flip", rng)
        else:
            damage(self.files, rng.choice(names), kind, rng)
        self.files = self.files.after_kill()
        self.spool = self.oracle.open(self.files)
        self.oracle.commit(self.spool)

    @invariant()
    def promises_are_kept(self) -> None:
        assert self.oracle.find_broken_promises(self.spool) == []

    @invariant()
    def the_budget_is_kept(self) -> None:
        usage = self.spool.get_usage()
        assert usage.bytes <= SMALL_QUOTA.bytes_max


def damage(files: CrashingFiles, name: str, kind: str, rng: Random) -> None:
    """Flip a byte, zero a sector, truncate the file, or remove it."""
    if kind == "remove":
        files.unlink(name)
        return
    content = files.content(name)
    if not content:
        return
    offset = rng.randrange(len(content))
    if kind == "flip":
        content[offset] ^= rng.randint(1, 255)
    elif kind == "zero":
        first = offset // 512 * 512
        content[first : first + 512] = bytes(len(content[first : first + 512]))
    elif kind == "cut":
        del content[offset:]


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=settings().max_examples * 3 // 5, stateful_step_count=40)
