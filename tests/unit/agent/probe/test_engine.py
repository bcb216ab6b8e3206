"""The probe engine on an in-memory network: each event gives the right result."""

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
ONE_REPLY = Fate(replies_ns=(RTT_NS,))
NO_REPLY = Fate()


def only(results: list[ProbeResult]) -> ProbeResult:
    (result,) = results
    return result


def get_failures(results: list[ProbeResult]) -> list[tuple[Failure | None, int | None]]:
    return [(result.failure, result.detail) for result in results]


def test_rtt_is_the_difference_of_the_timestamps() -> None:
    """The RTT is exact to the nanosecond, although the engine polls only every few milliseconds."""
    result = only(ProberHarness(lambda _: ONE_REPLY).run_targets([build_probe_target(slots=1)]))

    assert (result.rtt_ns, result.error_ns, result.ttl, result.failure) == (RTT_NS, 0, 57, None)


def test_timestamp_of_the_first_device_counts() -> None:
    """A bridge or VLAN takes its timestamp before the card does; the later timestamp would shorten the RTT."""
    harness = ProberHarness(lambda _: ONE_REPLY)

    results = harness.run_targets([build_probe_target(slots=4)])

    first_ns = [sent_ns for *_, sent_ns in harness.network.sent]
    assert [(result.sent_at_ns, result.rtt_ns) for result in results] == [(ns, RTT_NS) for ns in first_ns]


def test_error_bound_is_valid_without_kernel_timestamps() -> None:
    """The true RTT is in [measured - error, measured] without kernel timestamps."""
    result = only(
        ProberHarness(lambda _: Fate(replies_ns=(RTT_NS,), is_stamped=False)).run_targets([build_probe_target(slots=1)])
    )

    assert result.rtt_ns is not None
    assert result.rtt_ns - result.error_ns <= RTT_NS <= result.rtt_ns
    assert result.error_ns > 0


def test_missing_reply_is_a_timeout() -> None:
    """A probe without a reply is a loss, reported after the wait for late replies."""
    harness = ProberHarness(lambda _: NO_REPLY)

    results = harness.run_targets([build_probe_target(slots=1, timeout_ms=2_000)])

    assert get_failures(results) == [(Failure.TIMEOUT, None)]
    wait_ns = harness.clock.wall_ns() - (only(results).sent_at_ns or 0)
    assert 2_000 + LATE_WAIT_MS <= wait_ns / MS < 2_000 + LATE_WAIT_MS + SECOND_MS


@pytest.mark.parametrize(
    ("rtt_ms", "failure"),
    [(2_000, None), (2_001, Failure.LATE), (2_000 + LATE_WAIT_MS - 1, Failure.LATE), (7_200, Failure.TIMEOUT)],
)
def test_late_begins_past_the_timeout(rtt_ms: int, failure: Failure | None) -> None:
    """A reply at the timeout counts, a later one is late, and one after the wait is a timeout."""
    result = only(
        ProberHarness(lambda _: Fate(replies_ns=(rtt_ms * MS,))).run_targets(
            [build_probe_target(slots=1, timeout_ms=2_000)]
        )
    )

    assert failure is result.failure


def test_late_reply_has_its_rtt() -> None:
    """A late reply is a loss with the RTT in microseconds as its detail."""
    result = only(
        ProberHarness(lambda _: Fate(replies_ns=(3_000_000_001,))).run_targets(
            [build_probe_target(slots=1, timeout_ms=2_000)]
        )
    )

    assert (result.failure, result.detail, result.rtt_ns) == (Failure.LATE, 3_000_001, None)


def test_duplicates_are_reported_separately() -> None:
    """The first reply counts. The others are duplicates of its slot."""
    harness = ProberHarness(lambda _: Fate(replies_ns=(RTT_NS, RTT_NS + 1, 3 * SECOND_MS * MS)))

    result = only(harness.run_targets([build_probe_target(slots=1)]))
    harness.run_ms(10 * SECOND_MS)

    assert result.rtt_ns == RTT_NS
    assert [("far", result.slot)] * 2 == harness.duplicates


