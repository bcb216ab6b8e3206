"""Which batch is sent when and where, and what becomes of it: pure functions of values.

``choose`` says what to do next; whoever does it gives the answer to ``after``, which gives the next state and what has
to be done to the batch. Time is monotonic nanoseconds, chance is a share in [0, 1); both are parameters.

=====================  ========================================  =====================================================
answer                 to the batch                              to the sending
=====================  ========================================  =====================================================
200 + our digest       ``Acknowledge``; with ``rewind`` when     failures forgotten; backfill goes a little faster
                       the store lost batches it had
200 without it, 3xx,   ``Keep``, loud                            full-jitter back-off; never followed
a stranger's 4xx
400, 422               ``PutAside`` (dead letter), loud          goes on
401, 403, 404,         ``Keep``, loud                            every 2.5 to 5 minutes
other 4xx
409, current epoch     ``BeginEpoch``, loud: this identity was   stops for 2.5 to 5 minutes, then goes on as a new
                       cloned                                    epoch: no answer can make epochs without end
409, earlier epoch     ``Rename``: the clone took this name too  goes on
413                    ``Split``; one window: ``PutAside``, or   goes on; or every 2.5 to 5 minutes
                       ``Keep``, loud, if a proxy says it
415, 426               ``Keep``, loud: versions differ           every 2.5 to 5 minutes
408, 429, 5xx,         ``Keep``                                  full-jitter back-off to 5 minutes + Retry-After (5
timeout, reset                                                   minutes at most); 429, 503: backfill at half the pace
=====================  ========================================  =====================================================

Rule 1: nothing but STORED acknowledges, nothing but REFUSED (or a window too large) puts aside, the rest keeps.
Rule 2: newest first. A batch of the current epoch, newer than any disposed of, is live and waits only for back-off. The
others are backfill, oldest first, and wait for the pace as well, which the collector slows down and every stored
batch quickens.
Rule 3: collectors are ordered. ``FAILURES_PER_COLLECTOR`` kept batches in a row and the next is asked; the first is
tried again every few minutes, with one batch that is kept if it does not answer.
Rule 4: back-off counts failures across all collectors and begins before the first contact: a start is spread too.
Rule 5: the store must have one batch of this epoch more after each new one, and must know a batch of each earlier
epoch and how many it acknowledged of it (``Head.stored``). If not, it was restored from a backup: rewind, at most once
in ``REWIND_EVERY_NS``, so that a collector that cannot count costs little.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from leadline.wire import batch as wire
from leadline_agent.delivery.backoff import CAP_S, spread_s
from leadline_agent.delivery.responses import Answer, Kind

NS_PER_S = 1_000_000_000
#: 500 agents that start with their data centre's power come within ten seconds, 50 a second.
START_SPREAD_NS = 10 * NS_PER_S
#: What a person has to put right is not put right within two minutes.
SLOW_NS = int(CAP_S * NS_PER_S)
#: Two failures are a restart of the collector; with the third, 3.5 s later on average, it is away.
FAILURES_PER_COLLECTOR = 3
#: The first collector is tried again so often, while another does its work.
RETURN_NS = 300 * NS_PER_S
#: Batches a second from the backlog: a day away (1,440 batches) is made up in two minutes at best.
PACE_MAX = 20.0
PACE_START = 1.0
#: As many as are made, so that a backlog does not grow while the collector is slow.
PACE_MIN = 1 / 60
#: To PACE_MAX in about 80 stored batches.
PACE_STEP = 0.25
#: A refill of 48 h takes minutes; more than one an hour is a collector that counts wrongly.
REWIND_EVERY_NS = 3_600 * NS_PER_S
#: Its load is what it complains of.
_OVERLOADED = frozenset({429, 503})


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadState:
    """All that sending remembers. Made by ``started``."""

    #: How many collectors there are, in order of preference.
    collectors: int
    #: Nothing is sent before.
    next_ns: int
    #: The collector in use.
    active: int = 0
    #: In a row, whichever collector; what back-off counts.
    failures: int = 0
    #: Of the active collector.
    failures_here: int = 0
    #: When to try the first again; None while it is the active one.
    return_at_ns: int | None = None
    #: Backfill: batches a second, and when the next may go.
    pace: float = PACE_START
    backfill_at_ns: int = 0
    #: The epoch that batches are sealed in now.
    epoch: str
    #: Its highest number that was disposed of; what is newer is live. -1: none.
    live_seq: int = -1
    #: Batches of it that the store must have.
    stored: int = 0
    rewound_at_ns: int | None = None

    def __post_init__(self) -> None:
        assert 0 <= self.active < self.collectors
        assert (self.active == 0) == (self.return_at_ns is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A batch at the newer or the older end of those that wait."""

    epoch: str
    seq: int
    windows: int
    #: Of a batch of an earlier epoch that was acknowledged and is sent to see whether the store still knows it, for a
    #: database may be restored while the agent is down too: how many of its epoch the store must have. None: not asked.
    stored: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send this batch to this collector now."""

    head: Head
    collector: int
    is_live: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """Nothing to send before monotonic ``until_ns``; None: until there is a batch."""

    until_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledge:
    """The batch is stored. ``rewind``: send all that is still kept, of every epoch, again: the store has lost some."""

    rewind: bool
    ack: wire.Ack


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """The batch stays where it is. ``loud``: a person has to act."""

    reason: str
    loud: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PutAside:
    """Move the batch to the dead letters and tell of it in a gap record (``GapReason.REFUSED``). Loud."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Replace the batch by two of half as many windows under new numbers."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginEpoch:
    """Another agent uses our names: draw a new epoch, tell the state (``begun``), and then as ``Rename``. Loud."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename:
    """Seal the windows of the batch anew under the next number of the current epoch, in its place."""

    reason: str


Action: TypeAlias = Acknowledge | Keep | PutAside | Split | BeginEpoch | Rename


def started(collectors: int, epoch: str, now_ns: int, share: float) -> UploadState:
    """The state after a start, which began ``epoch``."""
    return UploadState(collectors=collectors, epoch=epoch, next_ns=now_ns + int(share * START_SPREAD_NS))


def begun(state: UploadState, epoch: str) -> UploadState:
    """The state after a new epoch began."""
    return replace(state, epoch=epoch, live_seq=-1, stored=0)


def hurried(state: UploadState, now_ns: int) -> UploadState:
    """The state without its waits: the agent is about to end and has one last try."""
    return replace(state, next_ns=now_ns, backfill_at_ns=now_ns, pace=PACE_MAX)


def choose(state: UploadState, newest: Head | None, oldest: Head | None, now_ns: int) -> Send | Idle:
    """What to do at ``now_ns``, given the two ends of what waits; both None when nothing does."""
    if newest is None or oldest is None:
        return Idle(until_ns=None)
    is_live = newest.epoch == state.epoch and newest.seq > state.live_seq
    due_ns = state.next_ns if is_live else max(state.next_ns, state.backfill_at_ns)
    if now_ns < due_ns:
        return Idle(until_ns=due_ns)
    is_trial = state.return_at_ns is not None and now_ns >= state.return_at_ns
    return Send(head=newest if is_live else oldest, collector=0 if is_trial else state.active, is_live=is_live)


def after(state: UploadState, sent: Send, answer: Answer, now_ns: int, share: float) -> tuple[UploadState, Action]:
    """The state after an answer at ``now_ns`` to what was sent, and what has to be done to the batch."""
    action = _action(state, sent, answer, now_ns)
    if isinstance(action, Keep):
        return _after_failure(state, sent, answer, now_ns, share), action
    state = _after_contact(state, sent, now_ns, share)
    if isinstance(action, Acknowledge):
        state = _after_ack(state, sent.head, action, now_ns)
    elif isinstance(action, BeginEpoch):
        state = replace(state, next_ns=now_ns + _slow_ns(share))
    return state, action


def _action(state: UploadState, sent: Send, answer: Answer, now_ns: int) -> Action:
    """The table's middle column."""
    match answer.kind:
        case Kind.STORED:
            assert answer.ack is not None
            return Acknowledge(rewind=_must_rewind(state, sent.head, answer.ack, now_ns), ack=answer.ack)
        case Kind.REFUSED:
            return PutAside(reason=answer.reason)
        case Kind.CLONED if sent.head.epoch == state.epoch:
            return BeginEpoch(reason=answer.reason)
        case Kind.CLONED:
            return Rename(reason=answer.reason)
        case Kind.TOO_LARGE if sent.head.windows > 1:
            return Split(reason=answer.reason)
        case Kind.TOO_LARGE if answer.is_problem:
            return PutAside(reason=answer.reason)
    return Keep(reason=answer.reason, loud=answer.kind is not Kind.AWAY)


