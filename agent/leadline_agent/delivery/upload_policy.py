"""Upload state machine, as pure functions: which batch is sent when and to which collector, and what happens to it.

``next_action`` returns the next step. The caller executes it and passes the response to ``apply_response``, which
returns the new state and the action for the batch. Time (monotonic nanoseconds) and jitter (in [0, 1)) are parameters.
"Error" marks an action that needs an operator and is logged as an error.

=====================  ========================================  =====================================================
response               action for the batch                      effect on uploads
=====================  ========================================  =====================================================
200, digest matches    ``Acknowledge``; with ``rewind`` if the   failure count reset; backfill slightly faster
                       collector lost stored batches
200 without it, 3xx,   ``Retry``, error                          full-jitter back-off; redirects are not followed
4xx of a non-collector
400, 422               ``MoveToDeadLetters``, error              continue
401, 403, 404,         ``Retry``, error                          retry every 2.5 to 5 minutes
other 4xx
409, current epoch     ``BeginEpoch``, error: this identity was  pause for 2.5 to 5 minutes, then continue in the new
                       cloned                                    epoch; the pause limits the number of epochs
409, earlier epoch     ``Reissue``: the clone used the id too    continue
413                    ``Split``; with a single window:          continue; after ``Retry`` every 2.5 to 5 minutes
                       ``MoveToDeadLetters``, or ``Retry`` if
                       a proxy sent the response, error
415, 426               ``Retry``, error: versions differ         retry every 2.5 to 5 minutes
408, 429, 5xx,         ``Retry``                                 full-jitter back-off up to 5 minutes + Retry-After (at
timeout, reset                                                   most 5 minutes); 429, 503: backfill at half the rate
=====================  ========================================  =====================================================

Rule 1: only STORED acknowledges a batch. Only REFUSED, or a single window that is too large, makes a dead letter. All
other responses lead to a retry or to a new batch with the same windows.
Rule 2: newest first. A batch of the current epoch that is newer than all finished ones is live and waits only for the
back-off. Other batches are backfill, oldest first. They also wait for the backfill rate, which the collector lowers
under overload and every stored batch raises.
Rule 3: collectors are ordered. After ``FAILURES_PER_COLLECTOR`` consecutive retries the next one is used. The first one
is tried again every few minutes with one batch, which stays in the spool if the attempt fails.
Rule 4: back-off counts failures across all collectors. The first upload is delayed too, so that starts are spread.
Rule 5: each new batch must raise the collector's count of this epoch by one. For each earlier epoch the collector must
have the re-verified batch and the number of acknowledged batches (``QueueEnd.expected_batches``). Otherwise it was
restored from a backup: rewind, at most once in ``REWIND_INTERVAL_NS_MIN``, to limit the cost of a wrong count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from leadline.wire.batch import Ack
from leadline_agent.delivery.backoff import CAP_S, compute_backoff_s
from leadline_agent.delivery.responses import BatchResponse, ResponseKind

NS_PER_S = 1_000_000_000
#: 500 agents that start at the same time (power restored) connect within ten seconds, 50 per second.
START_SPREAD_NS = 10 * NS_PER_S
#: Retry interval for errors that an operator has to fix.
OPERATOR_RETRY_NS = int(CAP_S * NS_PER_S)
#: A restart of the collector causes up to two failures; the third one, 3.5 s later on average, indicates an outage.
FAILURES_PER_COLLECTOR = 3
#: Retry interval of the first collector while another one is active.
PRIMARY_RETRY_NS = 300 * NS_PER_S
#: Backfill rates in batches per second: the backlog of a day (1,440 batches) takes at least two minutes.
BACKFILL_RATE_MAX = 20.0
BACKFILL_RATE_INITIAL = 1.0
#: Equal to the production rate, so that the backlog does not grow while the collector is slow.
BACKFILL_RATE_MIN = 1 / 60
#: Reaches BACKFILL_RATE_MAX after about 80 stored batches.
BACKFILL_RATE_STEP = 0.25
#: Uploading 48 h again takes minutes. More than one rewind an hour means that the collector counts wrongly.
REWIND_INTERVAL_NS_MIN = 3_600 * NS_PER_S
#: Statuses of an overloaded collector.
_OVERLOAD_STATUSES = frozenset({429, 503})


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadState:
    """State of the uploads; ``initial_state`` creates it."""

    collector_count: int
    #: Earliest time of the next upload.
    next_send_ns: int
    #: Index of the active collector; 0 is the preferred one.
    active_collector: int = 0
    #: Consecutive failures across all collectors, for the back-off.
    failures: int = 0
    #: Consecutive failures of the active collector.
    collector_failures: int = 0
    #: Next attempt with collector 0; None while it is active.
    primary_retry_at_ns: int | None = None
    #: Batches per second, and the earliest time of the next backfill batch.
    backfill_rate: float = BACKFILL_RATE_INITIAL
    backfill_at_ns: int = 0
    #: Epoch of new batches.
    epoch: str
    #: Highest finished number of this epoch; newer batches are live. -1: none yet.
    live_seq: int = -1
    #: Batches of this epoch that the collector must have.
    expected_batches: int = 0
    rewound_at_ns: int | None = None

    def __post_init__(self) -> None:
        assert 0 <= self.active_collector < self.collector_count
        assert (self.active_collector == 0) == (self.primary_retry_at_ns is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueEnd:
    """The newest or the oldest unacknowledged batch, or a batch to re-verify."""

    epoch: str
    seq: int
    windows: int
    #: For a batch to re-verify (an acknowledged one of an earlier epoch): how many batches of its epoch the collector
    #: must have. The database may have been restored while the agent was down. None for other batches.
    expected_batches: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send this batch to this collector now. ``collector`` is its index."""

    queue_end: QueueEnd
    collector: int
    is_live: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """Nothing to send before ``until_ns`` (monotonic); None: before there is a batch."""

    until_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledge:
    """The batch is stored. With ``rewind``, send all acknowledged batches of every epoch again: the store lost some."""

    rewind: bool
    ack: Ack


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The batch stays in the spool. ``needs_operator``: a person has to fix the cause."""

    reason: str
    needs_operator: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveToDeadLetters:
    """Move the batch to the dead letters and report a gap (``GapReason.REFUSED``)."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Replace the batch with two batches of half the windows under new numbers."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginEpoch:
    """Another agent uses this identity: draw a new epoch, apply ``with_new_epoch``, then proceed as for ``Reissue``."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reissue:
    """Replace the batch with one that has the same windows and the next number of the current epoch."""

    reason: str


UploadAction: TypeAlias = Acknowledge | Retry | MoveToDeadLetters | Split | BeginEpoch | Reissue


def initial_state(collector_count: int, epoch: str, now_ns: int, jitter: float) -> UploadState:
    """Return the state after a start in ``epoch``."""
    return UploadState(
        collector_count=collector_count, epoch=epoch, next_send_ns=now_ns + int(jitter * START_SPREAD_NS)
    )


def with_new_epoch(state: UploadState, epoch: str) -> UploadState:
    """Return the state for a new epoch."""
    return replace(state, epoch=epoch, live_seq=-1, expected_batches=0)


def without_delays(state: UploadState, now_ns: int) -> UploadState:
    """Return the state without delays, for the last attempt during shutdown."""
    return replace(state, next_send_ns=now_ns, backfill_at_ns=now_ns, backfill_rate=BACKFILL_RATE_MAX)


def next_action(state: UploadState, newest: QueueEnd | None, oldest: QueueEnd | None, now_ns: int) -> Send | Idle:
    """Return the next step, given the newest and the oldest unacknowledged batch (both None without one)."""
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
    """Return the state after a response at ``now_ns``, and the action for the batch."""
    action = _decide_action(state, send, response, now_ns)
    if isinstance(action, Retry):
        return _apply_failure(state, send, response, now_ns, jitter), action
    state = _apply_contact(state, send, now_ns, jitter)
    if isinstance(action, Acknowledge):
        state = _apply_ack(state, send.queue_end, action, now_ns)
    elif isinstance(action, BeginEpoch):
        state = replace(state, next_send_ns=now_ns + _compute_operator_retry_ns(jitter))
    return state, action


def _decide_action(state: UploadState, send: Send, response: BatchResponse, now_ns: int) -> UploadAction:
    """Return the action for the batch (second column of the table)."""
    match response.kind:
        case ResponseKind.STORED:
            assert response.ack is not None
            return Acknowledge(rewind=_is_rewind_needed(state, send.queue_end, response.ack, now_ns), ack=response.ack)
        case ResponseKind.REFUSED:
            return MoveToDeadLetters(reason=response.reason)
        case ResponseKind.CONFLICT if send.queue_end.epoch == state.epoch:
            return BeginEpoch(reason=response.reason)
        case ResponseKind.CONFLICT:
            return Reissue(reason=response.reason)
        case ResponseKind.TOO_LARGE if send.queue_end.windows > 1:
            return Split(reason=response.reason)
        case ResponseKind.TOO_LARGE if response.is_problem:
            return MoveToDeadLetters(reason=response.reason)
    return Retry(reason=response.reason, needs_operator=response.kind is not ResponseKind.UNAVAILABLE)


def _is_rewind_needed(state: UploadState, queue_end: QueueEnd, ack: Ack, now_ns: int) -> bool:
    if not (_is_missing_in_store(queue_end, ack) or _has_too_few_batches(state, queue_end, ack)):
        return False
    return state.rewound_at_ns is None or now_ns - state.rewound_at_ns >= REWIND_INTERVAL_NS_MIN


def _is_missing_in_store(queue_end: QueueEnd, ack: Ack) -> bool:
    """Return whether the store lost the re-verified batch or has too few batches of its epoch."""
    if queue_end.expected_batches is None:
        return False
    return not ack.duplicate or (ack.batches is not None and ack.batches < queue_end.expected_batches)


def _has_too_few_batches(state: UploadState, queue_end: QueueEnd, ack: Ack) -> bool:
    """Return whether the store has fewer batches of the current epoch than expected."""
    is_current = queue_end.epoch == state.epoch
    return is_current and ack.batches is not None and ack.batches < _count_expected_batches(state, ack)


def _count_expected_batches(state: UploadState, ack: Ack) -> int:
    """Return how many batches of the current epoch an intact store has after ``ack``."""
    return state.expected_batches if ack.duplicate else state.expected_batches + 1


def _apply_ack(state: UploadState, queue_end: QueueEnd, action: Acknowledge, now_ns: int) -> UploadState:
    backfill_rate = min(BACKFILL_RATE_MAX, state.backfill_rate + BACKFILL_RATE_STEP)
    state = replace(state, backfill_rate=backfill_rate)
    if queue_end.epoch != state.epoch:
        # After a rewind, the next batch of the current epoch shows how many of them the store still has.
        return replace(state, expected_batches=0, rewound_at_ns=now_ns) if action.rewind else state
    expected = _count_expected_batches(state, action.ack)
    counted = expected if action.ack.batches is None else action.ack.batches
    if action.rewind:
        return replace(state, expected_batches=counted, rewound_at_ns=now_ns)
    # Too few batches, but the last rewind is too recent: keep the expected number, so that a later batch rewinds.
    return replace(state, expected_batches=max(counted, expected))


def _apply_contact(state: UploadState, send: Send, now_ns: int, jitter: float) -> UploadState:
    """Return the state after a conclusive response: its collector becomes active, and failures are reset."""
    return replace(
        state,
        active_collector=send.collector,
        primary_retry_at_ns=None if send.collector == 0 else state.primary_retry_at_ns,
        failures=0,
        collector_failures=0,
        next_send_ns=now_ns,
        backfill_at_ns=state.backfill_at_ns
        if send.is_live
        else _compute_backfill_at_ns(state.backfill_rate, now_ns, jitter),
        live_seq=max(state.live_seq, send.queue_end.seq) if send.queue_end.epoch == state.epoch else state.live_seq,
    )


def _compute_backfill_at_ns(rate: float, now_ns: int, jitter: float) -> int:
    """Return the time of the next backfill batch: one interval later on average, so that agents desynchronise."""
    return now_ns + int((0.5 + jitter) / rate * NS_PER_S)


def _apply_failure(state: UploadState, send: Send, response: BatchResponse, now_ns: int, jitter: float) -> UploadState:
    if response.status in _OVERLOAD_STATUSES:
        state = replace(state, backfill_rate=max(BACKFILL_RATE_MIN, state.backfill_rate / 2))
    if send.collector != state.active_collector:
        # Only the attempt with the first collector failed: the active one needs no back-off.
        return replace(state, primary_retry_at_ns=_compute_primary_retry_at_ns(now_ns, jitter))
    failures = state.failures + 1
    state = replace(state, failures=failures, collector_failures=state.collector_failures + 1)
    if state.collector_failures >= FAILURES_PER_COLLECTOR and state.collector_count > 1:
        state = _switch_collector(state, now_ns, jitter)
    return replace(state, next_send_ns=now_ns + _compute_retry_delay_ns(failures, response, jitter))


def _switch_collector(state: UploadState, now_ns: int, jitter: float) -> UploadState:
    active = (state.active_collector + 1) % state.collector_count
    return replace(
        state,
        active_collector=active,
        collector_failures=0,
        primary_retry_at_ns=None
        if active == 0
        else state.primary_retry_at_ns or _compute_primary_retry_at_ns(now_ns, jitter),
    )


def _compute_primary_retry_at_ns(now_ns: int, jitter: float) -> int:
    return now_ns + int((0.5 + jitter / 2) * PRIMARY_RETRY_NS)


def _compute_retry_delay_ns(failures: int, response: BatchResponse, jitter: float) -> int:
    """Return the delay before the next upload (third column of the table)."""
    if response.kind in (ResponseKind.UNAVAILABLE, ResponseKind.NOT_A_COLLECTOR):
        return int(compute_backoff_s(failures, jitter, response.retry_after_s) * NS_PER_S)
    return _compute_operator_retry_ns(jitter)


def _compute_operator_retry_ns(jitter: float) -> int:
    return int((0.5 + jitter / 2) * OPERATOR_RETRY_NS)
