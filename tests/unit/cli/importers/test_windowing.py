"""Samples into windows, and back: what goes in as text comes out as the same samples."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.errors import ConfigError
from leadline.model import Failure, Window
from leadline.wire import batch as wire
from leadline_cli.importers import csv_file, fping, iputils, windowing
from leadline_cli.importers.batches import build_batches, derive_epoch
from leadline_cli.importers.pipeline import ImportFile, ImportFormat
from leadline_cli.importers.samples import Sample, assign_times

START = 1_795_327_200_000_000

#: RTTs as fping and ping print them: three digits that say something.
printed = st.integers(1, 9_999).map(lambda us: us if us < 1_000 else us // 10 * 10)
outcomes = st.lists(st.none() | printed, min_size=2, max_size=150).filter(lambda all_: all_[0] and all_[-1])
offsets = st.integers(0, 119_999_999)


def at(number: int, offset_us: int) -> int:
    """When a probe of one a second was sent."""
    return START + offset_us + number * 1_000_000


def stamp(us: int) -> str:
    """As ping prints it; fping rounds to 10 µs."""
    return f"[{us // 1_000_000}.{us % 1_000_000:06d}]"


def as_fping(rtts: list[int | None], offset_us: int) -> list[str]:
    """The lines of ``fping -D -l``: a loss is told a second later."""
    lines = []
    for number, rtt in enumerate(rtts):
        said = f"[{number}], timed out (1.0 avg, 5% loss)"
        if rtt is not None:
            said = f"[{number}], 64 bytes, {rtt / 1_000:.3f} ms (1.0 avg, 5% loss)"
        lines.append(f"{stamp(at(number, offset_us) + (rtt or 1_000_000))} 192.0.2.3 : {said}\n")
    return lines


def as_ping(rtts: list[int | None], offset_us: int, *, tells: bool) -> list[str]:
    """The lines of ``ping -D``, with ``-O`` if it tells of what did not come."""
    lines = ["PING ams1 (192.0.2.3) 56(84) bytes of data.\n"]
    for number, rtt in enumerate(rtts):
        if rtt is not None:
            said = f"64 bytes from 192.0.2.3: icmp_seq={number + 1} ttl=60 time={rtt / 1_000:.3f} ms"
            lines.append(f"{stamp(at(number, offset_us) + rtt)} {said}\n")
        elif tells:
            lines.append(f"{stamp(at(number + 1, offset_us))} no answer yet for icmp_seq={number + 1}\n")
    received = sum(rtt is not None for rtt in rtts)
    return [*lines, "\n", f"{len(rtts)} packets transmitted, {received} received, 3% packet loss, time 1ms\n"]


def as_csv(rtts: list[int | None], offset_us: int, unit: str) -> list[str]:
    """A table of them."""
    values = [rtt if unit == "us" or rtt is None else rtt / 1_000 for rtt in rtts]
    rows = (f"{at(n, offset_us) / 1e6:.6f},{'' if value is None else value}\n" for n, value in enumerate(values))
    return [f"t,rtt_{unit}\n", *rows]


def expected(rtts: list[int | None], offset_us: int) -> list[Sample]:
    """What has to come out."""
    return [
        Sample(at(number, offset_us), rtt, None if rtt is not None else Failure.TIMEOUT)
        for number, rtt in enumerate(rtts)
    ]


@given(rtts=outcomes, offset_us=offsets, tells=st.booleans())
def test_what_a_program_printed_comes_out_again(rtts: list[int | None], offset_us: int, tells: bool) -> None:
    """From fping, from ping with and without -O, from both kinds of CSV: the same samples at the same times."""
    wanted = expected(rtts, offset_us)

    assert assign_times(fping.parse_log(as_fping(rtts, offset_us)).runs, None, None) == wanted
    assert assign_times(iputils.parse_log(as_ping(rtts, offset_us, tells=tells)).runs, None, None) == wanted
    for unit in ("us", "ms"):
        assert csv_file.parse_csv(as_csv(rtts, offset_us, unit)) == wanted


@given(rtts=outcomes, offset_us=offsets)
def test_windows_hold_every_sample_once(rtts: list[int | None], offset_us: int) -> None:
    """In order, each loss too, and every other slot is one that was not sent."""
    samples = expected(rtts, offset_us)

    ms = windowing.choose_interval_ms(samples, None)
    found = windowing.build_windows(samples, ms)

    assert ms == 1_000
    assert measured(found) == [one.rtt_us for one in samples]
    assert [one.start_s for one in found] == sorted({one.at_us // 60_000_000 * 60 for one in samples})


def measured(windows: list[Window]) -> list[int | None]:
    """What was sent, in order of slot."""
    result: list[int | None] = []
    for window in windows:
        unsent = {miss.slot for miss in window.misses if miss.failure is Failure.NOT_SENT}
        result += [rtt for slot, rtt in enumerate(window.rtt_us) if slot not in unsent]
    return result


@given(
    steps=st.lists(st.integers(985_000, 1_030_000), min_size=1, max_size=200),
    offset_us=offsets,
)
def test_jitter_and_drift_lose_no_sample(steps: list[int], offset_us: int) -> None:
    """ping sends every 1.001 to 1.03 s: some slot stays empty, but no probe is dropped or put far from its time."""
    times = list(accumulate(steps, initial=START + offset_us))
    samples = [Sample(one, 5_000) for one in times]

    try:
        ms = windowing.choose_interval_ms(samples, None)
    except ConfigError as error:
        pytest.fail(str(error))
    windows = windowing.build_windows(samples, ms)

    slots = [
        one.start_s * 1_000 + slot * ms for one in windows for slot, rtt in enumerate(one.rtt_us) if rtt is not None
    ]
    assert len(slots) == len(times)
    assert all(-ms < slot - time / 1_000 <= ms for slot, time in zip(slots, times, strict=True))


@pytest.mark.parametrize(
    ("period_us", "ms"),
    [(200_000, 200), (204_000, 200), (990_000, 1_000), (1_000_500, 1_000), (7_000_000, 6_000), (300_000_000, 60_000)],
)
def test_the_interval_is_the_longest_that_fits(period_us: int, ms: int) -> None:
    """A probe every five minutes has a slot a minute, in the minutes that have one."""
    samples = [Sample(START + number * period_us, 5_000) for number in range(40)]

    assert windowing.choose_interval_ms(samples, None) == ms


def test_an_interval_that_is_too_long_is_refused() -> None:
    """Two probes in a slot: one of them would have to be thrown away."""
    samples = [Sample(START + number * 200_000, 5_000) for number in range(40)]

    with pytest.raises(ConfigError, match=r"^--interval: at 2026-11-22 06:00:00\.400 UTC there are more probes"):
        windowing.choose_interval_ms(samples, 1_000)
    with pytest.raises(ConfigError, match="does not divide a minute"):
        windowing.choose_interval_ms(samples, 700)
    assert windowing.choose_interval_ms(samples, 100) == 100


def test_a_clock_that_went_back_is_refused() -> None:
    """Which of the two minutes it was, nobody knows."""
    with pytest.raises(ConfigError, match="the clock went back"):
        windowing.choose_interval_ms([Sample(START + 5_000_000, 1), Sample(START, 1)], None)


def test_a_single_probe_needs_its_interval() -> None:
    """One says nothing of how far apart they were."""
    with pytest.raises(ConfigError, match=r"^--interval: "):
        windowing.choose_interval_ms([Sample(START, 1)], None)


def a_cut(count: int, **changed: object) -> ImportFile:
    """``count`` minutes of a probe a second, every RTT of six digits."""
    samples = [Sample(START + number * 1_000_000, 100_000 + number % 60) for number in range(60 * count)]
    values: dict[str, object] = {
        "file": "a.log", "sha256": "ab" * 32, "format": ImportFormat.PING, "host": "ams1", "address": None, "start_us": None,
        "first_us": 0, "last_us": 0, "period_us": 1, "interval_ms": 1_000, "resolution_us": None,
        "windows": windowing.build_windows(samples, 1_000), "notes": (),
    }  # fmt: skip
    return ImportFile(**(values | changed))  # type: ignore[arg-type]


def test_the_same_file_makes_the_same_bytes() -> None:
    """Whenever it is read; another file, host, target or interval makes another name."""
    first = list(build_batches(a_cut(3), "import:fra", "ams1", "ams1"))
    names = {
        derive_epoch(a_cut(1, **changed), "ams1", "ams1")
        for changed in ({}, {"sha256": "cd" * 32}, {"host": "b"}, {"interval_ms": 500}, {"start_us": 0})
    }

    assert first == list(build_batches(a_cut(3), "import:fra", "ams1", "ams1"))
    assert len(names | {derive_epoch(a_cut(1), "ams2", "ams1")}) == 6


def test_batches_keep_the_limits_of_the_wire() -> None:
    """A file of 3,000 minutes takes two, which decode as a collector does it and together have every window."""
    bodies = list(build_batches(a_cut(3_000), "import:fra", "ams1", "ams1"))

    batches = [wire.decode_batch(body) for body in bodies]

    assert len(bodies) == 2
    assert max(map(len, bodies)) <= wire.BODY_BYTES_MAX
    assert [batch.seq for batch in batches] == [0, 1]
    assert [window for batch in batches for _, window in wire.iter_windows(batch)] == list(a_cut(3_000).windows)