def _must_rewind(state: UploadState, head: Head, ack: wire.Ack, now_ns: int) -> bool:
    if not (_is_forgotten(head, ack) or _is_short(state, head, ack)):
        return False
    return state.rewound_at_ns is None or now_ns - state.rewound_at_ns >= REWIND_EVERY_NS


def _is_forgotten(head: Head, ack: wire.Ack) -> bool:
    """True when the store did not have the batch it was asked about, or has too few of its epoch."""
    if head.stored is None:
        return False
    return not ack.duplicate or (ack.batches is not None and ack.batches < head.stored)


def _is_short(state: UploadState, head: Head, ack: wire.Ack) -> bool:
    """True when the store has fewer batches of the current epoch than it must."""
    return head.epoch == state.epoch and ack.batches is not None and ack.batches < _expected(state, ack)


def _expected(state: UploadState, ack: wire.Ack) -> int:
    """How many batches of the current epoch a store that lost none has after ``ack`` for one of them."""
    return state.stored if ack.duplicate else state.stored + 1


def _after_ack(state: UploadState, head: Head, action: Acknowledge, now_ns: int) -> UploadState:
    state = replace(state, pace=_quicker(state.pace))
    if head.epoch != state.epoch:
        # A rewind: how much of the current epoch is left is told by its next batch.
        return replace(state, stored=0, rewound_at_ns=now_ns) if action.rewind else state
    expected = _expected(state, action.ack)
    counted = expected if action.ack.batches is None else action.ack.batches
    if action.rewind:
        return replace(state, stored=counted, rewound_at_ns=now_ns)
    # Too few within the hour: what is expected stays, so that the rewind comes when the hour is over.
    return replace(state, stored=max(counted, expected))