def test_reordering_is_no_loss() -> None:
    """Replies in a different order all count, each with its own RTT."""
    delays_ns = {0: 1_500 * MS, 1: 2 * MS, 2: 900 * MS, 3: 1 * MS}
    results = ProberHarness(lambda index: Fate(replies_ns=(delays_ns[index],))).run_targets(
        [build_probe_target(slots=4)]
    )

    in_order = sorted(results, key=lambda result: result.slot)

    assert list(delays_ns.values()) == [result.rtt_ns for result in in_order]


@pytest.mark.parametrize("quotes_index", [True, False])
def test_unreachable_has_type_and_code(quotes_index: bool) -> None:
    """An ICMP error matches by index, or by sequence and destination if the router quoted only 8 bytes."""
    fate = Fate(icmp_error=(3, 13), quotes_index=quotes_index)

    results = ProberHarness(lambda _: fate).run_targets([build_probe_target(slots=2)])

    assert get_failures(results) == [(Failure.UNREACHABLE, 3 * 256 + 13)] * 2


def test_refused_send_has_its_errno() -> None:
    """A send that the kernel refuses is no loss. The errno shows the reason: firewall, route or size."""
    fates = [Fate(send_errno=errno.EPERM), Fate(send_errno=errno.EMSGSIZE)]
    results = ProberHarness(lambda index: fates[index]).run_targets([build_probe_target(slots=2)])

    assert get_failures(results) == [(Failure.SEND_ERROR, errno.EPERM), (Failure.SEND_ERROR, errno.EMSGSIZE)]
    assert all(result.sent_at_ns is None for result in results)


def test_unresolved_names_are_not_loss() -> None:
    """Every slot of a target without an address is a resolve error."""
    results = ProberHarness(lambda _: ONE_REPLY).run_targets([build_probe_target(address=None, slots=3)])

    assert get_failures(results) == [(Failure.RESOLVE_ERROR, None)] * 3


def test_reply_from_another_address_is_a_stray() -> None:
    """A reply with the right cookie and index but another source address does not count."""
    harness = ProberHarness(lambda _: Fate(replies_ns=(RTT_NS,), source="192.0.2.66"))

    results = harness.run_targets([build_probe_target(slots=1)])

    assert get_failures(results) == [(Failure.TIMEOUT, None)]
    assert harness.prober.counters.strays == 1


def test_overflow_makes_a_missing_reply_a_local_drop() -> None:
    """A missing reply is no loss if the receive queue overflowed while the probe was in flight."""
    harness = ProberHarness(lambda index: ONE_REPLY if index else NO_REPLY)
    harness.prober.set_targets([build_probe_target(slots=2)])
    while not harness.network.sent:
        harness.run_ms(10)
    harness.network.dropped += 1

    results = harness.run_to_end()

    assert {o.slot - results[-1].slot: o.failure for o in results} == {0: Failure.LOCAL_DROP, 1: None}
    assert harness.prober.counters.dropped == 1


def test_probe_lost_before_a_stall_stays_lost() -> None:
    """A stall does not excuse a probe without a reply for longer than any plausible RTT."""
    harness = ProberHarness(lambda _: NO_REPLY)
    harness.prober.set_targets([build_probe_target(slots=1, timeout_ms=10_000)])
    while not harness.network.sent:
        harness.run_ms(10)
    harness.run_ms(3 * SECOND_MS)
    harness.clock.advance(2 * SECOND_MS * MS)

    assert get_failures(harness.run_to_end()) == [(Failure.TIMEOUT, None)]


def test_slow_path_extends_the_plausible_rtt() -> None:
    """After RTTs of seconds, a probe can be in flight for seconds when a stall begins."""
    harness = ProberHarness(lambda index: NO_REPLY if index == 5 else Fate(replies_ns=(4_000 * MS,)))
    harness.prober.set_targets([build_probe_target(slots=6, timeout_ms=10_000)])
    while len(harness.network.sent) < 6:
        harness.run_ms(10)
    harness.run_ms(3 * SECOND_MS)
    harness.clock.advance(2 * SECOND_MS * MS)

    failures = Counter(result.failure for result in harness.run_to_end())

    assert {f: n for f, n in failures.items() if f is not Failure.TIMEOUT} == {None: 5, Failure.LOCAL_STALL: 1}


