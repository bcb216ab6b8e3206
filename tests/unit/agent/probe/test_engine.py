"""The probe engine on a network of paper: each thing that can happen to a probe comes out as what it was."""

from __future__ import annotations

import errno
import os
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.clock import SystemClock, make_rng
from leadline.errors import ConfigError
from leadline.model import Failure
from leadline_agent.probe.engine import LATE_WAIT_MS, SENDS_PER_READ, Prober
from leadline_agent.probe.results import ProbeResult
from tests.support.fake_probe_socket import MS, TARGET, TX_DELAY_NS, Fate, ProberHarness, build_probe_target
from tests.support.probing import has_finished

SECOND_MS = 1_000
RTT_NS = 9_800_000
GOOD = Fate(replies_ns=(RTT_NS,))
SILENT = Fate()


def only(outcomes: list[ProbeResult]) -> ProbeResult:
    (outcome,) = outcomes
    return outcome


def said(outcomes: list[ProbeResult]) -> list[tuple[Failure | None, int | None]]:
    return [(outcome.failure, outcome.detail) for outcome in outcomes]


def test_rtt_is_the_difference_of_the_stamps() -> None:
    """The RTT is exact to the nanosecond, although the engine looks only every few milliseconds."""
    outcome = only(ProberHarness(lambda _: GOOD).run_targets([build_probe_target(slots=1)]))

    assert (outcome.rtt_ns, outcome.error_ns, outcome.ttl, outcome.failure) == (RTT_NS, 0, 57, None)


def test_the_stamp_of_the_first_device_counts() -> None:
    """A bridge or VLAN stamps a departure before the card below it; the later stamp would shorten the RTT."""
    bench = ProberHarness(lambda _: GOOD)

    outcomes = bench.run_targets([build_probe_target(slots=4)])

    first_ns = [sent_ns for *_, sent_ns in bench.network.sent]
    assert [(outcome.sent_at_ns, outcome.rtt_ns) for outcome in outcomes] == [(ns, RTT_NS) for ns in first_ns]


def test_without_stamps_the_bound_holds() -> None:
    """Where the kernel gives no stamps the true RTT lies in [measured - error, measured]."""
    outcome = only(
        ProberHarness(lambda _: Fate(replies_ns=(RTT_NS,), is_stamped=False)).run_targets([build_probe_target(slots=1)])
    )

    assert outcome.rtt_ns is not None
    assert outcome.rtt_ns - outcome.error_ns <= RTT_NS <= outcome.rtt_ns
    assert outcome.error_ns > 0


def test_silence_is_a_timeout() -> None:
    """A probe that nobody answers is a loss, told when the wait for late replies is over."""
    bench = ProberHarness(lambda _: SILENT)

    outcomes = bench.run_targets([build_probe_target(slots=1, timeout_ms=2_000)])

    assert said(outcomes) == [(Failure.TIMEOUT, None)]
    waited_ns = bench.clock.wall_ns() - (only(outcomes).sent_at_ns or 0)
    assert 2_000 + LATE_WAIT_MS <= waited_ns / MS < 2_000 + LATE_WAIT_MS + SECOND_MS


@pytest.mark.parametrize(
    ("rtt_ms", "failure"),
    [(2_000, None), (2_001, Failure.LATE), (2_000 + LATE_WAIT_MS - 1, Failure.LATE), (7_200, Failure.TIMEOUT)],
)
def test_late_begins_past_the_timeout(rtt_ms: int, failure: Failure | None) -> None:
    """A reply at the timeout counts, one past it is late, and one past the wait is never known."""
    outcome = only(
        ProberHarness(lambda _: Fate(replies_ns=(rtt_ms * MS,))).run_targets(
            [build_probe_target(slots=1, timeout_ms=2_000)]
        )
    )

    assert failure is outcome.failure


def test_late_tells_its_rtt() -> None:
    """A late reply is lost and says in microseconds how late it was."""
    outcome = only(
        ProberHarness(lambda _: Fate(replies_ns=(3_000_000_001,))).run_targets(
            [build_probe_target(slots=1, timeout_ms=2_000)]
        )
    )

    assert (outcome.failure, outcome.detail, outcome.rtt_ns) == (Failure.LATE, 3_000_001, None)


def test_duplicates_are_apart() -> None:
    """The first reply counts, the others are reported as duplicates of its slot."""
    bench = ProberHarness(lambda _: Fate(replies_ns=(RTT_NS, RTT_NS + 1, 3 * SECOND_MS * MS)))

    outcome = only(bench.run_targets([build_probe_target(slots=1)]))
    bench.run_ms(10 * SECOND_MS)

    assert outcome.rtt_ns == RTT_NS
    assert [("far", outcome.slot)] * 2 == bench.duplicates


