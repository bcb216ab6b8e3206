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
from leadline_agent.delivery.backoff import CAP_S, compute_backoff_s
from leadline_agent.delivery.responses import BatchResponse, ResponseKind

NS_PER_S = 1_000_000_000
#: 500 agents that start with their data centre's power come within ten seconds, 50 a second.
START_SPREAD_NS = 10 * NS_PER_S
#: What a person has to put right is not put right within two minutes.
OPERATOR_RETRY_NS = int(CAP_S * NS_PER_S)
#: Two failures are a restart of the collector; with the third, 3.5 s later on average, it is away.
FAILURES_PER_COLLECTOR = 3
#: The first collector is tried again so often, while another does its work.
PRIMARY_RETRY_NS = 300 * NS_PER_S
#: Batches a second from the backlog: a day away (1,440 batches) is made up in two minutes at best.
BACKFILL_RATE_MAX = 20.0
BACKFILL_RATE_INITIAL = 1.0
#: As many as are made, so that a backlog does not grow while the collector is slow.
BACKFILL_RATE_MIN = 1 / 60
#: To PACE_MAX in about 80 stored batches.
BACKFILL_RATE_STEP = 0.25
#: A refill of 48 h takes minutes; more than one an hour is a collector that counts wrongly.
REWIND_INTERVAL_NS_MIN = 3_600 * NS_PER_S
#: Its load is what it complains of.
_OVERLOAD_STATUSES = frozenset({429, 503})


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadState:
    """All that sending remembers. Made by ``started``."""

    #: How many collectors there are, in order of preference.
    collector_count: int
    #: Nothing is sent before.
    next_send_ns: int
    #: The collector in use.
    active_collector: int = 0
    #: In a row, whichever collector; what back-off counts.
    failures: int = 0
    #: Of the active collector.
    collector_failures: int = 0
    #: When to try the first again; None while it is the active one.
    primary_retry_at_ns: int | None = None
    #: Backfill: batches a second, and when the next may go.
    backfill_rate: float = BACKFILL_RATE_INITIAL
    backfill_at_ns: int = 0
    #: The epoch that batches are sealed in now.
    epoch: str
    #: Its highest number that was disposed of; what is newer is live. -1: none.
    live_seq: int = -1
    #: Batches of it that the store must have.
    expected_batches: int = 0
    rewound_at_ns: int | None = None

    def __post_init__(self) -> None:
        assert 0 <= self.active_collector < self.collector_count
        assert (self.active_collector == 0) == (self.primary_retry_at_ns is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueEnd:
    """A batch at the newer or the older end of those that wait."""

    epoch: str
    seq: int
    windows: int
    #: Of a batch of an earlier epoch that was acknowledged and is sent to see whether the store still knows it, for a
    #: database may be restored while the agent is down too: how many of its epoch the store must have. None: not asked.
    expected_batches: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send this batch to this collector now."""

    queue_end: QueueEnd
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
class Retry:
    """The batch stays where it is. ``loud``: a person has to act."""

    reason: str
    needs_operator: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveToDeadLetters:
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
class Reissue:
    """Seal the windows of the batch anew under the next number of the current epoch, in its place."""

    reason: str


UploadAction: TypeAlias = Acknowledge | Retry | MoveToDeadLetters | Split | BeginEpoch | Reissue


def initial_state(collector_count: int, epoch: str, now_ns: int, jitter: float) -> UploadState:
    """The state after a start, which began ``epoch``."""
    return UploadState(
        collector_count=collector_count, epoch=epoch, next_send_ns=now_ns + int(jitter * START_SPREAD_NS)
    )


def with_new_epoch(state: UploadState, epoch: str) -> UploadState:
    """The state after a new epoch began."""
    return replace(state, epoch=epoch, live_seq=-1, expected_batches=0)


def without_delays(state: UploadState, now_ns: int) -> UploadState:
    """The state without its waits: the agent is about to end and has one last try."""
    return replace(state, next_send_ns=now_ns, backfill_at_ns=now_ns, backfill_rate=BACKFILL_RATE_MAX)


def next_action(state: UploadState, newest: QueueEnd | None, oldest: QueueEnd | None, now_ns: int) -> Send | Idle:
    """What to do at ``now_ns``, given the two ends of what waits; both None when nothing does."""
    if newest is None or oldest is None:
        return Idle(until_ns=None)
    is_live = newest.epoch == state.epoch and newest.seq > state.live_seq
    due_ns = state.next_send_ns if is_live else max(state.next_send_ns, state.backfill_at_ns)
    if now_ns < due_ns:
        return Idle(until_ns=due_ns)
    is_trial = state.primary_retry_at_ns is not None and now_ns >= state.primary_retry_at_ns
    return Send(
        queue_end=newest if is_live else oldest, collector=0 if is_trial else state.active_collector, is_live=is_live
    )


def apply_response(
    state: UploadState, send: Send, response: BatchResponse, now_ns: int, jitter: float
) -> tuple[UploadState, UploadAction]:
    """The state after an answer at ``now_ns`` to what was sent, and what has to be done to the batch."""
    action = _decide_action(state, send, response, now_ns)
    if isinstance(action, Retry):
        return _apply_failure(state, send, response, now_ns, jitter), action
    state = _apply_contact(state, send, now_ns, jitter)
    if isinstance(action, Acknowledge):
        state = _apply_ack(state, send.queue_end, action, now_ns)
    elif isinstance(action, BeginEpoch):
        state = replace(state, next_send_ns=now_ns + _compute_operator_retry_ns(jitter))
    return state, action


def _decide_action(state: UploadState, sent: Send, answer: BatchResponse, now_ns: int) -> UploadAction:
    """The table's middle column."""
    match answer.kind:
        case ResponseKind.STORED:
            assert answer.ack is not None
            return Acknowledge(rewind=_is_rewind_needed(state, sent.queue_end, answer.ack, now_ns), ack=answer.ack)
        case ResponseKind.REFUSED:
            return MoveToDeadLetters(reason=answer.reason)
        case ResponseKind.CONFLICT if sent.queue_end.epoch == state.epoch:
            return BeginEpoch(reason=answer.reason)
        case ResponseKind.CONFLICT:
            return Reissue(reason=answer.reason)
        case ResponseKind.TOO_LARGE if sent.queue_end.windows > 1:
            return Split(reason=answer.reason)
        case ResponseKind.TOO_LARGE if answer.is_problem:
            return MoveToDeadLetters(reason=answer.reason)
    return Retry(reason=answer.reason, needs_operator=answer.kind is not ResponseKind.UNAVAILABLE)


def _is_rewind_needed(state: UploadState, head: QueueEnd, ack: wire.Ack, now_ns: int) -> bool:
    if not (_is_missing_in_store(head, ack) or _has_too_few_batches(state, head, ack)):
        return False
    return state.rewound_at_ns is None or now_ns - state.rewound_at_ns >= REWIND_INTERVAL_NS_MIN


def _is_missing_in_store(head: QueueEnd, ack: wire.Ack) -> bool:
    """True when the store did not have the batch it was asked about, or has too few of its epoch."""
    if head.expected_batches is None:
        return False
    return not ack.duplicate or (ack.batches is not None and ack.batches < head.expected_batches)


def _has_too_few_batches(state: UploadState, head: QueueEnd, ack: wire.Ack) -> bool:
    """True when the store has fewer batches of the current epoch than it must."""
    return head.epoch == state.epoch and ack.batches is not None and ack.batches < _count_expected_batches(state, ack)


def _count_expected_batches(state: UploadState, ack: wire.Ack) -> int:
    """How many batches of the current epoch a store that lost none has after ``ack`` for one of them."""
    return state.expected_batches if ack.duplicate else state.expected_batches + 1


def _apply_ack(state: UploadState, head: QueueEnd, action: Acknowledge, now_ns: int) -> UploadState:
    state = replace(state, backfill_rate=_raise_backfill_rate(state.backfill_rate))
    if head.epoch != state.epoch:
        # A rewind: how much of the current epoch is left is told by its next batch.
        return replace(state, expected_batches=0, rewound_at_ns=now_ns) if action.rewind else state
    expected = _count_expected_batches(state, action.ack)
    counted = expected if action.ack.batches is None else action.ack.batches
    if action.rewind:
        return replace(state, expected_batches=counted, rewound_at_ns=now_ns)
    # Too few within the hour: what is expected stays, so that the rewind comes when the hour is over.
    return replace(state, expected_batches=max(counted, expected))


def _raise_backfill_rate(pace: float) -> float:
    return min(BACKFILL_RATE_MAX, pace + BACKFILL_RATE_STEP)


def _apply_contact(state: UploadState, sent: Send, now_ns: int, share: float) -> UploadState:
    """A collector has decided about the batch, so it is there, and in use from now on."""
    return replace(
        state,
        active_collector=sent.collector,
        primary_retry_at_ns=None if sent.collector == 0 else state.primary_retry_at_ns,
        failures=0,
        collector_failures=0,
        next_send_ns=now_ns,
        backfill_at_ns=state.backfill_at_ns
        if sent.is_live
        else _compute_backfill_at_ns(state.backfill_rate, now_ns, share),
        live_seq=max(state.live_seq, sent.queue_end.seq) if sent.queue_end.epoch == state.epoch else state.live_seq,
    )


def _compute_backfill_at_ns(pace: float, now_ns: int, share: float) -> int:
    """On average one interval of the pace later, so that agents that keep the same pace drift apart."""
    return now_ns + int((0.5 + share) / pace * NS_PER_S)


def _apply_failure(state: UploadState, sent: Send, answer: BatchResponse, now_ns: int, share: float) -> UploadState:
    if answer.status in _OVERLOAD_STATUSES:
        state = replace(state, backfill_rate=max(BACKFILL_RATE_MIN, state.backfill_rate / 2))
    if sent.collector != state.active_collector:
        # The first is still away: the one in use has done nothing wrong, so there is no wait.
        return replace(state, primary_retry_at_ns=_compute_primary_retry_at_ns(now_ns, share))
    failures = state.failures + 1
    state = replace(state, failures=failures, collector_failures=state.collector_failures + 1)
    if state.collector_failures >= FAILURES_PER_COLLECTOR and state.collector_count > 1:
        state = _switch_collector(state, now_ns, share)
    return replace(state, next_send_ns=now_ns + _compute_retry_delay_ns(failures, answer, share))


def _switch_collector(state: UploadState, now_ns: int, share: float) -> UploadState:
    active = (state.active_collector + 1) % state.collector_count
    return replace(
        state,
        active_collector=active,
        collector_failures=0,
        primary_retry_at_ns=None
        if active == 0
        else state.primary_retry_at_ns or _compute_primary_retry_at_ns(now_ns, share),
    )


def _compute_primary_retry_at_ns(now_ns: int, share: float) -> int:
    return now_ns + int((0.5 + share / 2) * PRIMARY_RETRY_NS)


def _compute_retry_delay_ns(failures: int, answer: BatchResponse, share: float) -> int:
    """The table's right column."""
    if answer.kind in (ResponseKind.UNAVAILABLE, ResponseKind.NOT_A_COLLECTOR):
        return int(compute_backoff_s(failures, share, answer.retry_after_s) * NS_PER_S)
    return _compute_operator_retry_ns(share)


def _compute_operator_retry_ns(share: float) -> int:
    return int((0.5 + share / 2) * OPERATOR_RETRY_NS)