def test_stall_inflates_no_rtt() -> None:
    """A process that was stopped when a reply arrived reports the RTT of the kernel timestamps."""
    harness = ProberHarness(lambda _: ONE_REPLY)
    harness.prober.set_targets([build_probe_target(slots=1)])
    while not harness.network.sent:
        harness.run_ms(5)
    harness.clock.advance(3 * SECOND_MS * MS)

    assert only(harness.run_to_end()).rtt_ns == RTT_NS
    assert harness.prober.counters.stalls == 1


def test_reply_at_the_end_of_a_stall_is_a_local_stall() -> None:
    """A paused machine takes timestamps of queued packets when it resumes: the result is a stall, not a long RTT."""
    harness = ProberHarness(lambda _: Fate(replies_ns=(1_500 * MS,)))
    harness.prober.set_targets([build_probe_target(slots=1)])
    while not harness.network.sent:
        harness.run_ms(5)
    sent_on_ns = harness.network.sent[0][2] - (harness.clock.wall_ns() - harness.clock.monotonic_ns())
    harness.clock.advance(sent_on_ns + 1_520 * MS - harness.clock.monotonic_ns())

    assert get_failures(harness.run_to_end()) == [(Failure.LOCAL_STALL, None)]


def test_slots_during_a_stall_are_not_sent() -> None:
    """Slots during a stall are reported as not sent, not as loss."""
    harness = ProberHarness(lambda _: ONE_REPLY)
    harness.prober.set_targets([build_probe_target(slots=10)])
    harness.run_ms(3 * SECOND_MS)
    harness.clock.advance(4 * SECOND_MS * MS)

    results = sorted(harness.run_to_end(), key=lambda result: result.slot)

    failures = Counter(result.failure for result in results)
    assert list(range(results[0].slot, results[0].slot + 10)) == [result.slot for result in results]
    assert set(failures) == {None, Failure.NOT_SENT}
    assert 3 <= failures[Failure.NOT_SENT] <= 4


@pytest.mark.parametrize("step_ms", [-500, 500, 1, -1])
def test_clock_step_gives_no_rtt(step_ms: int) -> None:
    """A probe in flight during a step of the wall clock has no RTT, so never a wrong or negative one."""
    harness = ProberHarness(lambda _: Fate(replies_ns=(60 * MS,)))
    harness.prober.set_targets([build_probe_target(slots=1)])
    while not harness.network.sent:
        harness.run_ms(5)
    harness.clock.step(step_ms * MS)

    assert get_failures(harness.run_to_end()) == [(Failure.LOCAL_STALL, None)]
    assert harness.prober.counters.clock_steps == 1


def test_probe_in_flight_for_long_has_no_rtt_after_a_step() -> None:
    """The clock steps two seconds after the send: a missing reply would be loss, but a reply has no RTT."""
    harness = ProberHarness(lambda _: Fate(replies_ns=(3_000 * MS,)))
    harness.prober.set_targets([build_probe_target(slots=1, timeout_ms=10_000)])
    while not harness.network.sent:
        harness.run_ms(5)
    harness.run_ms(2_000)
    harness.clock.step(500 * MS)

    assert get_failures(harness.run_to_end()) == [(Failure.LOCAL_STALL, None)]


def test_step_back_repeats_no_slot() -> None:
    """After a step back, the schedule waits until the wall clock reaches the slots not reported yet."""
    harness = ProberHarness(lambda _: ONE_REPLY)
    harness.prober.set_targets([build_probe_target(slots=20)])
    harness.run_ms(5 * SECOND_MS)
    harness.clock.step(-30 * SECOND_MS * MS)

    slots = sorted(result.slot for result in harness.run_to_end())

    assert list(range(slots[0], slots[0] + 20)) == slots


def test_step_back_repeats_no_slot_of_a_changed_target() -> None:
    """A target with changed settings does not repeat slots that were reported under its name."""
    harness = ProberHarness(lambda _: ONE_REPLY)
    harness.prober.set_targets([build_probe_target()])
    harness.run_ms(5 * SECOND_MS)
    harness.clock.step(-3 * SECOND_MS * MS)
    harness.prober.set_targets([])
    harness.prober.set_targets([build_probe_target(timeout_ms=3_000, slots=5)])

    slots = [result.slot for result in harness.run_to_end()]

    assert len(slots) == len(set(slots))