def test_reordering_is_no_loss() -> None:
    """Replies in another order than their requests are all counted, each with its own RTT."""
    delays_ns = {0: 1_500 * MS, 1: 2 * MS, 2: 900 * MS, 3: 1 * MS}
    outcomes = ProberHarness(lambda index: Fate(replies_ns=(delays_ns[index],))).run_targets(
        [build_probe_target(slots=4)]
    )

    in_order = sorted(outcomes, key=lambda outcome: outcome.slot)

    assert list(delays_ns.values()) == [outcome.rtt_ns for outcome in in_order]


@pytest.mark.parametrize("quotes_index", [True, False])
def test_unreachable_tells_type_and_code(quotes_index: bool) -> None:
    """An ICMP error is matched by the index, or by sequence and destination where the router quoted only 8 bytes."""
    fate = Fate(icmp_error=(3, 13), quotes_index=quotes_index)

    outcomes = ProberHarness(lambda _: fate).run_targets([build_probe_target(slots=2)])

    assert said(outcomes) == [(Failure.UNREACHABLE, 3 * 256 + 13)] * 2


def test_refused_sends_tell_the_errno() -> None:
    """A send that the kernel refuses is no loss; the errno says whether firewall, route or size."""
    fates = [Fate(send_errno=errno.EPERM), Fate(send_errno=errno.EMSGSIZE)]
    outcomes = ProberHarness(lambda index: fates[index]).run_targets([build_probe_target(slots=2)])

    assert said(outcomes) == [(Failure.SEND_ERROR, errno.EPERM), (Failure.SEND_ERROR, errno.EMSGSIZE)]
    assert all(outcome.sent_at_ns is None for outcome in outcomes)


def test_unresolved_names_are_not_loss() -> None:
    """Every slot of a target without an address is a resolve error, in its own time."""
    outcomes = ProberHarness(lambda _: GOOD).run_targets([build_probe_target(address=None, slots=3)])

    assert said(outcomes) == [(Failure.RESOLVE_ERROR, None)] * 3


def test_an_answer_from_elsewhere_does_not_count() -> None:
    """A reply with the right cookie and index from the wrong address is a stray."""
    bench = ProberHarness(lambda _: Fate(replies_ns=(RTT_NS,), source="192.0.2.66"))

    outcomes = bench.run_targets([build_probe_target(slots=1)])

    assert said(outcomes) == [(Failure.TIMEOUT, None)]
    assert bench.prober.counters.strays == 1


def test_overflow_puts_the_unanswered_in_doubt() -> None:
    """A probe that was out when the own queue overflowed is not a loss if it stays unanswered."""
    bench = ProberHarness(lambda index: GOOD if index else SILENT)
    bench.prober.set_targets([build_probe_target(slots=2)])
    while not bench.network.sent:
        bench.run_ms(10)
    bench.network.dropped += 1

    outcomes = bench.run_to_end()

    assert {o.slot - outcomes[-1].slot: o.failure for o in outcomes} == {0: Failure.LOCAL_DROP, 1: None}
    assert bench.prober.counters.dropped == 1


def test_what_was_lost_before_stays_lost() -> None:
    """A standstill does not excuse a probe that had been without an answer for longer than any path takes."""
    bench = ProberHarness(lambda _: SILENT)
    bench.prober.set_targets([build_probe_target(slots=1, timeout_ms=10_000)])
    while not bench.network.sent:
        bench.run_ms(10)
    bench.run_ms(3 * SECOND_MS)
    bench.clock.advance(2 * SECOND_MS * MS)

    assert said(bench.run_to_end()) == [(Failure.TIMEOUT, None)]


def test_a_path_seen_slow_is_given_longer() -> None:
    """Where RTTs of seconds were seen, a probe can be out for seconds when the standstill comes."""
    bench = ProberHarness(lambda index: SILENT if index == 5 else Fate(replies_ns=(4_000 * MS,)))
    bench.prober.set_targets([build_probe_target(slots=6, timeout_ms=10_000)])
    while len(bench.network.sent) < 6:
        bench.run_ms(10)
    bench.run_ms(3 * SECOND_MS)
    bench.clock.advance(2 * SECOND_MS * MS)

    failures = Counter(outcome.failure for outcome in bench.run_to_end())

    assert {f: n for f, n in failures.items() if f is not Failure.TIMEOUT} == {None: 5, Failure.LOCAL_STALL: 1}


