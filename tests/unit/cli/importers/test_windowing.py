"""Samples to windows and back, and batches of windows."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.errors import ConfigError
from leadline.model import ErrorBound, Failure, Window
from leadline.wire import batch as wire
from leadline_cli.importers import csv_file, fping, iputils, windowing
from leadline_cli.importers.batches import build_batches, derive_epoch
from leadline_cli.importers.pipeline import ImportFile, ImportFormat
from leadline_cli.importers.printed_rtt import Rounding, compute_interval_us
from leadline_cli.importers.samples import Sample, assign_times

START = 1_795_327_200_000_000

#: RTTs as printed by fping and ping, with three significant digits.
printed_rtts = st.integers(1, 9_999).map(lambda us: us if us < 1_000 else us // 10 * 10)
#: The first and the last probe have a reply.
rtt_lists = st.builds(
    lambda first, middle, last: [first, *middle, last],
    printed_rtts,
    st.lists(st.none() | printed_rtts, max_size=148),
    printed_rtts,
)
offsets = st.integers(0, 119_999_999)


def compute_time_us(number: int, offset_us: int) -> int:
    """Return the send time of a probe at one probe a second."""
    return START + offset_us + number * 1_000_000


def format_time(us: int) -> str:
    """Format a time as ping does; fping rounds to 10 µs."""
    return f"[{us // 1_000_000}.{us % 1_000_000:06d}]"


def print_as_fping(rtts: list[int | None], offset_us: int) -> list[str]:
    """Return the lines of ``fping -D -l``: it prints a loss a second later."""
    lines = []
    for number, rtt in enumerate(rtts):
        output = f"[{number}], timed out (1.0 avg, 5% loss)"
        if rtt is not None:
            output = f"[{number}], 64 bytes, {rtt / 1_000:.3f} ms (1.0 avg, 5% loss)"
        lines.append(f"{format_time(compute_time_us(number, offset_us) + (rtt or 1_000_000))} 192.0.2.3 : {output}\n")
    return lines


def print_as_ping(rtts: list[int | None], offset_us: int, *, prints_missing: bool) -> list[str]:
    """Return the lines of ``ping -D``, with ``-O`` if ``prints_missing``."""
    lines = ["PING ams1 (192.0.2.3) 56(84) bytes of data.\n"]
    for number, rtt in enumerate(rtts):
        if rtt is not None:
            output = f"64 bytes from 192.0.2.3: icmp_seq={number + 1} ttl=60 time={rtt / 1_000:.3f} ms"
            lines.append(f"{format_time(compute_time_us(number, offset_us) + rtt)} {output}\n")
        elif prints_missing:
            lines.append(
                f"{format_time(compute_time_us(number + 1, offset_us))} no answer yet for icmp_seq={number + 1}\n"
            )
    received = sum(rtt is not None for rtt in rtts)
    return [*lines, "\n", f"{len(rtts)} packets transmitted, {received} received, 3% packet loss, time 1ms\n"]


def print_as_csv(rtts: list[int | None], offset_us: int, unit: str) -> list[str]:
    """Return the lines of a CSV file."""
    values = [rtt if unit == "us" or rtt is None else f"{rtt / 1_000:.3f}" for rtt in rtts]
    rows = (
        f"{compute_time_us(n, offset_us) / 1e6:.6f},{'' if value is None else value}\n"
        for n, value in enumerate(values)
    )
    return [f"t,rtt_{unit}\n", *rows]


def build_expected_samples(
    rtts: list[int | None], offset_us: int, rounding: Rounding = Rounding.NEAREST_OR_DOWN
) -> list[Sample]:
    """Return the expected samples."""
    samples = []
    for number, rtt in enumerate(rtts):
        at_us = compute_time_us(number, offset_us)
        if rtt is None:
            samples.append(Sample(at_us, None, Failure.TIMEOUT))
        else:
            edge_us, error_us = compute_interval_us(rtt, 1, rounding)
            samples.append(Sample(at_us, edge_us, error=ErrorBound(p50_us=error_us, p99_us=error_us)))
    return samples


@given(rtts=rtt_lists, offset_us=offsets, prints_missing=st.booleans())
def test_reader_returns_the_printed_samples(rtts: list[int | None], offset_us: int, prints_missing: bool) -> None:
    """fping, ping with and without -O, and both kinds of CSV give the same samples at the same times."""
    expected_samples = build_expected_samples(rtts, offset_us)

    assert assign_times(fping.parse_log(print_as_fping(rtts, offset_us)).runs, None, None) == expected_samples
    assert (
        assign_times(iputils.parse_log(print_as_ping(rtts, offset_us, prints_missing=prints_missing)).runs, None, None)
        == expected_samples
    )
    exact_samples = build_expected_samples(rtts, offset_us, Rounding.EXACT)
    for unit in ("us", "ms"):
        assert csv_file.parse_csv(print_as_csv(rtts, offset_us, unit)).samples == exact_samples


@given(rtts=rtt_lists, offset_us=offsets)
def test_windows_contain_every_sample_once(rtts: list[int | None], offset_us: int) -> None:
    """Samples and losses are in order. All other slots are not sent."""
    samples = build_expected_samples(rtts, offset_us)

    ms = windowing.choose_interval_ms(samples, None)
    windows = windowing.build_windows(samples, ms)

    assert ms == 1_000
    assert list_sent_rtts(windows) == [sample.rtt_us for sample in samples]
    assert [sample.start_s for sample in windows] == sorted({sample.at_us // 60_000_000 * 60 for sample in samples})


def list_sent_rtts(windows: list[Window]) -> list[int | None]:
    """Return the RTTs of the sent probes in order of slot."""
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
    """ping sends every 1.001 to 1.03 s: slots may be empty, but no probe is lost or far from its time."""
    times = list(accumulate(steps, initial=START + offset_us))
    samples = [Sample(sample, 5_000) for sample in times]

    try:
        ms = windowing.choose_interval_ms(samples, None)
    except ConfigError as error:
        pytest.fail(str(error))
    windows = windowing.build_windows(samples, ms)

    slots = [
        sample.start_s * 1_000 + slot * ms
        for sample in windows
        for slot, rtt in enumerate(sample.rtt_us)
        if rtt is not None
    ]
    assert len(slots) == len(times)
    assert all(-ms < slot - time / 1_000 <= ms for slot, time in zip(slots, times, strict=True))


@pytest.mark.parametrize(
    ("period_us", "ms"),
    [(200_000, 200), (204_000, 200), (990_000, 1_000), (1_000_500, 1_000), (7_000_000, 6_000), (300_000_000, 60_000)],
)
def test_interval_is_the_longest_that_fits(period_us: int, ms: int) -> None:
    """A probe every five minutes gives one slot for each minute with a probe."""
    samples = [Sample(START + number * period_us, 5_000) for number in range(40)]

    assert windowing.choose_interval_ms(samples, None) == ms


def test_interval_that_is_too_long_is_refused() -> None:
    """Two probes in one slot would lose one of them."""
    samples = [Sample(START + number * 200_000, 5_000) for number in range(40)]

    with pytest.raises(ConfigError, match=r"^--interval: there are more probes .* at 2026-11-22 06:00:00\.400 UTC"):
        windowing.choose_interval_ms(samples, 1_000)
    with pytest.raises(ConfigError, match="does not divide a minute"):
        windowing.choose_interval_ms(samples, 700)
    assert windowing.choose_interval_ms(samples, 100) == 100


def test_clock_that_stepped_back_is_refused() -> None:
    """The correct minute is unknown."""
    with pytest.raises(ConfigError, match="the clock stepped back"):
        windowing.choose_interval_ms([Sample(START + 5_000_000, 1), Sample(START, 1)], None)


def test_single_probe_needs_an_interval() -> None:
    """A single probe does not show the time between probes."""
    with pytest.raises(ConfigError, match=r"^--interval: "):
        windowing.choose_interval_ms([Sample(START, 1)], None)


def build_import_file(count: int, **changed: object) -> ImportFile:
    """Return a file with ``count`` minutes of one probe a second, with RTTs of six digits."""
    samples = [Sample(START + number * 1_000_000, 100_000 + number % 60) for number in range(60 * count)]
    values: dict[str, object] = {
        "file": "a.log", "sha256": "ab" * 32, "format": ImportFormat.PING, "host": "ams1", "address": None,
        "start_us": None, "first_us": 0, "last_us": 0, "period_us": 1, "interval_ms": 1_000, "resolution_us": None,
        "rounding": Rounding.EXACT,
        "windows": windowing.build_windows(samples, 1_000), "notes": (),
    }  # fmt: skip
    return ImportFile(**(values | changed))  # type: ignore[arg-type]


def test_same_file_gives_the_same_bytes() -> None:
    """Another file, host, target or interval gives another epoch."""
    first = list(build_batches(build_import_file(3), "import:fra", "ams1", "ams1"))
    epochs = {
        derive_epoch(build_import_file(1, **changed), "ams1", "ams1")
        for changed in ({}, {"sha256": "cd" * 32}, {"host": "b"}, {"interval_ms": 500}, {"start_us": 0})
    }

    assert first == list(build_batches(build_import_file(3), "import:fra", "ams1", "ams1"))
    assert len(epochs | {derive_epoch(build_import_file(1), "ams2", "ams1")}) == 6


def test_batches_respect_the_wire_limits() -> None:
    """3,000 minutes need two batches. Both decode, and together they have every window."""
    bodies = list(build_batches(build_import_file(3_000), "import:fra", "ams1", "ams1"))

    batches = [wire.decode_batch(body) for body in bodies]

    assert len(bodies) == 2
    assert max(map(len, bodies)) <= wire.BODY_BYTES_MAX
    assert [batch.seq for batch in batches] == [0, 1]
    assert [window for batch in batches for _, window in wire.iter_windows(batch)] == list(
        build_import_file(3_000).windows
    )


def test_a_window_has_the_median_and_the_largest_error_of_its_replies() -> None:
    """A lost probe has no error. A window without a reply has none, and one with an unknown error has none either."""
    errors = [16, 16, 16, 151, 1_501]
    samples = [
        Sample(START + number * 1_000_000, 5_000, error=ErrorBound(p50_us=error, p99_us=error))
        for number, error in enumerate(errors)
    ]
    lost = [Sample(START + (60 + number) * 1_000_000, None, Failure.TIMEOUT) for number in range(3)]
    unknown = [Sample(START + 120_000_000, 5_000), samples[0]._replace(at_us=START + 121_000_000)]

    windows = windowing.build_windows([*samples, *lost, *unknown], 1_000)

    assert [window.error_bound for window in windows] == [ErrorBound(p50_us=16, p99_us=1_501), None, None]