@pytest.mark.parametrize(("step_s", "not_sent"), [(60, 60), (7_200, 0), (-7_200, 0)])
def test_wrong_clock_does_not_stop_the_schedule(step_s: int, not_sent: int) -> None:
    """A step forward within an hour reports the slots in between. A larger step restarts the schedule."""
    harness = ProberHarness(lambda _: ONE_REPLY)
    harness.prober.set_targets([build_probe_target()])
    harness.run_ms(5 * SECOND_MS)
    before = len(harness.results)
    harness.clock.step(step_s * 10**9)
    harness.run_ms(5 * SECOND_MS)

    after = harness.results[before:]

    assert not_sent == pytest.approx(sum(o.failure is Failure.NOT_SENT for o in after), abs=1)
    assert 3 <= sum(o.rtt_ns is not None for o in after) <= 6


def test_unchanged_targets_are_undisturbed() -> None:
    """A change of targets leaves no hole in the slots of unchanged, removed and changed targets."""
    harness = ProberHarness(lambda _: ONE_REPLY)
    harness.prober.set_targets(
        [build_probe_target("stays", slots=12), build_probe_target("goes"), build_probe_target("changes")]
    )
    harness.run_ms(3_400)
    cutover_ns = harness.clock.wall_ns() + 2 * SECOND_MS * MS
    changed = build_probe_target("changes", timeout_ms=3_000, slots=5)
    harness.prober.set_targets(
        [build_probe_target("stays", slots=12), changed, build_probe_target("comes", slots=5)],
        first_slot_at_ns=cutover_ns,
    )

    slots = defaultdict(list)
    for result in harness.run_to_end():
        slots[result.target.name].append(result.slot)

    first = min(slots["stays"])
    assert list(range(first, first + 12)) == sorted(slots["stays"])
    assert list(range(first, first + 11)) == sorted(slots["changes"])
    assert list(range(first, first + 6)) == sorted(slots["goes"])
    assert list(range(first + 6, first + 11)) == sorted(slots["comes"])


def test_drain_stops_sending_and_completes_every_probe() -> None:
    """``drain`` returns after the last timeout, without the wait for late replies."""
    harness = ProberHarness(lambda _: NO_REPLY)
    harness.prober.set_targets([build_probe_target(timeout_ms=2_000)])
    harness.run_ms(3_000)
    sent, start_ns = len(harness.network.sent), harness.clock.monotonic_ns()

    harness.prober.drain()

    assert sent == len(harness.network.sent) == len(harness.results)
    assert {Failure.TIMEOUT} == {result.failure for result in harness.results}
    assert harness.clock.monotonic_ns() - start_ns <= 2_100 * MS


def test_drain_can_be_cut_short() -> None:
    """Probes in flight at the end of ``drain`` are LOCAL_STALL, not loss."""
    harness = ProberHarness(lambda _: NO_REPLY)
    harness.prober.set_targets([build_probe_target(timeout_ms=10_000)])
    harness.run_ms(2_000)

    harness.prober.drain(harness.clock.monotonic_ns() + 100 * MS)

    assert has_finished(harness.prober)
    assert {Failure.LOCAL_STALL} == {result.failure for result in harness.results}


def test_missing_source_address_is_a_send_error() -> None:
    """A socket that cannot be opened gives a send error with its errno, and the next probe tries again."""
    harness = ProberHarness(lambda _: ONE_REPLY)
    attempts = iter([OSError(errno.EADDRNOTAVAIL, "no"), OSError(errno.EADDRNOTAVAIL, "no"), None])

    def open_socket(key: object, cookie: bytes) -> object:
        error = next(attempts)
        if error is not None:
            raise error
        return harness.network

    prober = Prober(clock=harness.clock, rng=make_rng(1), on_result=harness.results.append, open_socket=open_socket)  # type: ignore[arg-type]
    prober.set_targets([build_probe_target(slots=2)])
    prober.run(3_100 * MS)

    assert get_failures(harness.results) == [(Failure.SEND_ERROR, errno.EADDRNOTAVAIL), (None, None)]