def test_a_standstill_inflates_no_rtt() -> None:
    """A process that was stopped while a reply came still reports the RTT of the kernel's stamps."""
    bench = ProberHarness(lambda _: GOOD)
    bench.prober.set_targets([build_probe_target(slots=1)])
    while not bench.network.sent:
        bench.run_ms(5)
    bench.clock.advance(3 * SECOND_MS * MS)

    assert only(bench.run_to_end()).rtt_ns == RTT_NS
    assert bench.prober.counters.stalls == 1


def test_what_arrives_at_the_end_of_a_standstill_is_not_believed() -> None:
    """A paused machine stamps what waited outside when it wakes: such a reply is a stall, not an RTT of seconds."""
    bench = ProberHarness(lambda _: Fate(replies_ns=(1_500 * MS,)))
    bench.prober.set_targets([build_probe_target(slots=1)])
    while not bench.network.sent:
        bench.run_ms(5)
    sent_on_ns = bench.network.sent[0][2] - (bench.clock.wall_ns() - bench.clock.monotonic_ns())
    bench.clock.advance(sent_on_ns + 1_520 * MS - bench.clock.monotonic_ns())

    assert said(bench.run_to_end()) == [(Failure.LOCAL_STALL, None)]


def test_slots_of_a_standstill_are_not_sent() -> None:
    """Slots that passed while the process stood still are neither loss nor left out."""
    bench = ProberHarness(lambda _: GOOD)
    bench.prober.set_targets([build_probe_target(slots=10)])
    bench.run_ms(3 * SECOND_MS)
    bench.clock.advance(4 * SECOND_MS * MS)

    outcomes = sorted(bench.run_to_end(), key=lambda outcome: outcome.slot)

    failures = Counter(outcome.failure for outcome in outcomes)
    assert list(range(outcomes[0].slot, outcomes[0].slot + 10)) == [outcome.slot for outcome in outcomes]
    assert set(failures) == {None, Failure.NOT_SENT}
    assert 3 <= failures[Failure.NOT_SENT] <= 4


@pytest.mark.parametrize("step_ms", [-500, 500, 1, -1])
def test_a_clock_step_is_no_rtt(step_ms: int) -> None:
    """A probe that is out when the wall clock steps has no RTT, above all no wrong or negative one."""
    bench = ProberHarness(lambda _: Fate(replies_ns=(60 * MS,)))
    bench.prober.set_targets([build_probe_target(slots=1)])
    while not bench.network.sent:
        bench.run_ms(5)
    bench.clock.step(step_ms * MS)

    assert said(bench.run_to_end()) == [(Failure.LOCAL_STALL, None)]
    assert bench.prober.counters.clock_steps == 1


def test_a_probe_out_for_long_has_no_rtt_after_a_step() -> None:
    """Two seconds after it left, the clock steps: silence would be loss, but the reply that comes has no RTT."""
    bench = ProberHarness(lambda _: Fate(replies_ns=(3_000 * MS,)))
    bench.prober.set_targets([build_probe_target(slots=1, timeout_ms=10_000)])
    while not bench.network.sent:
        bench.run_ms(5)
    bench.run_ms(2_000)
    bench.clock.step(500 * MS)

    assert said(bench.run_to_end()) == [(Failure.LOCAL_STALL, None)]


def test_a_step_back_repeats_no_slot() -> None:
    """After a step back the schedule waits until the wall clock has caught up with what was given."""
    bench = ProberHarness(lambda _: GOOD)
    bench.prober.set_targets([build_probe_target(slots=20)])
    bench.run_ms(5 * SECOND_MS)
    bench.clock.step(-30 * SECOND_MS * MS)

    slots = sorted(outcome.slot for outcome in bench.run_to_end())

    assert list(range(slots[0], slots[0] + 20)) == slots


def test_a_step_back_holds_for_new_aims_too() -> None:
    """Changed settings for a name do not bring back slots that were given under it."""
    bench = ProberHarness(lambda _: GOOD)
    bench.prober.set_targets([build_probe_target()])
    bench.run_ms(5 * SECOND_MS)
    bench.clock.step(-3 * SECOND_MS * MS)
    bench.prober.set_targets([])
    bench.prober.set_targets([build_probe_target(timeout_ms=3_000, slots=5)])

    slots = [outcome.slot for outcome in bench.run_to_end()]

    assert len(slots) == len(set(slots))


