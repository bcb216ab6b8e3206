"""Grouping of samples into windows: assigns each probe to a slot of a UTC minute.

Rule 1: a slot has one probe. A probe belongs to the slot of its time, or to the next slot if jitter puts two probes
into one. It never moves further. If this is impossible, the interval is wrong, which is an error.
Rule 2: the interval is the largest that divides a minute and gives every probe its own slot.
Rule 3: a slot without a probe was not sent. A minute without probes gives no window.
Rule 4: the error bound of a window is the median (p50) and the largest (p99) of the bounds of its samples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median, median_high

from leadline.errors import ConfigError
from leadline.model import INTERVAL_MS_MIN, WINDOW_S, ErrorBound, Failure, Miss, Window, build_window
from leadline_cli.importers.printed_rtt import build_error_bound
from leadline_cli.importers.samples import Sample
from leadline_cli.importers.timestamps import format_timestamp

WINDOW_MS = WINDOW_S * 1_000
#: All possible intervals, longest first.
INTERVALS_MS = tuple(ms for ms in range(WINDOW_MS, INTERVAL_MS_MIN - 1, -1) if WINDOW_MS % ms == 0)
#: A program that sends every 0.99 s is configured for a second; its clock or timer is inexact.
PERIOD_TOLERANCE = 1.02
#: With a slot shorter than this share of the period, most slots would be empty.
PERIOD_SHARE_MIN = 0.4


def compute_period_us(samples: Sequence[Sample]) -> int | None:
    """Return the median time between probes in microseconds; None for a single probe."""
    steps = [b.at_us - a.at_us for a, b in pairwise(samples)]
    return round(median(steps)) if steps else None


def choose_interval_ms(samples: Sequence[Sample], requested_ms: int | None) -> int:
    """Return the slot length: the requested one, or the best fit; ConfigError if none fits."""
    _check_order(samples)
    if requested_ms is not None:
        _check_interval(samples, requested_ms)
        return requested_ms
    period = compute_period_us(samples)
    if period is None:
        raise ConfigError("--interval", "is required: cannot infer the time between probes from a single probe")
    for ms in INTERVALS_MS:
        if (
            period * PERIOD_SHARE_MIN <= ms * 1_000 <= period * PERIOD_TOLERANCE
            and _find_displaced_sample(samples, ms) is None
        ):
            return ms
    # Less than one probe a minute: one slot for each window.
    if period > WINDOW_MS * 1_000 and _find_displaced_sample(samples, WINDOW_MS) is None:
        return WINDOW_MS
    raise ConfigError(
        "--interval",
        f"is required: the probes are {period / 1_000:g} ms apart (median), and no interval that divides a minute "
        "gives each one its own slot; pass an interval of at least 10ms",
    )


def build_windows(samples: Sequence[Sample], interval_ms: int) -> list[Window]:
    """Build the windows of ordered samples, with an interval from ``choose_interval_ms``."""
    minutes: defaultdict[int, list[tuple[int, Sample]]] = defaultdict(list)
    per_minute = WINDOW_MS // interval_ms
    for slot, sample in zip(_assign_slots(samples, interval_ms), samples, strict=True):
        minutes[slot // per_minute].append((slot % per_minute, sample))
    return [
        _build_window(minute * WINDOW_S, interval_ms, slots_and_samples)
        for minute, slots_and_samples in minutes.items()
    ]


def _build_window(start_s: int, ms: int, slots_and_samples: Sequence[tuple[int, Sample]]) -> Window:
    return build_window(
        start_s,
        ms,
        {slot: sample.rtt_us for slot, sample in slots_and_samples if sample.rtt_us is not None},
        [
            Miss(slot, sample.failure or Failure.TIMEOUT, sample.detail)
            for slot, sample in slots_and_samples
            if sample.rtt_us is None
        ],
        duplicates=sum(sample.duplicates for _, sample in slots_and_samples),
        error_bound=_compute_error_bound([sample for _, sample in slots_and_samples]),
    )


def _compute_error_bound(samples: Sequence[Sample]) -> ErrorBound | None:
    """Return the error bound of a window; None without one, or if the bound of a reply is unknown."""
    bounds = [sample.error for sample in samples if sample.error is not None]
    if not bounds or any(sample.rtt_us is not None and sample.error is None for sample in samples):
        return None
    return build_error_bound(median_high(bound.p50_us for bound in bounds), max(bound.p99_us for bound in bounds))


def _assign_slots(samples: Sequence[Sample], ms: int) -> Iterator[int]:
    previous = -1
    for sample in samples:
        previous = max(sample.at_us // (ms * 1_000), previous + 1)
        yield previous


def _find_displaced_sample(samples: Sequence[Sample], ms: int) -> Sample | None:
    """Return the first sample that does not fit into its slot or the next one; None if all fit."""
    for slot, sample in zip(_assign_slots(samples, ms), samples, strict=True):
        if slot > sample.at_us // (ms * 1_000) + 1:
            return sample
    return None


def _check_order(samples: Sequence[Sample]) -> None:
    for before, after in pairwise(samples):
        if after.at_us < before.at_us:
            raise ConfigError(
                "FILE",
                f"the clock stepped back: a probe at {format_timestamp(after.at_us)} follows one at "
                f"{format_timestamp(before.at_us)}; split the file there and import the correct part",
            )


def _check_interval(samples: Sequence[Sample], ms: int) -> None:
    if ms not in INTERVALS_MS:
        raise ConfigError("--interval", f"{ms} ms does not divide a minute, or is below {INTERVAL_MS_MIN} ms")
    sample = _find_displaced_sample(samples, ms)
    if sample is not None:
        raise ConfigError(
            "--interval",
            f"there are more probes than slots of {ms} ms at {format_timestamp(sample.at_us)}: use a shorter interval",
        )
