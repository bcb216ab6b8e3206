"""Rounding of printed RTTs: the true value is always within the error bound of the stored one."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest

from leadline.errors import ConfigError
from leadline.evaluation import Criterion, WindowState, WindowStatistic, evaluate_window
from leadline.limits.catalogue import Comparison
from leadline.model import RTT_US_MAX, ErrorBound, Failure
from leadline.statistics import compute_window_stats
from leadline.wire.probes import PROBE_COLUMNS
from leadline_cli.importers import csv_file, fping, iputils
from leadline_cli.importers.document import build_document, format_report
from leadline_cli.importers.pipeline import ImportFormat, ImportOptions, load_file
from leadline_cli.importers.printed_rtt import Rounding, compute_interval_us
from leadline_cli.importers.samples import ParsedLog, Sample, assign_times
from leadline_cli.importers.windowing import build_windows

#: Lines of fping 5.1 and ping of iputils 20221126 after the RTT in nanoseconds that the program measured. A preloaded
#: library set the kernel's receive timestamp to the send time plus this RTT.
RECORDED = Path(__file__).parent / "recorded"
EXPORT_HEADER = ",".join(PROBE_COLUMNS)


def list_bounds(log: ParsedLog) -> list[tuple[int | None, int]]:
    """Return the stored RTT and the error bound of every probe."""
    return [(probe.rtt_us, probe.error_us) for run in log.runs for _, probe in sorted(run.probes.items())]


def list_csv_bounds(*values: str, name: str = "rtt_ms") -> list[tuple[int | None, int | None]]:
    """Return the stored RTT and the error bound of the rows of a CSV with these RTTs."""
    content = csv_file.parse_csv([f"t,{name}", *(f"{at},{value}" for at, value in enumerate(values))])
    return [(sample.rtt_us, None if sample.error is None else sample.error.p99_us) for sample in content.samples]


def read_ping(*values: str) -> ParsedLog:
    """Read lines of ping with these times."""
    return iputils.parse_log(
        f"64 bytes from 192.0.2.3: icmp_seq={seq} ttl=64 time={value} ms" for seq, value in enumerate(values, 1)
    )


def read_fping(*values: str) -> ParsedLog:
    """Read lines of fping with these times."""
    return fping.parse_log(f"a : [{number}], 64 bytes, {value} ms (1 avg)" for number, value in enumerate(values))


@pytest.mark.parametrize("name", ["ping", "fping"])
def test_the_measured_rtt_is_within_the_error_bound(name: str) -> None:
    """Lines of the real programs of each magnitude, also with values near a change of the last digit."""
    rows = [line.split("\t") for line in (RECORDED / f"rounding_{name}.txt").read_text().splitlines()]
    true_ns = [int(row[0]) for row in rows]

    log = (iputils if name == "ping" else fping).parse_log(row[1] for row in rows)
    bounds = [(rtt_us, error_us) for rtt_us, error_us in list_bounds(log) if rtt_us is not None]

    assert len(bounds) == len(true_ns) > 100
    for (rtt_us, error_us), value_ns in zip(bounds, true_ns, strict=True):
        assert (rtt_us - error_us) * 1_000 <= value_ns <= rtt_us * 1_000


@pytest.mark.parametrize("read", [read_ping, read_fping])
def test_the_bound_follows_the_printed_digits(read: object) -> None:
    """The interval contains all values that round to the printed one, to the nearest value or down."""
    log = read("0.045", "0.345", "4.91", "12.3", "150", "1250")  # type: ignore[operator]

    assert list_bounds(log) == [
        (46, 2), (346, 2), (4_920, 16), (12_400, 151), (151_000, 1_501), (1_251_000, 1_501),
    ]  # fmt: skip
    assert (log.resolution_us, log.rounding) == (1_000, Rounding.NEAREST_OR_DOWN)


@pytest.mark.parametrize(
    ("value", "worst_case", "best_case"),
    [
        ("4.99", WindowState.GOOD, WindowState.GOOD),
        ("5.00", WindowState.BAD, WindowState.GOOD),
        ("5.01", WindowState.BAD, WindowState.BAD),
    ],
)
def test_a_value_that_may_be_on_both_sides_of_a_limit_is_good_only_in_the_best_case(
    value: str, worst_case: WindowState, best_case: WindowState
) -> None:
    """``5.00`` may be 4.994 to 5.010 ms, so a limit of 5 ms is neither kept nor exceeded for certain."""
    samples = assign_times(read_ping(*[value] * 60).runs, 0, 1_000_000)
    (window,) = build_windows(samples, 1_000)
    limit = Criterion(limit_id="5-ms", statistic=WindowStatistic.P95, comparison=Comparison.LESS_EQUAL, limit_us=5_000)

    evaluation = evaluate_window(compute_window_stats(window), limit, window.error_bound)

    assert (evaluation.worst_case, evaluation.best_case) == (worst_case, best_case)


def test_fping_4_prints_two_decimals_below_a_millisecond() -> None:
    """It measures in steps of 10 µs and rounds down."""
    assert list_bounds(read_fping("0.34")) == [(350, 16)]


def test_a_missing_carry_of_ping_20180629_is_added() -> None:
    """It prints 17.95 to 17.999 ms as 17.10, and 1.995 to 1.999 ms as 1.100."""
    assert list_bounds(read_ping("17.10", "12.1", "10.00")) == [(18_100, 151), (12_200, 151), (10_010, 16)]
    assert list_bounds(read_ping("1.98", "1.100", "2.00")) == [(1_990, 16), (2_010, 16), (2_010, 16)]


def test_three_decimals_of_every_value_are_exact() -> None:
    """``ping -3`` prints them."""
    assert list_bounds(read_ping("1.100", "1.985", "12.100")) == [(1_101, 2), (1_986, 2), (12_101, 2)]


def test_an_rtt_up_to_a_minute_is_not_stored_as_more() -> None:
    """A longer RTT is a loss, so the upper edge is a minute."""
    samples = assign_times(read_ping("60000", "60001").runs, 0, 1_000_000)

    assert [(sample.rtt_us, sample.failure) for sample in samples] == [(RTT_US_MAX, None), (None, Failure.TIMEOUT)]
    assert compute_interval_us(RTT_US_MAX, 1_000, Rounding.UNKNOWN) == (RTT_US_MAX, 2_000)


def test_a_csv_with_three_decimals_or_microseconds_is_exact() -> None:
    """A program that omits zeros at the end prints 4.9 for 4.900: the other values show its resolution."""
    assert list_csv_bounds("4.912", "4.9", "5", "0.0001") == [(4_912, 1), (4_900, 1), (5_000, 1), (1, 1)]
    assert list_csv_bounds("4912", "5000", "17.2", name="rtt_us") == [(4_912, 1), (5_000, 1), (18, 1)]


def test_a_csv_with_fewer_decimals_may_be_rounded_either_way() -> None:
    """The resolution is that of the value with the most decimals and the same number of digits before the point."""
    assert list_csv_bounds("0.345", "4.91", "5", "12.3", "12", "150") == [
        (345, 1), (4_920, 20), (5_010, 20), (12_400, 200), (12_100, 200), (151_000, 2_000),
    ]  # fmt: skip
    content = csv_file.parse_csv(["t,rtt_ms", "1,0.345", "2,12.3"])
    assert (content.resolution_us, content.rounding) == (100, Rounding.UNKNOWN)


def test_a_carry_does_not_show_the_resolution_of_longer_rtts() -> None:
    """fping prints 0.9996 ms as ``1.000``, but 1.23 ms as ``1.23``."""
    assert list_csv_bounds("1.000", "1.23", "10.00", "12.3", "100.0", "123") == [
        (1_000, 1), (1_240, 20), (10_010, 20), (12_400, 200), (100_100, 200), (124_000, 2_000),
    ]  # fmt: skip


def test_whole_milliseconds_of_windows() -> None:
    """``<1`` is up to a millisecond; its rounding of the others is not documented."""
    assert list_csv_bounds("<1", "1", "12") == [(1_000, 1_000), (2_000, 2_000), (13_000, 2_000)]
    content = csv_file.parse_csv(["t,rtt_ms", "1,<1"])
    assert (content.resolution_us, content.rounding) == (1_000, Rounding.UNKNOWN)
    with pytest.raises(ConfigError, match="line 2: rtt_us: '<1' is not a number"):
        csv_file.parse_csv(["t,rtt_us", "1,<1"])


def read_export(*bounds: str) -> list[Sample]:
    """Read an export with these bounds."""
    rows = (f"2026-11-22T15:00:0{slot}Z,fra1,ams1,{slot},4912,,,{bound},measured" for slot, bound in enumerate(bounds))
    return csv_file.parse_csv([EXPORT_HEADER, *rows]).samples


def test_an_export_has_its_own_bounds() -> None:
    """They are read from the row; without them, the RTT is exact to the microsecond."""
    samples = read_export("3,17", ",", "0,0")

    assert [(sample.rtt_us, sample.error) for sample in samples] == [
        (4_912, ErrorBound(p50_us=3, p99_us=17)),
        (4_912, ErrorBound(p50_us=1, p99_us=1)),
        (4_912, ErrorBound(p50_us=0, p99_us=0)),
    ]


@pytest.mark.parametrize("bound", ["3,", ",17", "-1,2", "x,2", "18,17", "1,60000001"])
def test_an_invalid_bound_of_an_export_is_an_error(bound: str) -> None:
    """The error names the line and the values."""
    with pytest.raises(ConfigError, match=f"line 2: error_p50_us, error_p99_us: '{bound}' are not"):
        read_export(bound)


@pytest.mark.parametrize(
    ("kind", "lines", "report"),
    [
        (
            "fping",
            ["[1795327200.5] a : [0], 64 bytes, 12.3 ms (1 avg)", "[1795327201.5] a : [1], 64 bytes, 4.91 ms (1 avg)"],
            "RTTs are rounded to 100 µs, to the nearest value or down: the own error is at most 151 µs (median 151 µs)",
        ),
        (
            "csv",
            ["t,rtt_ms", "1795327200,12", "1795327201,12"],
            "RTTs are rounded to 1000 µs in an unknown way: the own",
        ),
        (
            "csv",
            ["t,rtt_us", "1795327200,12", "1795327201,12"],
            "RTTs are exact to the microsecond: the own error is at",
        ),
    ],
)
def test_the_report_shows_the_bound(tmp_path: Path, kind: str, lines: list[str], report: str) -> None:
    """It has the resolution, the rounding and the own error."""
    file = tmp_path / "a.log"
    file.write_text("".join(chain.from_iterable((line, "\n") for line in lines)))

    document = build_document(load_file(file, ImportOptions(format=ImportFormat(kind))), None)

    assert f"  error    {report}" in format_report(document)
    assert document.error_bound_us is not None


def test_a_file_without_replies_has_no_bound(tmp_path: Path) -> None:
    """There is no RTT that could be rounded."""
    file = tmp_path / "a.csv"
    file.write_text("t,rtt_ms\n1795327200,\n1795327201,\n")

    document = build_document(load_file(file, ImportOptions(format=ImportFormat.CSV)), None)

    assert (document.resolution_us, document.error_bound_us) == (None, None)
    assert "  error " not in format_report(document)