def test_same_seed_gives_the_same_schedule() -> None:
    """The send times are reproducible with one seed and differ with another."""
    harnesses = [ProberHarness(lambda _: ONE_REPLY, seed=seed) for seed in (7, 7, 8)]
    first, again, other = (
        [o.sent_at_ns for o in harness.run_targets([build_probe_target(slots=20)])] for harness in harnesses
    )

    assert first == again
    assert first != other


def test_probes_leave_within_a_tick_of_their_due_time() -> None:
    """The schedule does not drift: after 300 slots, a send is in its own slot or at most a tick later."""
    harness = ProberHarness(lambda _: ONE_REPLY)

    results = harness.run_targets([build_probe_target(slots=300)])

    late_ns = [(result.sent_at_ns or 0) - result.slot * 10**9 for result in results]
    assert all(0 <= ns <= 10**9 + 5 * MS + TX_DELAY_NS for ns in late_ns)
    assert harness.prober.counters.lag_ns_max <= 5 * MS


def test_bursts_do_not_overflow_the_queues() -> None:
    """A burst reads timestamps and replies in between, before they overflow a small buffer."""
    harness = ProberHarness(lambda _: ONE_REPLY)
    harness.prober.set_targets([build_probe_target(f"t{number}", slots=2) for number in range(1_000)])
    harness.run_ms(1_000)
    harness.clock.advance(400 * MS)

    harness.run_to_end()

    assert harness.network.unread_count_max <= SENDS_PER_READ


def test_forbidden_address_is_refused() -> None:
    """The policy check runs before the first packet."""
    harness = ProberHarness(lambda _: ONE_REPLY)

    with pytest.raises(ConfigError, match=r"target far: .*224\.0\.0\.5"):
        harness.prober.set_targets([build_probe_target(address="224.0.0.5")])


def test_descriptor_wakes_the_prober() -> None:
    """``run`` returns True early when its descriptor becomes readable."""
    clock = SystemClock()
    prober = Prober(clock=clock, rng=make_rng(1), on_result=lambda _: None)
    reader, writer = os.pipe()
    os.write(writer, b"x")

    is_woken = prober.run(clock.monotonic_ns() + 60 * 10**9, wake_fd=reader)

    os.close(reader)
    os.close(writer)
    assert is_woken


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
def test_every_slot_has_exactly_one_true_result(
    fates: list[Fate], events: list[tuple[str, int, int]], slots: int
) -> None:
    """Each slot has one result under any events on path and host, and every RTT is the true one of the path."""
    harness = ProberHarness(lambda index: fates[index % len(fates)])
    harness.prober.set_targets(
        [
            build_probe_target("one", slots=slots, timeout_ms=1_500),
            build_probe_target("two", "192.0.2.8", slots=slots, interval_ms=500),
        ]
    )
    for event, ms, sign in events:
        if event == "stall":
            harness.clock.advance(ms * MS)
        elif event == "step":
            harness.clock.step(sign * ms * MS)
        elif event == "drop":
            harness.network.dropped += ms
        harness.run_ms(ms)

    results = harness.run_to_end()

    for name in ("one", "two"):
        reported_slots = sorted(result.slot for result in results if result.target.name == name)
        assert list(range(reported_slots[0], reported_slots[0] + slots)) == reported_slots
    true_ns = {
        (sent_ns, min(fates[index % len(fates)].replies_ns, default=0)) for index, _, sent_ns in harness.network.sent
    }
    assert all((result.sent_at_ns, result.rtt_ns) in true_ns for result in results if result.rtt_ns is not None)
    assert all((result.rtt_ns is None) != (result.failure is None) for result in results)
    assert not any(o.failure.is_loss for o in results if o.failure and o.sent_at_ns is None)


def test_missing_reply_on_an_undisturbed_host_is_loss() -> None:
    """Without stalls and clock steps, every missing reply is a timeout."""
    harness = ProberHarness(lambda index: NO_REPLY if index % 3 else ONE_REPLY)

    failures = Counter(result.failure for result in harness.run_targets([build_probe_target(address=TARGET, slots=30)]))

    assert failures == {None: 10, Failure.TIMEOUT: 20}
