"""Readers of fping, ping and CSV files: recorded files and invalid lines."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from leadline.errors import ConfigError
from leadline.model import Failure
from leadline_cli.importers import csv_file, fping, iputils
from leadline_cli.importers.pipeline import ImportFile, ImportFormat, ImportOptions, load_file
from leadline_cli.importers.printed_rtt import build_error_bound, parse_resolution_us, parse_rtt_us
from leadline_cli.importers.samples import Sample, assign_times
from leadline_cli.importers.timestamps import format_timestamp, parse_timestamp_us

#: Output of the real programs on loopback and in network namespaces: fping 5.1, iputils 20221126.
RECORDED = Path(__file__).parent / "recorded"
START = 1_795_327_200_000_000
HEADER = "PING 192.0.2.3 (192.0.2.3) 56(84) bytes of data."


def load_recorded(name: str, **options: object) -> ImportFile:
    """Load a recorded file."""
    kind = ImportFormat(name.partition("_")[0])
    return load_file(RECORDED / f"{name}.txt", ImportOptions(format=kind, **options))  # type: ignore[arg-type]


def count_failures(result: ImportFile) -> dict[Failure, int]:
    """Count each failure in the windows, without unsent slots."""
    counts = Counter(miss.failure for window in result.windows for miss in window.misses)
    return {failure: count for failure, count in counts.items() if failure is not Failure.NOT_SENT}


def list_rtts(result: ImportFile) -> list[int]:
    """Return every RTT in order."""
    return [rtt for window in result.windows for rtt in window.rtt_us if rtt is not None]


def parse_samples(reader: object, *lines: str) -> list[Sample]:
    """Parse lines of one host with times."""
    log = reader.parse_log(lines)  # type: ignore[attr-defined]
    return assign_times(log.runs, None, 1_000_000)


def test_fping_loop_mode() -> None:
    """Two hosts, one down for a second, times out of order: 15 replies and 5 losses, as in the total of fping."""
    result = load_recorded("fping_loop", host="10.66.0.2")

    assert list_rtts(result)[:3] == [119, 48, 64]
    assert (len(list_rtts(result)), count_failures(result)) == (15, {Failure.TIMEOUT: 5})
    assert (result.interval_ms, result.address, result.resolution_us) == (200, "10.66.0.2", 1)


def test_losses_have_their_send_time() -> None:
    """fping prints losses 200 ms after the send, ping never. The number gives the send time."""
    for result in (load_recorded("fping_loop", host="10.66.0.2"), load_recorded("ping_D")):
        replied = [slot for slot, rtt in enumerate(result.windows[0].rtt_us) if rtt is not None]
        lost = [miss.slot for miss in result.windows[0].misses if miss.failure.is_loss]

        assert replied[7] < lost[0] < lost[-1] < replied[8]
        assert lost[-1] - lost[0] == 4


def test_fping_file_with_several_hosts_needs_a_choice() -> None:
    """A missing or unknown host is an error that lists the hosts."""
    for host in (None, "10.66.0.7"):
        with pytest.raises(ConfigError, match=r"^--host: .*10\.66\.0\.2, 10\.66\.0\.3"):
            load_recorded("fping_loop", host=host)


def test_fping_count_mode() -> None:
    """The total equals the lines."""
    assert list_rtts(load_recorded("fping_count")) == [36, 63, 63, 64, 60]


def test_fping_totals_need_start_and_interval() -> None:
    """``-C`` prints no times, so both options are required."""
    with pytest.raises(ConfigError, match=r"^--start: "):
        load_recorded("fping_vcount", host="10.66.0.3", interval_ms=200)
    with pytest.raises(ConfigError, match=r"^--interval: "):
        load_recorded("fping_vcount", host="10.66.0.3", start_us=START)

    result = load_recorded("fping_vcount", host="10.66.0.3", start_us=START, interval_ms=200)
    lost = load_recorded("fping_vcount", host="10.66.0.9", start_us=START, interval_ms=200)

    assert result.windows[0].rtt_us[:6] == (35, 56, 56, 77, 45, None)
    assert count_failures(lost) == {Failure.TIMEOUT: 5}
    assert any("--start" in note for note in result.notes)


def test_fping_without_replies_needs_a_start() -> None:
    """Its times are those of the timeout, and the file does not contain the timeout."""
    with pytest.raises(ConfigError, match="the file has no times"):
        load_recorded("fping_unreachable", host="10.66.0.9")

    result = load_recorded("fping_unreachable", host="10.66.0.9", start_us=START, interval_ms=500)

    assert count_failures(result) == {Failure.TIMEOUT: 4}


@pytest.mark.parametrize("name", ["ping_D", "ping_D_O"])
def test_ping_with_an_outage(name: str) -> None:
    """Missing numbers are lost, with or without "no answer yet" in the output."""
    result = load_recorded(name)

    assert (len(list_rtts(result)), count_failures(result)) == (15, {Failure.TIMEOUT: 5})
    assert (result.period_us or 0) // 1_000 == 204


def test_second_reply_is_a_duplicate() -> None:
    """For a broadcast, ping prints no DUP!; its total has +3."""
    result = load_recorded("ping_dup")

    assert list_rtts(result) == [55, 60, 49, 50]
    assert sum(window.duplicates for window in result.windows) == 3


def test_ping_ipv6() -> None:
    """The first line has a different format."""
    assert (load_recorded("ping_6").address, list_rtts(load_recorded("ping_6"))) == ("::1", [26, 38, 32])


def test_icmp_errors_are_losses_with_their_code() -> None:
    """Destination Host Unreachable is type 3 code 1. The last probe without a reply is not measured."""
    hosts = load_recorded("ping_unreachable", start_us=START)
    nets = load_recorded("ping_net_unreachable", start_us=START)

    assert count_failures(hosts) == {Failure.UNREACHABLE: 6}
    assert {miss.detail for miss in hosts.windows[0].misses} == {None, 3 * 256 + 1}
    assert count_failures(nets) == {Failure.UNREACHABLE: 2}
    assert any("last probe" in note for note in nets.notes)


def test_ping_without_times_counts_from_the_start() -> None:
    """The default interval of a second is an assumption, so a note reports it."""
    result = load_recorded("ping_plain", start_us=START)

    assert result.windows[0].rtt_us[:6] == (91, 57, 36, 51, 47, None)
    assert any("1000 ms, the default" in note for note in result.notes)


def test_ping_with_short_payload_has_no_times() -> None:
    """A payload below 16 bytes has no space for the send time."""
    with pytest.raises(ConfigError, match=r"ping_short\.txt, line 2: has no time"):
        load_recorded("ping_short")


def test_start_for_a_file_with_times_is_refused() -> None:
    """The two times could contradict each other."""
    with pytest.raises(ConfigError, match="the file has its own times"):
        load_recorded("ping_D", start_us=START)


def test_sequence_number_wraps_after_65535() -> None:
    """icmp_seq has 16 bits: 0 follows 65535, and a late reply may have a number before the wrap."""
    lines = [HEADER] + [
        f"[{1_795_327_200 + at}.010000] 64 bytes from 192.0.2.3: icmp_seq={seq} ttl=64 time=10.0 ms"
        for at, seq in ((0, 1), (1, 2), (60_000, 60_001), (65_534, 65_535), (65_536, 1), (65_535, 0), (65_537, 2))
    ]

    result = {sample.at_us // 1_000_000 - 1_795_327_200: sample.rtt_us for sample in parse_samples(iputils, *lines)}

    assert [at for at, rtt in result.items() if rtt is not None] == [0, 1, 60_000, 65_534, 65_535, 65_536, 65_537]
    assert len(result) == 65_538


def test_pause_with_possible_wraparound_is_refused() -> None:
    """After a day without a reply, 86,400 lost probes would look like 20,864."""
    lines = [
        f"[{1_795_327_200 + at}] 64 bytes from 192.0.2.3: icmp_seq={(at + 1) % 65_536} ttl=64 time=0 ms"
        for at in (0, 1, 2, 86_402)
    ]

    with pytest.raises(ConfigError, match="line 5: follows a pause"):
        parse_samples(iputils, HEADER, *lines)


def test_reply_after_no_answer_yet_counts() -> None:
    """A later reply replaces "no answer yet"."""
    result = parse_samples(
        iputils,
        HEADER,
        "[1795327200.004] 64 bytes from 192.0.2.3: icmp_seq=1 ttl=64 time=4.00 ms",
        "[1795327202.000] no answer yet for icmp_seq=2",
        "[1795327202.200] 64 bytes from 192.0.2.3: icmp_seq=2 ttl=64 time=1200 ms",
    )

    assert [(sample.at_us - START, sample.rtt_us) for sample in result] == [(0, 4_010), (1_000_000, 1_201_000)]


def test_icmp_error_replaces_no_answer_yet() -> None:
    """The order of the two lines does not matter."""
    result = parse_samples(
        iputils,
        HEADER,
        "[1795327200] 64 bytes from 192.0.2.3: icmp_seq=1 ttl=64 time=0 ms",
        "[1795327202] no answer yet for icmp_seq=2",
        "[1795327202] From 192.0.2.1 icmp_seq=2 Packet filtered",
        "[1795327203] From 192.0.2.1 icmp_seq=3 Time to live exceeded",
        "[1795327204] no answer yet for icmp_seq=3",
        "[1795327203] 64 bytes from 192.0.2.3: icmp_seq=4 ttl=64 time=0 ms",
    )

    assert [sample.detail for sample in result] == [None, 3 * 256 + 13, 11 * 256, None]


def test_stalled_program_lost_nothing_during_the_stall() -> None:
    """A lost probe is one period after the one before, not in the middle of an hour of suspension."""
    result = parse_samples(
        iputils,
        HEADER,
        *(f"[{1795327200 + at}] 64 bytes from 192.0.2.3: icmp_seq={at + 1} ttl=64 time=0 ms" for at in range(5)),
        "[1795330800] 64 bytes from 192.0.2.3: icmp_seq=7 ttl=64 time=0 ms",
    )

    assert result[5] == Sample(START + 5_000_000, None, Failure.TIMEOUT)


def test_several_runs_in_one_file() -> None:
    """A PING line or a repeated number of fping starts a new run. Nothing was sent between runs."""
    pings = parse_samples(
        iputils, HEADER, "[1795327200] 64 bytes from 192.0.2.3: icmp_seq=1 ttl=64 time=0 ms",
        HEADER, "[1795327300] 64 bytes from 192.0.2.3: icmp_seq=1 ttl=64 time=0 ms",
    )  # fmt: skip
    fpings = parse_samples(
        fping, "[1795327200] a : [0], 64 bytes, 0 ms (0 avg, 0% loss)", "[1795327300] a : [0], 64 bytes, 0 ms (0 avg)"
    )

    assert [sample.at_us - START for sample in pings] == [sample.at_us - START for sample in fpings] == [0, 100_000_000]


@pytest.mark.parametrize(
    ("reader", "lines", "problem"),
    [
        (iputils, ["PING a (192.0.2.3): 56 data bytes"], "line 1: ping of BSD"),
        (iputils, [HEADER, "Request timeout for icmp_seq 3"], "line 2: ping of BSD"),
        (iputils, ["64 bytes from 192.0.2.3: seq=0 ttl=64 time=0.1 ms"], "line 1: ping of BSD, macOS or busybox"),
        (iputils, ["Pinging 192.0.2.3 with 32 bytes of data:"], "line 1: ping of Windows"),
        (iputils, [HEADER, "what\x1b is this"], r"line 2: is not output of ping .* 'what\? is this'"),
        (iputils, [HEADER, "From 192.0.2.1 icmp_seq=1 Something new"], "line 2: is not output"),
        (iputils, ["no answer yet for icmp_seq=2"], "line 1: is before the first reply"),
        (
            iputils,
            [HEADER, "2 packets transmitted, 2 received, 0% packet loss, time 1ms"],
            "line 2: ping counted 2 replies, but the file has 0",
        ),
        (fping, ['{"resp": {"host": "a"}}'], "line 1: is JSON of fping"),
        (fping, ["192.0.2.3 is alive"], "line 1: is not output of fping"),
        (fping, ["a : duplicate for [3], 64 bytes, 1.0 ms"], "line 1: reports a duplicate"),
        (fping, ["a : xmt/rcv/%loss = 5/5/0%, min/avg/max = 0.1/0.1/0.1"], "contains only totals"),
        (
            fping,
            ["[1] a : [0], 64 bytes, 1.0 ms (1.0 avg, 0% loss)", "a : xmt/rcv/%loss = 2/2/0%, min/avg/max = 1/1/1"],
            "line 2: fping counted 2 replies, but the file has 1",
        ),
    ],
)
def test_unknown_line_is_an_error(reader: object, lines: list[str], problem: str) -> None:
    """The error has the line number. No possible measurement is ignored."""
    with pytest.raises(ConfigError, match=problem):
        reader.parse_log(lines)  # type: ignore[attr-defined]


def test_fping_probes_without_a_line_give_a_note() -> None:
    """They are not lost, because fping prints a line for every loss. They reduce coverage."""
    log = fping.parse_log(
        ["[1] a : [0], 64 bytes, 1.0 ms (1.0 avg)", "[3] a : [2], timed out", "", "a : xmt/rcv/%loss = 4/1/75%"]
    )

    assert sorted(log.runs[0].probes) == [0, 2]
    assert log.runs[0].notes[0].startswith("2 probes have no line")


def test_rtts_are_rounded_up_and_have_a_resolution() -> None:
    """Any fraction of a microsecond rounds up."""
    assert [parse_rtt_us(text) for text in ("1.23", "0.0001", "12.3", "150", "1e+3")] == [
        1_230,
        1,
        12_300,
        150_000,
        1_000_000,
    ]
    assert [parse_resolution_us(text) for text in ("1.234", "1.23", "12.3", "150")] == [1, 10, 100, 1_000]


def test_reply_after_more_than_a_minute_is_a_loss() -> None:
    """It is beyond any timeout (RFC 6703)."""
    result = parse_samples(
        fping, "[1795327290] a : [0], 64 bytes, 61000 ms (1 avg)", "[1795327290] a : [1], 64 bytes, 1 ms ()"
    )

    assert result[0] == Sample(START + 29_000_000, None, Failure.TIMEOUT)


def test_csv_units_and_time_formats() -> None:
    """Milliseconds or microseconds, epoch seconds or ISO 8601. An empty RTT is a loss."""
    samples_ms = csv_file.parse_csv(["t,rtt_ms", "1795327200.5,4.900", "1795327201.5,"]).samples
    samples_us = csv_file.parse_csv(
        [
            "\ufeffT,rtt_us,failure,detail",
            "2026-11-22T07:00:01.5+01:00,,unreachable,769",
            "2026-11-22T06:00:00.5Z,4900,,",
        ]
    ).samples

    exact = build_error_bound(1, 1)
    assert samples_ms == [Sample(START + 500_000, 4_900, error=exact), Sample(START + 1_500_000, None, Failure.TIMEOUT)]
    assert samples_us == [samples_ms[0], Sample(START + 1_500_000, None, Failure.UNREACHABLE, 769)]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "line 1: must contain the column names"),
        (["t,rtt_ms"], "FILE: contains no probes"),
        (["time,rtt"], "line 1: must contain the column names"),
        (["t,rtt_ms,rtt_us"], "line 1: must contain the column names"),
        (["t,rtt_ms", "1,2,3"], "line 2: has 3 values for 2 columns"),
        (["t,rtt_ms", "1,-2"], "line 2: rtt_ms: '-2' is not a number"),
        (["t,rtt_ms", "1,nan"], "line 2: rtt_ms: 'nan'"),
        (["t,rtt_ms", "1,0"], "line 2: rtt_ms: '0' is outside 0 to 60 s"),
        (["t,rtt_ms", "1,60000.1"], "line 2: rtt_ms: '60000.1' is outside 0 to 60 s"),
        (["t,rtt_us", "1,abc"], "line 2: rtt_us: 'abc'"),
        (["t,rtt_ms", "yesterday,1"], "line 2: 'yesterday' is not a time"),
        (["t,rtt_ms", "2026-11-22T06:00:00,1"], "line 2: .* has no time zone"),
        (["t,rtt_ms", "1795327200000,1"], "line 2: t: .* is it in seconds"),
        (["t,rtt_ms,failure", "1,,lost"], "line 2: failure: 'lost' is not one of timeout"),
        (["t,rtt_ms,failure", "1,5,timeout"], "line 2: failure: 'timeout' in a row with an RTT"),
        (["t,rtt_ms,failure", "1,,late"], "line 2: late requires a detail"),
        (["t,rtt_ms,detail", "1,5,7"], "line 2: detail: 7 in a row with an RTT"),
        (["t,rtt_ms,detail", "1,,x"], "line 2: detail: 'x'"),
        (["t,rtt_ms", "2,1", "1,1", "2,1"], "line 4: has the same time as line 2"),
        (["t,rtt_ms", '1,"'], "line 2: is not valid CSV"),
    ],
)
def test_csv_with_an_error_is_refused(lines: list[str], problem: str) -> None:
    """The error has the line and the value."""
    with pytest.raises(ConfigError, match=problem):
        csv_file.parse_csv(lines)


def test_times_are_exact_to_the_microsecond() -> None:
    """They are formatted in UTC."""
    assert (
        parse_timestamp_us("1795327200.123456") == parse_timestamp_us("2026-11-22T06:00:00.123456Z") == START + 123_456
    )
    assert format_timestamp(START + 123_456) == "2026-11-22 06:00:00.123 UTC"
