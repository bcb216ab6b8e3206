"""Encoding of single probes: the documented rows, in both formats, and the CSV that the importer reads."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.model import ErrorBound, Failure, Miss, Window
from leadline.wire.probes import PROBE_COLUMNS, ProbeOrigin
from leadline_cli.importers import csv_file, windowing
from leadline_collector.analysis.probe_encoding import ENCODERS, CsvEncoder, JsonLinesEncoder, PathLabel, ProbeEncoder
from tests.support.documents import NOW_S

LABEL = PathLabel(agent="fra1", target="ams1", origin=ProbeOrigin.MEASURED)
IMPORTED = PathLabel(agent="import:fra", target="ams-ups", origin=ProbeOrigin.IMPORTED)
#: Four slots of 15 s: a reply, a late reply, a timeout, a slot without a send.
WINDOW = Window(
    start_s=NOW_S,
    interval_ms=15_000,
    rtt_us=(4_912, None, None, None),
    misses=(Miss(1, Failure.LATE, 10_400_000), Miss(2, Failure.TIMEOUT), Miss(3, Failure.NOT_SENT)),
    error_bound=ErrorBound(p50_us=3, p99_us=17),
)


def test_csv_rows() -> None:
    """A lost probe has no RTT, a reply has no failure."""
    encoder = CsvEncoder()

    assert encoder.header == "time,agent,target,slot,rtt_us,failure,detail,error_p50_us,error_p99_us,origin\n"
    assert encoder.encode_window(LABEL, WINDOW).splitlines() == [
        "2026-11-22T06:00:00.000Z,fra1,ams1,0,4912,,,3,17,measured",
        "2026-11-22T06:00:15.000Z,fra1,ams1,1,,late,10400000,3,17,measured",
        "2026-11-22T06:00:30.000Z,fra1,ams1,2,,timeout,,3,17,measured",
        "2026-11-22T06:00:45.000Z,fra1,ams1,3,,not_sent,,3,17,measured",
    ]


def test_json_lines() -> None:
    """Every line has every key; a missing value is null."""
    first, second, *_ = [json.loads(line) for line in JsonLinesEncoder().encode_window(LABEL, WINDOW).splitlines()]

    assert tuple(first) == tuple(second) == PROBE_COLUMNS
    assert list(first.values()) == ["2026-11-22T06:00:00.000Z", "fra1", "ams1", 0, 4_912, None, None, 3, 17, "measured"]
    assert list(second.values())[4:7] == [None, "late", 10_400_000]


@pytest.mark.parametrize("encoder", [kind() for kind in ENCODERS.values()], ids=list(ENCODERS))
def test_a_window_without_error_bound_and_with_short_slots(encoder: ProbeEncoder) -> None:
    """The time has milliseconds, and an unknown error is empty or null."""
    window = Window(start_s=NOW_S, interval_ms=10, rtt_us=(5,) * 6_000)

    rows = encoder.encode_window(IMPORTED, window).splitlines()

    assert len(rows) == 6_000
    assert "2026-11-22T06:00:59.990Z" in rows[-1]
    assert rows[-1].endswith((",5999,5,,,,,imported", '"error_p50_us":null,"error_p99_us":null,"origin":"imported"}'))


def test_one_encoder_keeps_paths_and_intervals_apart() -> None:
    """Texts of slots are cached by path and interval."""
    encoder, short = CsvEncoder(), Window(start_s=NOW_S + 60, interval_ms=30_000, rtt_us=(1, 2))

    rows = [encoder.encode_window(label, window) for label in (LABEL, IMPORTED) for window in (WINDOW, short)]

    assert rows == [
        CsvEncoder().encode_window(label, window) for label in (LABEL, IMPORTED) for window in (WINDOW, short)
    ]
    assert rows[1].splitlines()[1] == "2026-11-22T06:01:30.000Z,fra1,ams1,1,2,,,,,measured"


@st.composite
def windows(draw: st.DrawFn, interval_ms: int = 1_000) -> list[Window]:
    """Draw some consecutive windows of a path."""
    outcome = st.one_of(
        st.integers(1, 60_000_000), st.tuples(st.sampled_from(list(Failure)), st.integers(0, 60_000_000))
    )
    count, slots = draw(st.integers(1, 3)), 60_000 // interval_ms
    result = []
    for number in range(count):
        outcomes = draw(st.lists(outcome, min_size=slots, max_size=slots))
        result.append(
            Window(
                start_s=NOW_S + 60 * number,
                interval_ms=interval_ms,
                rtt_us=tuple(value if isinstance(value, int) else None for value in outcomes),
                misses=tuple(Miss(slot, *value) for slot, value in enumerate(outcomes) if not isinstance(value, int)),
            )
        )
    return result


@given(st.sampled_from([1_000, 5_000, 200]).flatmap(lambda interval_ms: windows(interval_ms)))
def test_the_importer_reads_the_same_windows(exported: list[Window]) -> None:
    """RTTs, failures, details, error bound and interval survive; a missing bound becomes that of whole microseconds."""
    encoder = CsvEncoder()
    text = encoder.header + "".join(encoder.encode_window(LABEL, window) for window in exported)

    samples = csv_file.parse_csv(text.splitlines(keepends=True)).samples

    assert windowing.build_windows(samples, windowing.choose_interval_ms(samples, None)) == [
        replace(window, error_bound=window.error_bound or ErrorBound(p50_us=1, p99_us=1)) for window in exported
    ]