@pytest.mark.parametrize(("step_s", "not_sent"), [(60, 60), (7_200, 0), (-7_200, 0)])
def test_a_wrong_clock_does_not_stop_the_schedule(step_s: int, not_sent: int) -> None:
    """A jump forward within an hour gives the slots in between; beyond, either way, the schedule begins anew."""
    bench = ProberHarness(lambda _: GOOD)
    bench.prober.set_targets([build_probe_target()])
    bench.run_ms(5 * SECOND_MS)
    before = len(bench.results)
    bench.clock.step(step_s * 10**9)
    bench.run_ms(5 * SECOND_MS)

    after = bench.results[before:]

    assert not_sent == pytest.approx(sum(o.failure is Failure.NOT_SENT for o in after), abs=1)
    assert 3 <= sum(o.rtt_ns is not None for o in after) <= 6


def test_targets_that_stay_are_undisturbed() -> None:
    """A change of the aims leaves no hole in the slots of those that stay, go or change."""
    bench = ProberHarness(lambda _: GOOD)
    bench.prober.set_targets(
        [build_probe_target("stays", slots=12), build_probe_target("goes"), build_probe_target("changes")]
    )
    bench.run_ms(3_400)
    cut_ns = bench.clock.wall_ns() + 2 * SECOND_MS * MS
    changed = build_probe_target("changes", timeout_ms=3_000, slots=5)
    bench.prober.set_targets(
        [build_probe_target("stays", slots=12), changed, build_probe_target("comes", slots=5)], first_slot_at_ns=cut_ns
    )

    slots = defaultdict(list)
    for outcome in bench.run_to_end():
        slots[outcome.target_name].append(outcome.slot)

    first = min(slots["stays"])
    assert list(range(first, first + 12)) == sorted(slots["stays"])
    assert list(range(first, first + 11)) == sorted(slots["changes"])
    assert list(range(first, first + 6)) == sorted(slots["goes"])
    assert list(range(first + 6, first + 11)) == sorted(slots["comes"])


def test_drain_sends_no_more_and_leaves_nothing_open() -> None:
    """Draining returns when the last timeout has passed, without the wait for late replies."""
    bench = ProberHarness(lambda _: SILENT)
    bench.prober.set_targets([build_probe_target(timeout_ms=2_000)])
    bench.run_ms(3_000)
    sent, began_ns = len(bench.network.sent), bench.clock.monotonic_ns()

    bench.prober.drain()

    assert sent == len(bench.network.sent) == len(bench.results)
    assert {Failure.TIMEOUT} == {outcome.failure for outcome in bench.results}
    assert bench.clock.monotonic_ns() - began_ns <= 2_100 * MS


def test_drain_can_be_cut_short() -> None:
    """What is out when nobody waits any longer is a stall of ours, not a loss of the path."""
    bench = ProberHarness(lambda _: SILENT)
    bench.prober.set_targets([build_probe_target(timeout_ms=10_000)])
    bench.run_ms(2_000)

    bench.prober.drain(bench.clock.monotonic_ns() + 100 * MS)

    assert has_finished(bench.prober)
    assert {Failure.LOCAL_STALL} == {outcome.failure for outcome in bench.results}


def test_a_source_that_is_missing_is_a_send_error() -> None:
    """A lane that cannot be opened refuses every probe with its errno, and is tried again at the next."""
    bench = ProberHarness(lambda _: GOOD)
    attempts = iter([OSError(errno.EADDRNOTAVAIL, "no"), OSError(errno.EADDRNOTAVAIL, "no"), None])

    def open_lane(lane: object, cookie: bytes) -> object:
        error = next(attempts)
        if error is not None:
            raise error
        return bench.network

    prober = Prober(clock=bench.clock, rng=make_rng(1), on_result=bench.results.append, open_socket=open_lane)  # type: ignore[arg-type]
    prober.set_targets([build_probe_target(slots=2)])
    prober.run(3_100 * MS)

    assert said(bench.results) == [(Failure.SEND_ERROR, errno.EADDRNOTAVAIL), (None, None)]


def test_the_same_seed_gives_the_same_schedule() -> None:
    """The random places are reproducible, and others for another seed."""
    benches = [ProberHarness(lambda _: GOOD, seed=seed) for seed in (7, 7, 8)]
    first, again, other = (
        [o.sent_at_ns for o in bench.run_targets([build_probe_target(slots=20)])] for bench in benches
    )

    assert first == again
    assert first != other