def _quicker(pace: float) -> float:
    return min(PACE_MAX, pace + PACE_STEP)


def _after_contact(state: UploadState, sent: Send, now_ns: int, share: float) -> UploadState:
    """A collector has decided about the batch, so it is there, and in use from now on."""
    return replace(
        state,
        active=sent.collector,
        return_at_ns=None if sent.collector == 0 else state.return_at_ns,
        failures=0,
        failures_here=0,
        next_ns=now_ns,
        backfill_at_ns=state.backfill_at_ns if sent.is_live else _next_backfill_ns(state.pace, now_ns, share),
        live_seq=max(state.live_seq, sent.head.seq) if sent.head.epoch == state.epoch else state.live_seq,
    )


def _next_backfill_ns(pace: float, now_ns: int, share: float) -> int:
    """On average one interval of the pace later, so that agents that keep the same pace drift apart."""
    return now_ns + int((0.5 + share) / pace * NS_PER_S)


def _after_failure(state: UploadState, sent: Send, answer: Answer, now_ns: int, share: float) -> UploadState:
    if answer.status in _OVERLOADED:
        state = replace(state, pace=max(PACE_MIN, state.pace / 2))
    if sent.collector != state.active:
        # The first is still away: the one in use has done nothing wrong, so there is no wait.
        return replace(state, return_at_ns=_return_at_ns(now_ns, share))
    failures = state.failures + 1
    state = replace(state, failures=failures, failures_here=state.failures_here + 1)
    if state.failures_here >= FAILURES_PER_COLLECTOR and state.collectors > 1:
        state = _next_collector(state, now_ns, share)
    return replace(state, next_ns=now_ns + _wait_ns(failures, answer, share))


def _next_collector(state: UploadState, now_ns: int, share: float) -> UploadState:
    active = (state.active + 1) % state.collectors
    return replace(
        state,
        active=active,
        failures_here=0,
        return_at_ns=None if active == 0 else state.return_at_ns or _return_at_ns(now_ns, share),
    )


def _return_at_ns(now_ns: int, share: float) -> int:
    return now_ns + int((0.5 + share / 2) * RETURN_NS)


def _wait_ns(failures: int, answer: Answer, share: float) -> int:
    """The table's right column."""
    if answer.kind in (Kind.AWAY, Kind.STRANGER):
        return int(spread_s(failures, share, answer.retry_after_s) * NS_PER_S)
    return _slow_ns(share)


def _slow_ns(share: float) -> int:
    return int((0.5 + share / 2) * SLOW_NS)
