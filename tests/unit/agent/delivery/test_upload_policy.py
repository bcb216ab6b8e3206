"""The upload state machine: each row of its table, and invariants over random sequences of responses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.clock import make_rng
from leadline.wire import codec
from leadline.wire.batch import Ack, compute_digest
from leadline_agent.delivery import upload_policy
from leadline_agent.delivery.responses import BatchResponse, ResponseKind, build_unavailable_response, parse_response
from leadline_agent.delivery.upload_policy import (
    Acknowledge,
    BeginEpoch,
    Idle,
    MoveToDeadLetters,
    QueueEnd,
    Reissue,
    Retry,
    Send,
    Split,
    UploadAction,
    UploadState,
    apply_response,
    initial_state,
    next_action,
    with_new_epoch,
)

DIGEST = compute_digest(b"a packed batch")
NOW_NS = 5_000_000_000_000
SECOND_NS = 1_000_000_000
EPOCH, EARLIER = "e" * 32, "0" * 32
READY = UploadState(collector_count=1, epoch=EPOCH, next_send_ns=0)


def ack(batches: int | None = None, duplicate: bool = False) -> BatchResponse:
    document = Ack(digest=DIGEST, batches=batches, duplicate=duplicate)
    return parse_response(200, "", codec.encode(document), DIGEST)


def http_response(code: int, retry_after: str = "", is_problem: bool = True) -> BatchResponse:
    body = msgspec.json.encode({"status": code, "title": "No"}) if is_problem else b"<html>"
    return parse_response(code, retry_after, body, DIGEST)


def queue_end(seq: int = 1, windows: int = 5, epoch: str = EPOCH, expected_batches: int | None = None) -> QueueEnd:
    return QueueEnd(epoch=epoch, seq=seq, windows=windows, expected_batches=expected_batches)


def send(seq: int = 1, windows: int = 5, collector: int = 0, is_live: bool = True, epoch: str = EPOCH) -> Send:
    return Send(queue_end=queue_end(seq, windows, epoch), collector=collector, is_live=is_live)


def apply(
    response: BatchResponse, state: UploadState = READY, jitter: float = 0.5, windows: int = 5, collector: int = 0
) -> tuple[UploadState, UploadAction]:
    return apply_response(state, send(1, windows, collector), response, NOW_NS, jitter)


def test_acknowledgement_resets_failures() -> None:
    """After 200 with the digest, the failure count is 0 and the next batch may be sent at once."""
    state, action = apply(ack(), replace(READY, failures=9, next_send_ns=NOW_NS))

    assert isinstance(action, Acknowledge)
    assert not action.rewind
    assert (state.failures, state.next_send_ns, state.expected_batches) == (0, NOW_NS, 1)


@pytest.mark.parametrize("code", [400, 422])
def test_refused_batch_becomes_a_dead_letter(code: int) -> None:
    """A refused batch does not block the others."""
    state, action = apply(http_response(code))

    assert isinstance(action, MoveToDeadLetters)
    assert state.next_send_ns == NOW_NS


@pytest.mark.parametrize("code", [401, 403, 404, 415, 426])
def test_errors_for_an_operator_are_retried_slowly(code: int) -> None:
    """The batch stays, the error is logged, and the next attempt is 2.5 to 5 minutes later."""
    for jitter in (0.0, 0.999):
        state, action = apply(http_response(code), jitter=jitter)

        assert isinstance(action, Retry)
        assert action.needs_operator
        assert 150 <= (state.next_send_ns - NOW_NS) / SECOND_NS <= 300


@pytest.mark.parametrize(
    "response", [http_response(200, is_problem=False), http_response(302), http_response(400, is_problem=False)]
)
def test_response_of_a_non_collector_is_a_network_failure(response: BatchResponse) -> None:
    """The back-off is that of a network failure, but an operator is notified."""
    state, action = apply(response)

    assert action == Retry(reason=response.reason, needs_operator=True)
    assert 0 < state.next_send_ns - NOW_NS <= SECOND_NS


@pytest.mark.parametrize(
    "response", [build_unavailable_response("reset"), *map(http_response, (408, 429, 500, 502, 503))]
)
def test_unavailable_collector_is_retried_with_backoff(response: BatchResponse) -> None:
    """The back-off has full jitter below a ceiling that doubles with each consecutive failure."""
    state, action = apply(response, replace(READY, failures=4), jitter=0.999)

    assert action == Retry(reason=response.reason, needs_operator=False)
    assert 15 < (state.next_send_ns - NOW_NS) / SECOND_NS < 16
    assert state.failures == 5


def test_retry_after_is_honoured_and_bounded() -> None:
    """The delay is at least Retry-After, which is limited to five minutes."""
    short, _ = apply(http_response(503, "40"), jitter=0.0)
    long, _ = apply(http_response(503, "999999999"), jitter=0.0)

    assert short.next_send_ns - NOW_NS == 40 * SECOND_NS
    assert long.next_send_ns - NOW_NS == 300 * SECOND_NS


def test_a_cloned_identity_gets_a_new_epoch() -> None:
    """The state of the old epoch is dropped. A pause limits the number of epochs that a faulty collector can cause."""
    state, action = apply(http_response(409), replace(READY, live_seq=77, expected_batches=70))

    assert isinstance(action, BeginEpoch)
    assert state.next_send_ns - NOW_NS >= 150 * SECOND_NS
    new = with_new_epoch(state, "f" * 32)
    assert (new.epoch, new.live_seq, new.expected_batches) == ("f" * 32, -1, 0)


def test_conflict_in_an_earlier_epoch_reissues_the_batch() -> None:
    """Batches from before the detection of the clone are reissued one by one, without a pause."""
    state, action = apply_response(READY, send(7, epoch=EARLIER), http_response(409), NOW_NS, 0.5)

    assert isinstance(action, Reissue)
    assert state.next_send_ns == NOW_NS


def test_too_large_batch_is_split() -> None:
    """A proxy has size limits too, so its 413 also splits the batch."""
    assert isinstance(apply(http_response(413), windows=2)[1], Split)
    assert isinstance(apply(http_response(413, is_problem=False), windows=2)[1], Split)


def test_one_window_cannot_be_split() -> None:
    """A 413 of a collector makes a dead letter; a 413 of a proxy keeps the batch."""
    assert isinstance(apply(http_response(413), windows=1)[1], MoveToDeadLetters)
    assert isinstance(apply(http_response(413, is_problem=False), windows=1)[1], Retry)


def test_the_first_contact_is_spread() -> None:
    """Agents that start at the same time connect at different times."""
    first_ns = [initial_state(1, EPOCH, NOW_NS, jitter / 100).next_send_ns - NOW_NS for jitter in range(100)]

    assert (min(first_ns), max(first_ns)) == (0, int(0.99 * upload_policy.START_SPREAD_NS))
    state = initial_state(1, EPOCH, NOW_NS, 0.5)
    assert next_action(state, queue_end(), queue_end(), NOW_NS) == Idle(until_ns=NOW_NS + 5 * SECOND_NS)


def test_newest_batch_is_sent_at_once_and_backlog_at_its_rate() -> None:
    """The backlog waits for its rate; a batch newer than the last live one does not."""
    state = replace(READY, live_seq=10, backfill_at_ns=NOW_NS + 7)

    assert next_action(state, queue_end(9), queue_end(2), NOW_NS) == Idle(until_ns=NOW_NS + 7)
    assert next_action(state, queue_end(9), queue_end(2), NOW_NS + 7) == send(2, is_live=False)
    assert next_action(state, queue_end(11), queue_end(2), NOW_NS) == send(11)


def test_batches_of_an_earlier_epoch_are_backlog() -> None:
    """Numbers of an earlier epoch do not count as live."""
    state = replace(READY, backfill_at_ns=NOW_NS + 7)

    assert next_action(state, queue_end(99, epoch=EARLIER), queue_end(9, epoch=EARLIER), NOW_NS) == Idle(
        until_ns=NOW_NS + 7
    )
    next_state, _ = apply_response(state, send(99, epoch=EARLIER, is_live=False), ack(), NOW_NS, 0.5)
    assert next_action(next_state, queue_end(0), queue_end(9, epoch=EARLIER), NOW_NS) == send(0)


def test_both_queues_wait_for_backoff() -> None:
    """An unavailable collector receives no live batches either."""
    state = replace(READY, next_send_ns=NOW_NS + 9)

    assert next_action(state, queue_end(), queue_end(), NOW_NS) == Idle(until_ns=NOW_NS + 9)


def test_empty_queue_is_idle() -> None:
    """Appending a batch wakes the uploader, so there is no time limit."""
    assert next_action(READY, None, None, NOW_NS) == Idle(until_ns=None)


@pytest.mark.parametrize("code", [429, 503])
def test_overload_halves_the_backfill_rate(code: int) -> None:
    """The rate does not fall below one batch a minute, and stored batches raise it up to the maximum."""
    state = replace(READY, backfill_rate=8.0)
    assert apply(http_response(code), state)[0].backfill_rate == 4.0
    assert apply(ack(), state)[0].backfill_rate == 8.25

    assert (
        apply(http_response(code), replace(state, backfill_rate=upload_policy.BACKFILL_RATE_MIN))[0].backfill_rate
        == upload_policy.BACKFILL_RATE_MIN
    )
    assert (
        apply(ack(), replace(state, backfill_rate=upload_policy.BACKFILL_RATE_MAX))[0].backfill_rate
        == upload_policy.BACKFILL_RATE_MAX
    )


def test_third_failure_switches_the_collector() -> None:
    """The next collector is used, with the same back-off; the first one follows the last."""
    state = replace(READY, collector_count=2)
    for _ in range(upload_policy.FAILURES_PER_COLLECTOR):
        assert state.active_collector == 0
        state, _ = apply(build_unavailable_response("refused"), state)

    assert (state.active_collector, state.failures, state.collector_failures) == (1, 3, 0)
    for _ in range(upload_policy.FAILURES_PER_COLLECTOR):
        state, _ = apply(build_unavailable_response("refused"), state, collector=1)
    assert (state.active_collector, state.failures, state.primary_retry_at_ns) == (0, 6, None)


def test_first_collector_is_used_again_once_it_responds() -> None:
    """It is tried every few minutes; while it is unavailable, uploads to the active one continue without delay."""
    state = replace(READY, collector_count=2, active_collector=1, primary_retry_at_ns=NOW_NS)
    trial = next_action(state, queue_end(1, 1), queue_end(1, 1), NOW_NS)
    assert trial == send(1, 1, collector=0)

    failed, _ = apply_response(state, send(1, 1, collector=0), build_unavailable_response("refused"), NOW_NS, 0.0)
    assert (failed.active_collector, failed.failures, failed.next_send_ns) == (1, 0, 0)
    assert next_action(failed, queue_end(1, 1), queue_end(1, 1), NOW_NS) == send(1, 1, collector=1)
    assert failed.primary_retry_at_ns == NOW_NS + upload_policy.PRIMARY_RETRY_NS // 2

    restored, _ = apply_response(state, send(1, 1, collector=0), ack(), NOW_NS, 0.0)
    assert (restored.active_collector, restored.primary_retry_at_ns) == (0, None)


def test_store_that_lost_batches_causes_a_rewind() -> None:
    """A store restored from a backup has 61 batches, but 101 are expected."""
    state, action = apply(ack(batches=61), replace(READY, expected_batches=100))

    assert isinstance(action, Acknowledge)
    assert action.rewind
    assert state.expected_batches == 61


def test_store_that_lost_one_batch_causes_a_rewind() -> None:
    """One lost and one new batch leave the count one below the expected number."""
    _, action = apply(ack(batches=100), replace(READY, expected_batches=100))

    assert isinstance(action, Acknowledge)
    assert action.rewind


@pytest.mark.parametrize(
    "response", [ack(batches=101), ack(batches=500), ack(batches=100, duplicate=True), ack(batches=None)]
)
def test_intact_store_causes_no_rewind(response: BatchResponse) -> None:
    """A higher count follows a lost acknowledgement; None means that the collector does not count."""
    _, action = apply(response, replace(READY, expected_batches=100))

    assert isinstance(action, Acknowledge)
    assert not action.rewind


def test_other_epochs_are_not_counted() -> None:
    """The count of an earlier epoch does not affect the current one."""
    state, action = apply_response(
        replace(READY, expected_batches=100), send(3, epoch=EARLIER), ack(batches=1), NOW_NS, 0.5
    )

    assert isinstance(action, Acknowledge)
    assert (action.rewind, state.expected_batches) == (False, 100)


@pytest.mark.parametrize(
    ("response", "is_lost"),
    [
        (ack(duplicate=True), False),
        (ack(duplicate=True, batches=10), False),
        (ack(duplicate=True, batches=9), True),
        (ack(duplicate=False, batches=10), True),
    ],
)
def test_store_restored_during_downtime_is_detected(response: BatchResponse, is_lost: bool) -> None:
    """A re-verified batch must be a duplicate, and its epoch must have at least the expected number of batches."""
    check = Send(queue_end=queue_end(9, epoch=EARLIER, expected_batches=10), collector=0, is_live=False)
    _, action = apply_response(READY, check, response, NOW_NS, 0.5)

    assert isinstance(action, Acknowledge)
    assert action.rewind is is_lost


def test_wrong_count_causes_one_rewind_an_hour() -> None:
    """A collector that always returns 0 causes one rewind; the next one follows after an hour."""
    state, first = apply(ack(batches=0), replace(READY, expected_batches=100))
    state, second = apply(ack(batches=0), state)
    _, later = apply_response(state, send(), ack(batches=0), NOW_NS + upload_policy.REWIND_INTERVAL_NS_MIN, 0.5)

    rewinds = [action.rewind for action in (first, second, later) if isinstance(action, Acknowledge)]
    assert rewinds == [True, False, True]


CODES = (200, 201, 302, 400, 401, 403, 404, 408, 409, 413, 415, 422, 426, 429, 500, 503)
responses = st.one_of(
    st.builds(ack, batches=st.none() | st.integers(0, 50), duplicate=st.booleans()),
    st.builds(http_response, st.sampled_from(CODES), st.sampled_from(["", "5", "86400"]), st.booleans()),
    st.builds(build_unavailable_response, st.just("timeout")),
)
jitters = st.floats(0, 1, exclude_max=True)


class SimulatedAgent:
    """Executes the decisions of the policy on a spool of numbers, with a clock that jumps to the next due time."""

    def __init__(self, collectors: int, batches: int) -> None:
        self.now_ns = NOW_NS
        self.epoch = self.next_seq = 0
        self.pending: dict[tuple[int, int], int] = {(0, seq): 4 for seq in range(batches // 2)}
        self.begin_epoch()
        self.state = initial_state(collectors, str(self.epoch), self.now_ns, 0.5)
        for _ in range(batches - batches // 2):
            self.add(4)
        self.acked: dict[tuple[int, int], int] = {}
        self.dead: list[int] = []
        self.actions: list[tuple[BatchResponse, UploadAction]] = []
        self.waits_ns: list[int] = []

    def begin_epoch(self) -> None:
        self.epoch, self.next_seq = self.epoch + 1, 0

    def add(self, windows: int) -> None:
        self.pending[self.epoch, self.next_seq] = windows
        self.next_seq += 1

    def queue_end(self, key: tuple[int, int]) -> QueueEnd:
        return queue_end(key[1], self.pending[key], str(key[0]))

    def step(self) -> Send | Idle:
        return next_action(
            self.state, self.queue_end(max(self.pending)), self.queue_end(min(self.pending)), self.now_ns
        )

    def upload_next(self, respond: Callable[[Send], BatchResponse], jitter: float) -> None:
        """Wait until a batch is due, send it and execute the action."""
        start_ns = self.now_ns
        while isinstance(step := self.step(), Idle):
            assert step.until_ns is not None
            assert step.until_ns > self.now_ns
            self.now_ns = step.until_ns
        self.waits_ns.append(self.now_ns - start_ns)
        result = respond(step)
        self.state, action = apply_response(self.state, step, result, self.now_ns, jitter)
        self.actions.append((result, action))
        self._do((int(step.queue_end.epoch), step.queue_end.seq), action)

    def _do(self, key: tuple[int, int], action: UploadAction) -> None:
        if isinstance(action, Retry):
            return
        windows = self.pending.pop(key)
        match action:
            case Acknowledge():
                self.acked[key] = windows
                if action.rewind:
                    self.pending |= self.acked
            case MoveToDeadLetters():
                self.dead.append(windows)
            case Split():
                self.add(windows // 2)
                self.add(windows - windows // 2)
            case BeginEpoch():
                self.begin_epoch()
                self.state = with_new_epoch(self.state, str(self.epoch))
                self.add(windows)
            case Reissue():
                self.add(windows)


@given(st.integers(1, 3), st.lists(st.tuples(responses, jitters), max_size=80))
def test_no_response_loses_a_batch_or_stalls_uploads(
    collectors: int, script: list[tuple[BatchResponse, float]]
) -> None:
    """Only a valid 200 acknowledges, only a refusal makes a dead letter, other batches stay, and waits are bounded."""
    agent = SimulatedAgent(collectors, batches=100)
    for response, jitter in script:
        windows = sum(agent.pending.values())
        agent.upload_next(lambda _, response=response: response, jitter)  # type: ignore[misc]
        if isinstance(agent.actions[-1][1], Retry | Split | BeginEpoch | Reissue):
            assert sum(agent.pending.values()) == windows

    for response, action in agent.actions:
        assert isinstance(action, Acknowledge) == (response.kind is ResponseKind.STORED)
        assert not isinstance(action, MoveToDeadLetters) or response.kind in (
            ResponseKind.REFUSED,
            ResponseKind.TOO_LARGE,
        )
        assert not isinstance(action, BeginEpoch | Reissue) or response.kind is ResponseKind.CONFLICT
    assert max(agent.waits_ns, default=0) <= 2 * upload_policy.OPERATOR_RETRY_NS + int(
        1.5 / upload_policy.BACKFILL_RATE_MIN * SECOND_NS
    )


@given(st.integers(1, 3), st.lists(st.tuples(responses, jitters), max_size=40), st.integers(0, 2))
def test_backlog_drains_with_one_working_collector(
    collectors: int, script: list[tuple[BatchResponse, float]], working: int
) -> None:
    """After any history, the backlog drains while one collector responds and the others do not (no livelock)."""
    agent = SimulatedAgent(collectors, batches=60)
    for response, jitter in script:
        agent.upload_next(lambda _, response=response: response, jitter)  # type: ignore[misc]
    rng = make_rng(1)

    def reply(send: Send) -> BatchResponse:
        if send.collector != working % collectors:
            return build_unavailable_response("refused")
        return ack(batches=None)

    for _ in range(1_000):
        if not agent.pending:
            break
        agent.upload_next(reply, rng.random())

    assert not agent.pending


@given(jitters)
def test_failures_are_never_retried_at_once(jitter: float) -> None:
    """Every response that keeps the batch delays the next upload."""
    for response in (*map(http_response, CODES[1:]), build_unavailable_response("reset")):
        state, action = apply(response, replace(READY, failures=20), jitter=jitter)

        if isinstance(action, Retry | BeginEpoch):
            assert state.next_send_ns - NOW_NS >= int(jitter * 100 * SECOND_NS)
