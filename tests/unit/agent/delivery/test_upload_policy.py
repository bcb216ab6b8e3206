"""The upload state machine: its table row by row, and what holds for every sequence of answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.clock import make_rng
from leadline.wire import batch as wire
from leadline.wire import codec
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

DIGEST = wire.compute_digest(b"a packed batch")
NOW_NS = 5_000_000_000_000
SECOND_NS = 1_000_000_000
EPOCH, EARLIER = "e" * 32, "0" * 32
READY = UploadState(collector_count=1, epoch=EPOCH, next_send_ns=0)


def ack(batches: int | None = None, duplicate: bool = False) -> BatchResponse:
    document = wire.Ack(digest=DIGEST, batches=batches, duplicate=duplicate)
    return parse_response(200, "", codec.encode(document), DIGEST)


def status(code: int, retry_after: str = "", is_problem: bool = True) -> BatchResponse:
    body = msgspec.json.encode({"status": code, "title": "No"}) if is_problem else b"<html>"
    return parse_response(code, retry_after, body, DIGEST)


def head(seq: int = 1, windows: int = 5, epoch: str = EPOCH, stored: int | None = None) -> QueueEnd:
    return QueueEnd(epoch=epoch, seq=seq, windows=windows, expected_batches=stored)


def sent(seq: int = 1, windows: int = 5, collector: int = 0, is_live: bool = True, epoch: str = EPOCH) -> Send:
    return Send(queue_end=head(seq, windows, epoch), collector=collector, is_live=is_live)


def told(
    answer: BatchResponse, state: UploadState = READY, share: float = 0.5, windows: int = 5, collector: int = 0
) -> tuple[UploadState, UploadAction]:
    return apply_response(state, sent(1, windows, collector), answer, NOW_NS, share)


def test_an_acknowledged_batch_is_done_with() -> None:
    """200 with the digest: failures are forgotten, the next may go at once."""
    state, action = told(ack(), replace(READY, failures=9, next_send_ns=NOW_NS))

    assert isinstance(action, Acknowledge)
    assert not action.rewind
    assert (state.failures, state.next_send_ns, state.expected_batches) == (0, NOW_NS, 1)


@pytest.mark.parametrize("code", [400, 422])
def test_a_refused_batch_is_put_aside_and_the_next_goes(code: int) -> None:
    """One bad batch does not stand in the way of the others."""
    state, action = told(status(code))

    assert isinstance(action, MoveToDeadLetters)
    assert state.next_send_ns == NOW_NS


@pytest.mark.parametrize("code", [401, 403, 404, 415, 426])
def test_what_a_person_must_put_right_is_tried_slowly(code: int) -> None:
    """Everything is kept, loudly; 2.5 to 5 minutes."""
    for share in (0.0, 0.999):
        state, action = told(status(code), share=share)

        assert isinstance(action, Retry)
        assert action.needs_operator
        assert 150 <= (state.next_send_ns - NOW_NS) / SECOND_NS <= 300


@pytest.mark.parametrize("answer", [status(200, is_problem=False), status(302), status(400, is_problem=False)])
def test_a_stranger_is_a_failure_of_the_network(answer: BatchResponse) -> None:
    """Backed off like one, but a person is told."""
    state, action = told(answer)

    assert action == Retry(reason=answer.reason, needs_operator=True)
    assert 0 < state.next_send_ns - NOW_NS <= SECOND_NS


@pytest.mark.parametrize("answer", [build_unavailable_response("reset"), *map(status, (408, 429, 500, 502, 503))])
def test_a_collector_that_is_away_is_waited_for(answer: BatchResponse) -> None:
    """Full jitter below a ceiling that doubles with each failure in a row."""
    state, action = told(answer, replace(READY, failures=4), share=0.999)

    assert action == Retry(reason=answer.reason, needs_operator=False)
    assert 15 < (state.next_send_ns - NOW_NS) / SECOND_NS < 16
    assert state.failures == 5


def test_retry_after_is_honoured_and_bounded() -> None:
    """At least as long as asked, and no longer than five minutes for it."""
    patient, _ = told(status(503, "40"), share=0.0)
    mad, _ = told(status(503, "999999999"), share=0.0)

    assert patient.next_send_ns - NOW_NS == 40 * SECOND_NS
    assert mad.next_send_ns - NOW_NS == 300 * SECOND_NS


def test_a_cloned_identity_gets_a_new_epoch() -> None:
    """And what was known of the old epoch is forgotten; a pause keeps a mad collector from making epochs at will."""
    state, action = told(status(409), replace(READY, live_seq=77, expected_batches=70))

    assert isinstance(action, BeginEpoch)
    assert state.next_send_ns - NOW_NS >= 150 * SECOND_NS
    new = with_new_epoch(state, "f" * 32)
    assert (new.epoch, new.live_seq, new.expected_batches) == ("f" * 32, -1, 0)


def test_a_batch_of_an_epoch_given_up_gets_a_new_name() -> None:
    """What waits since before the clone was noticed is renamed one by one, without a pause."""
    state, action = apply_response(READY, sent(7, epoch=EARLIER), status(409), NOW_NS, 0.5)

    assert isinstance(action, Reissue)
    assert state.next_send_ns == NOW_NS


def test_a_batch_too_large_is_split() -> None:
    """By whoever says so, a proxy has limits too."""
    assert isinstance(told(status(413), windows=2)[1], Split)
    assert isinstance(told(status(413, is_problem=False), windows=2)[1], Split)


def test_one_window_cannot_be_split() -> None:
    """A collector's word puts it aside, a proxy's keeps it."""
    assert isinstance(told(status(413), windows=1)[1], MoveToDeadLetters)
    assert isinstance(told(status(413, is_problem=False), windows=1)[1], Retry)


def test_the_first_contact_is_spread() -> None:
    """Agents that start together do not come together."""
    first_ns = [initial_state(1, EPOCH, NOW_NS, share / 100).next_send_ns - NOW_NS for share in range(100)]

    assert (min(first_ns), max(first_ns)) == (0, int(0.99 * upload_policy.START_SPREAD_NS))
    state = initial_state(1, EPOCH, NOW_NS, 0.5)
    assert next_action(state, head(), head(), NOW_NS) == Idle(until_ns=NOW_NS + 5 * SECOND_NS)


def test_the_newest_goes_at_once_and_the_backlog_at_its_pace() -> None:
    """After the live batch the oldest waits for its turn, a newer one does not."""
    state = replace(READY, live_seq=10, backfill_at_ns=NOW_NS + 7)

    assert next_action(state, head(9), head(2), NOW_NS) == Idle(until_ns=NOW_NS + 7)
    assert next_action(state, head(9), head(2), NOW_NS + 7) == sent(2, is_live=False)
    assert next_action(state, head(11), head(2), NOW_NS) == sent(11)


def test_what_an_earlier_life_left_is_backlog() -> None:
    """Its numbers are of another epoch and say nothing about what is live."""
    state = replace(READY, backfill_at_ns=NOW_NS + 7)

    assert next_action(state, head(99, epoch=EARLIER), head(9, epoch=EARLIER), NOW_NS) == Idle(until_ns=NOW_NS + 7)
    done, _ = apply_response(state, sent(99, epoch=EARLIER, is_live=False), ack(), NOW_NS, 0.5)
    assert next_action(done, head(0), head(9, epoch=EARLIER), NOW_NS) == sent(0)


def test_both_lanes_wait_for_back_off() -> None:
    """A collector that is away gets no live batches either."""
    state = replace(READY, next_send_ns=NOW_NS + 9)

    assert next_action(state, head(), head(), NOW_NS) == Idle(until_ns=NOW_NS + 9)


def test_without_a_batch_there_is_nothing_to_wait_for() -> None:
    """The sealing of the next wakes the sender."""
    assert next_action(READY, None, None, NOW_NS) == Idle(until_ns=None)


@pytest.mark.parametrize("code", [429, 503])
def test_an_overloaded_collector_halves_the_pace(code: int) -> None:
    """Down to one a minute, and stored batches quicken it again up to the maximum."""
    state = replace(READY, backfill_rate=8.0)
    assert told(status(code), state)[0].backfill_rate == 4.0
    assert told(ack(), state)[0].backfill_rate == 8.25

    assert (
        told(status(code), replace(state, backfill_rate=upload_policy.BACKFILL_RATE_MIN))[0].backfill_rate
        == upload_policy.BACKFILL_RATE_MIN
    )
    assert (
        told(ack(), replace(state, backfill_rate=upload_policy.BACKFILL_RATE_MAX))[0].backfill_rate
        == upload_policy.BACKFILL_RATE_MAX
    )


def test_the_third_failure_changes_the_collector() -> None:
    """The second in order is asked, with the same back-off; the last is followed by the first."""
    state = replace(READY, collector_count=2)
    for _ in range(upload_policy.FAILURES_PER_COLLECTOR):
        assert state.active_collector == 0
        state, _ = told(build_unavailable_response("refused"), state)

    assert (state.active_collector, state.failures, state.collector_failures) == (1, 3, 0)
    for _ in range(upload_policy.FAILURES_PER_COLLECTOR):
        state, _ = told(build_unavailable_response("refused"), state, collector=1)
    assert (state.active_collector, state.failures, state.primary_retry_at_ns) == (0, 6, None)


def test_the_first_is_taken_back_when_it_answers() -> None:
    """It is tried every few minutes; while it is away the one in use goes on without a wait."""
    state = replace(READY, collector_count=2, active_collector=1, primary_retry_at_ns=NOW_NS)
    trial = next_action(state, head(1, 1), head(1, 1), NOW_NS)
    assert trial == sent(1, 1, collector=0)

    away, _ = apply_response(state, sent(1, 1, collector=0), build_unavailable_response("refused"), NOW_NS, 0.0)
    assert (away.active_collector, away.failures, away.next_send_ns) == (1, 0, 0)
    assert next_action(away, head(1, 1), head(1, 1), NOW_NS) == sent(1, 1, collector=1)
    assert away.primary_retry_at_ns == NOW_NS + upload_policy.PRIMARY_RETRY_NS // 2

    back, _ = apply_response(state, sent(1, 1, collector=0), ack(), NOW_NS, 0.0)
    assert (back.active_collector, back.primary_retry_at_ns) == (0, None)


def test_a_store_that_lost_batches_is_filled_again() -> None:
    """Restored from a backup: 61 where 101 are expected."""
    state, action = told(ack(batches=61), replace(READY, expected_batches=100))

    assert isinstance(action, Acknowledge)
    assert action.rewind
    assert state.expected_batches == 61


def test_a_store_that_lost_one_batch_is_filled_again() -> None:
    """One more than before the loss is one fewer than expected."""
    _, action = told(ack(batches=100), replace(READY, expected_batches=100))

    assert isinstance(action, Acknowledge)
    assert action.rewind


@pytest.mark.parametrize(
    "answer", [ack(batches=101), ack(batches=500), ack(batches=100, duplicate=True), ack(batches=None)]
)
def test_a_store_that_lost_nothing_is_left_alone(answer: BatchResponse) -> None:
    """More than is known of is an acknowledgement that got lost; None is a collector that does not count."""
    _, action = told(answer, replace(READY, expected_batches=100))

    assert isinstance(action, Acknowledge)
    assert not action.rewind


def test_other_epochs_are_not_counted() -> None:
    """The number of an earlier epoch is of another series."""
    state, action = apply_response(
        replace(READY, expected_batches=100), sent(3, epoch=EARLIER), ack(batches=1), NOW_NS, 0.5
    )

    assert isinstance(action, Acknowledge)
    assert (action.rewind, state.expected_batches) == (False, 100)


@pytest.mark.parametrize(
    ("answer", "is_lost"),
    [
        (ack(duplicate=True), False),
        (ack(duplicate=True, batches=10), False),
        (ack(duplicate=True, batches=9), True),
        (ack(duplicate=False, batches=10), True),
    ],
)
def test_a_store_restored_while_the_agent_was_down_is_noticed(answer: BatchResponse, is_lost: bool) -> None:
    """A batch it acknowledged before must be a duplicate now, and as many of its epoch must be there."""
    check = Send(queue_end=head(9, epoch=EARLIER, stored=10), collector=0, is_live=False)
    _, action = apply_response(READY, check, answer, NOW_NS, 0.5)

    assert isinstance(action, Acknowledge)
    assert action.rewind is is_lost


def test_a_collector_that_counts_wrongly_costs_one_rewind_an_hour() -> None:
    """It says 0 for ever; within the hour nothing happens, after it the loss is still remembered."""
    state, first = told(ack(batches=0), replace(READY, expected_batches=100))
    state, second = told(ack(batches=0), state)
    _, later = apply_response(state, sent(), ack(batches=0), NOW_NS + upload_policy.REWIND_INTERVAL_NS_MIN, 0.5)

    rewinds = [action.rewind for action in (first, second, later) if isinstance(action, Acknowledge)]
    assert rewinds == [True, False, True]


CODES = (200, 201, 302, 400, 401, 403, 404, 408, 409, 413, 415, 422, 426, 429, 500, 503)
answers = st.one_of(
    st.builds(ack, batches=st.none() | st.integers(0, 50), duplicate=st.booleans()),
    st.builds(status, st.sampled_from(CODES), st.sampled_from(["", "5", "86400"]), st.booleans()),
    st.builds(build_unavailable_response, st.just("timeout")),
)
shares = st.floats(0, 1, exclude_max=True)


class Agent:
    """Does what ``choose`` and ``after`` say to a spool of numbers, on a clock that jumps to the next thing to do."""

    def __init__(self, collectors: int, batches: int) -> None:
        self.now_ns = NOW_NS
        self.epoch = self.next_seq = 0
        self.pending: dict[tuple[int, int], int] = {(0, seq): 4 for seq in range(batches // 2)}
        self.begin()
        self.state = initial_state(collectors, str(self.epoch), self.now_ns, 0.5)
        for _ in range(batches - batches // 2):
            self.add(4)
        self.acked: dict[tuple[int, int], int] = {}
        self.dead: list[int] = []
        self.actions: list[tuple[BatchResponse, UploadAction]] = []
        self.waits_ns: list[int] = []

    def begin(self) -> None:
        self.epoch, self.next_seq = self.epoch + 1, 0

    def add(self, windows: int) -> None:
        self.pending[self.epoch, self.next_seq] = windows
        self.next_seq += 1

    def head(self, key: tuple[int, int]) -> QueueEnd:
        return head(key[1], self.pending[key], str(key[0]))

    def step(self) -> Send | Idle:
        return next_action(self.state, self.head(max(self.pending)), self.head(min(self.pending)), self.now_ns)

    def turn(self, answer: Callable[[Send], BatchResponse], share: float) -> None:
        """Wait until something may be sent, send it, and do what follows."""
        began_ns = self.now_ns
        while isinstance(step := self.step(), Idle):
            assert step.until_ns is not None
            assert step.until_ns > self.now_ns
            self.now_ns = step.until_ns
        self.waits_ns.append(self.now_ns - began_ns)
        found = answer(step)
        self.state, action = apply_response(self.state, step, found, self.now_ns, share)
        self.actions.append((found, action))
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
                self.begin()
                self.state = with_new_epoch(self.state, str(self.epoch))
                self.add(windows)
            case Reissue():
                self.add(windows)


@given(st.integers(1, 3), st.lists(st.tuples(answers, shares), max_size=80))
def test_whatever_comes_nothing_is_lost_and_no_wait_is_long(
    collectors: int, script: list[tuple[BatchResponse, float]]
) -> None:
    """Only 200 with the digest acknowledges, only a refusal puts aside, the rest stays; waits are bounded."""
    agent = Agent(collectors, batches=100)
    for answer, share in script:
        windows = sum(agent.pending.values())
        agent.turn(lambda _, answer=answer: answer, share)  # type: ignore[misc]
        if isinstance(agent.actions[-1][1], Retry | Split | BeginEpoch | Reissue):
            assert sum(agent.pending.values()) == windows

    for answer, action in agent.actions:
        assert isinstance(action, Acknowledge) == (answer.kind is ResponseKind.STORED)
        assert not isinstance(action, MoveToDeadLetters) or answer.kind in (
            ResponseKind.REFUSED,
            ResponseKind.TOO_LARGE,
        )
        assert not isinstance(action, BeginEpoch | Reissue) or answer.kind is ResponseKind.CONFLICT
    assert max(agent.waits_ns, default=0) <= 2 * upload_policy.OPERATOR_RETRY_NS + int(
        1.5 / upload_policy.BACKFILL_RATE_MIN * SECOND_NS
    )


@given(st.integers(1, 3), st.lists(st.tuples(answers, shares), max_size=40), st.integers(0, 2))
def test_when_one_collector_is_well_everything_arrives(
    collectors: int, script: list[tuple[BatchResponse, float]], well: int
) -> None:
    """After any history, with one of the collectors answering and the others away, the backlog drains (no livelock)."""
    agent = Agent(collectors, batches=60)
    for answer, share in script:
        agent.turn(lambda _, answer=answer: answer, share)  # type: ignore[misc]
    rng = make_rng(1)

    def reply(send: Send) -> BatchResponse:
        if send.collector != well % collectors:
            return build_unavailable_response("refused")
        return ack(batches=None)

    for _ in range(1_000):
        if not agent.pending:
            break
        agent.turn(reply, rng.random())

    assert not agent.pending


@given(shares)
def test_a_collector_that_refuses_everything_is_not_hammered(share: float) -> None:
    """Every kind of answer that keeps the batch waits, but for the trial of the first collector."""
    for answer in (*map(status, CODES[1:]), build_unavailable_response("reset")):
        state, action = told(answer, replace(READY, failures=20), share=share)

        if isinstance(action, Retry | BeginEpoch):
            assert state.next_send_ns - NOW_NS >= int(share * 100 * SECOND_NS)