def test_probes_leave_within_a_tick_of_their_place() -> None:
    """The schedule has no drift: after 300 slots a send is still in its own slot or at most a tick past it."""
    bench = ProberHarness(lambda _: GOOD)

    outcomes = bench.run_targets([build_probe_target(slots=300)])

    late_ns = [(outcome.sent_at_ns or 0) - outcome.slot * 10**9 for outcome in outcomes]
    assert all(0 <= ns <= 10**9 + 5 * MS + TX_DELAY_NS for ns in late_ns)
    assert bench.prober.counters.lag_ns_max <= 5 * MS


def test_bursts_are_read_in_between() -> None:
    """However much is due at once, stamps and replies are read before they can overflow a small buffer."""
    bench = ProberHarness(lambda _: GOOD)
    bench.prober.set_targets([build_probe_target(f"t{number}", slots=2) for number in range(1_000)])
    bench.run_ms(1_000)
    bench.clock.advance(400 * MS)

    bench.run_to_end()

    assert bench.network.unread_count_max <= SENDS_PER_READ


def test_a_forbidden_address_is_refused() -> None:
    """The policy is asked before the first packet."""
    bench = ProberHarness(lambda _: GOOD)

    with pytest.raises(ConfigError, match=r"target far: 224\.0\.0\.5"):
        bench.prober.set_targets([build_probe_target(address="224.0.0.5")])


def test_a_descriptor_wakes_the_prober() -> None:
    """``run`` returns early, and says so, when the descriptor it watches becomes readable."""
    clock = SystemClock()
    prober = Prober(clock=clock, rng=make_rng(1), on_result=lambda _: None)
    reader, writer = os.pipe()
    os.write(writer, b"x")

    woken = prober.run(clock.monotonic_ns() + 60 * 10**9, wake_fd=reader)

    os.close(reader)
    os.close(writer)
    assert woken


DELAYS_NS = st.one_of(
    st.integers(min_value=1_000, max_value=300 * MS), st.integers(min_value=1_000, max_value=9_000 * MS)
)
FATES = st.one_of(
    st.builds(Fate, replies_ns=st.lists(DELAYS_NS, max_size=3).map(tuple)),
    st.just(Fate(send_errno=errno.EPERM)),
    st.just(Fate(icmp_error=(3, 1))),
)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["run", "stall", "step", "drop"]),
        st.integers(min_value=1, max_value=4_000),
        st.sampled_from([1, -1]),
    ),
    max_size=12,
)


@settings(max_examples=settings().max_examples * 3 // 2)
@given(fates=st.lists(FATES, min_size=1, max_size=12), events=EVENTS, slots=st.integers(min_value=1, max_value=12))
def test_every_slot_has_exactly_one_true_outcome(
    fates: list[Fate], events: list[tuple[str, int, int]], slots: int
) -> None:
    """Whatever happens on the path and to this host, each slot is given once, and an RTT given is the path's own."""
    bench = ProberHarness(lambda index: fates[index % len(fates)])
    bench.prober.set_targets(
        [
            build_probe_target("one", slots=slots, timeout_ms=1_500),
            build_probe_target("two", "192.0.2.8", slots=slots, interval_ms=500),
        ]
    )
    for event, ms, sign in events:
        if event == "stall":
            bench.clock.advance(ms * MS)
        elif event == "step":
            bench.clock.step(sign * ms * MS)
        elif event == "drop":
            bench.network.dropped += ms
        bench.run_ms(ms)

    outcomes = bench.run_to_end()

    for name in ("one", "two"):
        given_slots = sorted(outcome.slot for outcome in outcomes if outcome.target_name == name)
        assert list(range(given_slots[0], given_slots[0] + slots)) == given_slots
    true_ns = {
        (sent_ns, min(fates[index % len(fates)].replies_ns, default=0)) for index, _, sent_ns in bench.network.sent
    }
    assert all((outcome.sent_at_ns, outcome.rtt_ns) in true_ns for outcome in outcomes if outcome.rtt_ns is not None)
    assert all((outcome.rtt_ns is None) != (outcome.failure is None) for outcome in outcomes)
    assert not any(o.failure.is_loss for o in outcomes if o.failure and o.sent_at_ns is None)


def test_quiet_hosts_report_no_trouble_of_their_own() -> None:
    """On a host that neither stalls nor steps, silence is always loss and never anything else."""
    bench = ProberHarness(lambda index: SILENT if index % 3 else GOOD)

    failures = Counter(outcome.failure for outcome in bench.run_targets([build_probe_target(address=TARGET, slots=30)]))

    assert failures == {None: 10, Failure.TIMEOUT: 20}
