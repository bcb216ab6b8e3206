"""What fping, ping and CSV files say, read as samples: recorded files, and lines that are wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from leadline.errors import ConfigError
from leadline.model import Failure
from leadline_cli.importers import csv_file, fping, iputils
from leadline_cli.importers.pipeline import ImportFile, ImportFormat, ImportOptions, load_file
from leadline_cli.importers.samples import Sample, assign_times, parse_resolution_us, parse_rtt_us
from leadline_cli.importers.timestamps import format_timestamp, parse_timestamp_us

#: What the real programs printed on loopback and in network namespaces: fping 5.1, iputils 20221126.
RECORDED = Path(__file__).parent / "recorded"
START = 1_795_327_200_000_000
HEAD = "PING 192.0.2.3 (192.0.2.3) 56(84) bytes of data."


def recorded(name: str, **choices: object) -> ImportFile:
    """A recorded file, cut into windows."""
    kind = ImportFormat(name.partition("_")[0])
    return load_file(RECORDED / f"{name}.txt", ImportOptions(format=kind, **choices))  # type: ignore[arg-type]


def failures(found: ImportFile) -> dict[Failure, int]:
    """How often each failure is in the windows, unsent slots left out."""
    counts = Counter(miss.failure for window in found.windows for miss in window.misses)
    return {failure: count for failure, count in counts.items() if failure is not Failure.NOT_SENT}


def rtts(found: ImportFile) -> list[int]:
    """Every RTT in order."""
    return [rtt for window in found.windows for rtt in window.rtt_us if rtt is not None]


def samples_of(reader: object, *lines: str) -> list[Sample]:
    """The samples of lines about one host that have times."""
    reading = reader.parse_log(lines)  # type: ignore[attr-defined]
    return assign_times(reading.runs, None, 1_000_000)


def test_fping_in_a_loop() -> None:
    """Lines of two hosts, one away for a second, times out of order: 15 replies and 5 losses, as its own total says."""
    found = recorded("fping_loop", host="10.66.0.2")

    assert rtts(found)[:3] == [118, 47, 63]
    assert (len(rtts(found)), failures(found)) == (15, {Failure.TIMEOUT: 5})
    assert (found.interval_ms, found.address, found.resolution_us) == (200, "10.66.0.2", 1)


def test_the_losses_stand_where_they_were_sent() -> None:
    """fping prints them 200 ms later than it sent them, and ping not at all: the number says when."""
    for found in (recorded("fping_loop", host="10.66.0.2"), recorded("ping_D")):
        heard = [slot for slot, rtt in enumerate(found.windows[0].rtt_us) if rtt is not None]
        lost = [miss.slot for miss in found.windows[0].misses if miss.failure.is_loss]

        assert heard[7] < lost[0] < lost[-1] < heard[8]
        assert lost[-1] - lost[0] == 4


def test_fping_tells_hosts_apart() -> None:
    """Several hosts in a file are a question, a host that is not in it too; both answers name them."""
    for host in (None, "10.66.0.7"):
        with pytest.raises(ConfigError, match=r"^--host: .*10\.66\.0\.2, 10\.66\.0\.3"):
            recorded("fping_loop", host=host)


def test_fping_in_count_mode() -> None:
    """The total agrees with the lines."""
    assert rtts(recorded("fping_count")) == [35, 62, 62, 63, 59]


def test_fping_totals_of_a_count_need_start_and_interval() -> None:
    """``-C`` prints no times: without them there is nothing to import."""
    with pytest.raises(ConfigError, match=r"^--start: "):
        recorded("fping_vcount", host="10.66.0.3", interval_ms=200)
    with pytest.raises(ConfigError, match=r"^--interval: "):
        recorded("fping_vcount", host="10.66.0.3", start_us=START)

    found = recorded("fping_vcount", host="10.66.0.3", start_us=START, interval_ms=200)
    lost = recorded("fping_vcount", host="10.66.0.9", start_us=START, interval_ms=200)

    assert found.windows[0].rtt_us[:6] == (34, 55, 55, 76, 44, None)
    assert failures(lost) == {Failure.TIMEOUT: 5}
    assert any("--start" in note for note in found.notes)


def test_fping_without_a_single_reply_needs_a_start() -> None:
    """Its stamps are those of giving up, and how long it waited is not in the file."""
    with pytest.raises(ConfigError, match="no reply in the file has a time"):
        recorded("fping_unreachable", host="10.66.0.9")

    found = recorded("fping_unreachable", host="10.66.0.9", start_us=START, interval_ms=500)

    assert failures(found) == {Failure.TIMEOUT: 4}


@pytest.mark.parametrize("name", ["ping_D", "ping_D_O"])
def test_ping_with_an_outage(name: str) -> None:
    """Numbers that are missing are lost, whether ping says "no answer yet" or nothing."""
    found = recorded(name)

    assert (len(rtts(found)), failures(found)) == (15, {Failure.TIMEOUT: 5})
    assert (found.period_us or 0) // 1_000 == 204


def test_a_second_reply_is_a_duplicate() -> None:
    """To a broadcast, ping does not even write DUP!; its total says +3."""
    found = recorded("ping_dup")

    assert rtts(found) == [54, 59, 48, 49]
    assert sum(window.duplicates for window in found.windows) == 3


def test_ping_of_ipv6() -> None:
    """Its first line is written otherwise."""
    assert (recorded("ping_6").address, rtts(recorded("ping_6"))) == ("::1", [25, 37, 31])


def test_icmp_errors_are_losses_with_their_code() -> None:
    """Destination Host Unreachable is type 3 code 1; the last probe, of which ping heard nothing, is left out."""
    hosts = recorded("ping_unreachable", start_us=START)
    nets = recorded("ping_net_unreachable", start_us=START)

    assert failures(hosts) == {Failure.UNREACHABLE: 6}
    assert {miss.detail for miss in hosts.windows[0].misses} == {None, 3 * 256 + 1}
    assert failures(nets) == {Failure.UNREACHABLE: 2}
    assert any("last probe" in note for note in nets.notes)


def test_ping_without_times_is_placed_from_its_start() -> None:
    """One a second unless the user says otherwise; that is said, because it is assumed."""
    found = recorded("ping_plain", start_us=START)

    assert found.windows[0].rtt_us[:6] == (90, 56, 35, 50, 46, None)
    assert any("1000 ms, the default" in note for note in found.notes)


def test_ping_with_a_short_payload_measures_nothing() -> None:
    """Below 16 bytes there is no room for the time of sending."""
    with pytest.raises(ConfigError, match=r"ping_short\.txt, line 2: has no time"):
        recorded("ping_short")


def test_a_start_for_a_file_with_times_is_refused() -> None:
    """Which of them should be believed?"""
    with pytest.raises(ConfigError, match="times of its own"):
        recorded("ping_D", start_us=START)


def test_the_number_of_a_probe_goes_on_after_65535() -> None:
    """icmp_seq has 16 bits; 65535 is followed by 0, and a late reply goes back over the border."""
    lines = [HEAD] + [
        f"[{1_795_327_200 + at}.010000] 64 bytes from 192.0.2.3: icmp_seq={seq} ttl=64 time=10.0 ms"
        for at, seq in ((0, 1), (1, 2), (60_000, 60_001), (65_534, 65_535), (65_536, 1), (65_535, 0), (65_537, 2))
    ]

    found = {one.at_us // 1_000_000 - 1_795_327_200: one.rtt_us for one in samples_of(iputils, *lines)}

    assert [at for at, rtt in found.items() if rtt is not None] == [0, 1, 60_000, 65_534, 65_535, 65_536, 65_537]
    assert len(found) == 65_538


def test_a_silence_in_which_the_numbers_went_round_is_refused() -> None:
    """A day without a reply: 86,400 lost would look like 20,864."""
    lines = [
        f"[{1_795_327_200 + at}] 64 bytes from 192.0.2.3: icmp_seq={(at + 1) % 65_536} ttl=64 time=0 ms"
        for at in (0, 1, 2, 86_402)
    ]

    with pytest.raises(ConfigError, match="line 5: comes after a silence"):
        samples_of(iputils, HEAD, *lines)


def test_what_was_said_to_be_late_may_still_come() -> None:
    """A reply after "no answer yet" is a reply."""
    found = samples_of(
        iputils,
        HEAD,
        "[1795327200.004] 64 bytes from 192.0.2.3: icmp_seq=1 ttl=64 time=4.00 ms",
        "[1795327202.000] no answer yet for icmp_seq=2",
        "[1795327202.200] 64 bytes from 192.0.2.3: icmp_seq=2 ttl=64 time=1200 ms",
    )

    assert [(one.at_us - START, one.rtt_us) for one in found] == [(0, 4_000), (1_000_000, 1_200_000)]


def test_an_icmp_error_says_more_than_no_answer() -> None:
    """In whichever order they come."""
    found = samples_of(
        iputils,
        HEAD,
        "[1795327200] 64 bytes from 192.0.2.3: icmp_seq=1 ttl=64 time=0 ms",
        "[1795327202] no answer yet for icmp_seq=2",
        "[1795327202] From 192.0.2.1 icmp_seq=2 Packet filtered",
        "[1795327203] From 192.0.2.1 icmp_seq=3 Time to live exceeded",
        "[1795327204] no answer yet for icmp_seq=3",
        "[1795327203] 64 bytes from 192.0.2.3: icmp_seq=4 ttl=64 time=0 ms",
    )

    assert [one.detail for one in found] == [None, 3 * 256 + 13, 11 * 256, None]


def test_a_program_that_stood_still_lost_nothing_meanwhile() -> None:
    """A lost number is placed a period after the one before, not in the middle of an hour of suspension."""
    found = samples_of(
        iputils,
        HEAD,
        *(f"[{1795327200 + at}] 64 bytes from 192.0.2.3: icmp_seq={at + 1} ttl=64 time=0 ms" for at in range(5)),
        "[1795330800] 64 bytes from 192.0.2.3: icmp_seq=7 ttl=64 time=0 ms",
    )

    assert found[5] == Sample(START + 5_000_000, None, Failure.TIMEOUT)


def test_runs_that_follow_each_other_in_a_file() -> None:
    """Each PING line, and each number of fping that comes again, begins anew; what is between them was not sent."""
    pings = samples_of(
        iputils, HEAD, "[1795327200] 64 bytes from 192.0.2.3: icmp_seq=1 ttl=64 time=0 ms",
        HEAD, "[1795327300] 64 bytes from 192.0.2.3: icmp_seq=1 ttl=64 time=0 ms",
    )  # fmt: skip
    fpings = samples_of(
        fping, "[1795327200] a : [0], 64 bytes, 0 ms (0 avg, 0% loss)", "[1795327300] a : [0], 64 bytes, 0 ms (0 avg)"
    )

    assert [one.at_us - START for one in pings] == [one.at_us - START for one in fpings] == [0, 100_000_000]


@pytest.mark.parametrize(
    ("reader", "lines", "problem"),
    [
        (iputils, ["PING a (192.0.2.3): 56 data bytes"], "line 1: ping of BSD"),
        (iputils, [HEAD, "Request timeout for icmp_seq 3"], "line 2: ping of BSD"),
        (iputils, ["64 bytes from 192.0.2.3: seq=0 ttl=64 time=0.1 ms"], "line 1: ping of BSD, macOS or busybox"),
        (iputils, ["Pinging 192.0.2.3 with 32 bytes of data:"], "line 1: ping of Windows"),
        (iputils, [HEAD, "what\x1b is this"], r"line 2: is no output of ping .* 'what\? is this'"),
        (iputils, [HEAD, "From 192.0.2.1 icmp_seq=1 Something new"], "line 2: is no output"),
        (iputils, ["no answer yet for icmp_seq=2"], "line 1: comes before"),
        (
            iputils,
            [HEAD, "2 packets transmitted, 2 received, 0% packet loss, time 1ms"],
            "line 2: ping counted 2 replies and the file has 0",
        ),
        (fping, ['{"resp": {"host": "a"}}'], "line 1: is the JSON of fping"),
        (fping, ["192.0.2.3 is alive"], "line 1: is no output of fping"),
        (fping, ["a : duplicate for [3], 64 bytes, 1.0 ms"], "line 1: tells a duplicate"),
        (fping, ["a : xmt/rcv/%loss = 5/5/0%, min/avg/max = 0.1/0.1/0.1"], "has only totals"),
        (
            fping,
            ["[1] a : [0], 64 bytes, 1.0 ms (1.0 avg, 0% loss)", "a : xmt/rcv/%loss = 2/2/0%, min/avg/max = 1/1/1"],
            "line 2: fping counted 2 replies and the file has 1",
        ),
    ],
)
def test_what_is_not_understood_is_an_error(reader: object, lines: list[str], problem: str) -> None:
    """With the line; nothing is passed over that might have been a measurement."""
    with pytest.raises(ConfigError, match=problem):
        reader.parse_log(lines)  # type: ignore[attr-defined]


def test_probes_of_fping_without_a_line_are_told() -> None:
    """They are not lost: fping prints a line for every loss. So they lower coverage, and a note says so."""
    reading = fping.parse_log(
        ["[1] a : [0], 64 bytes, 1.0 ms (1.0 avg)", "[3] a : [2], timed out", "", "a : xmt/rcv/%loss = 4/1/75%"]
    )

    assert sorted(reading.runs[0].probes) == [0, 2]
    assert reading.runs[0].notes[0].startswith("2 probes have no line")


def test_rtts_are_rounded_up_and_their_step_is_known() -> None:
    """A tenth of a microsecond more is the next one."""
    assert [parse_rtt_us(text) for text in ("1.23", "0.0001", "12.3", "150", "1e+3")] == [
        1_230,
        1,
        12_300,
        150_000,
        1_000_000,
    ]
    assert [parse_resolution_us(text) for text in ("1.234", "1.23", "12.3", "150")] == [1, 10, 100, 1_000]


def test_a_reply_after_more_than_a_minute_is_a_loss() -> None:
    """It is beyond every timeout (RFC 6703)."""
    found = samples_of(
        fping, "[1795327290] a : [0], 64 bytes, 61000 ms (1 avg)", "[1795327290] a : [1], 64 bytes, 1 ms ()"
    )

    assert found[0] == Sample(START + 29_000_000, None, Failure.TIMEOUT)


def test_csv_of_both_units_and_times() -> None:
    """Milliseconds or microseconds; epoch seconds or ISO 8601; an empty RTT is lost."""
    milliseconds = csv_file.parse_csv(["t,rtt_ms", "1795327200.5,4.9", "1795327201.5,"])
    microseconds = csv_file.parse_csv(
        [
            "\ufeffT,rtt_us,failure,detail",
            "2026-11-22T07:00:01.5+01:00,,unreachable,769",
            "2026-11-22T06:00:00.5Z,4900,,",
        ]
    )

    assert milliseconds == [Sample(START + 500_000, 4_900), Sample(START + 1_500_000, None, Failure.TIMEOUT)]
    assert microseconds == [milliseconds[0], Sample(START + 1_500_000, None, Failure.UNREACHABLE, 769)]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "line 1: has to name the columns"),
        (["t,rtt_ms"], "FILE: has no probes"),
        (["time,rtt"], "line 1: has to name the columns"),
        (["t,rtt_ms,rtt_us"], "line 1: has to name the columns"),
        (["t,rtt_ms", "1,2,3"], "line 2: has 3 values for 2 columns"),
        (["t,rtt_ms", "1,-2"], "line 2: rtt_ms: '-2' is not a number"),
        (["t,rtt_ms", "1,nan"], "line 2: rtt_ms: 'nan'"),
        (["t,rtt_ms", "1,0"], "line 2: rtt_ms: '0' is no round trip"),
        (["t,rtt_ms", "1,60000.1"], "line 2: rtt_ms: '60000.1' is no round trip"),
        (["t,rtt_us", "1,abc"], "line 2: rtt_us: 'abc'"),
        (["t,rtt_ms", "yesterday,1"], "line 2: 'yesterday' is not a time"),
        (["t,rtt_ms", "2026-11-22T06:00:00,1"], "line 2: .* does not say its zone"),
        (["t,rtt_ms", "1795327200000,1"], "line 2: t: .* is it in seconds"),
        (["t,rtt_ms,failure", "1,,lost"], "line 2: failure: 'lost' is none of timeout"),
        (["t,rtt_ms,failure", "1,5,timeout"], "line 2: failure: 'timeout' in a row with an RTT"),
        (["t,rtt_ms,failure", "1,,late"], "line 2: late requires a detail"),
        (["t,rtt_ms,detail", "1,5,7"], "line 2: detail: 7 belongs to a failure"),
        (["t,rtt_ms,detail", "1,,x"], "line 2: detail: 'x'"),
        (["t,rtt_ms", "2,1", "1,1", "2,1"], "line 4: has the same time as line 2"),
        (["t,rtt_ms", '1,"'], "line 2: is no CSV"),
    ],
)
def test_a_csv_with_an_error_is_refused(lines: list[str], problem: str) -> None:
    """With the line and the value."""
    with pytest.raises(ConfigError, match=problem):
        csv_file.parse_csv(lines)


def test_moments_are_read_to_the_microsecond() -> None:
    """And written in UTC."""
    assert (
        parse_timestamp_us("1795327200.123456") == parse_timestamp_us("2026-11-22T06:00:00.123456Z") == START + 123_456
    )
    assert format_timestamp(START + 123_456) == "2026-11-22 06:00:00.123 UTC"
