"""Samples into windows: which slot of which UTC minute each probe belongs to.

Rule 1: a slot takes one probe. A probe goes into the slot of its time, or into the next where jitter brought two into
one; further than that it is never moved. Where this is not possible the interval is wrong, and that is an error.
Rule 2: no interval is made up: it is the largest that divides a minute and gives every probe a slot of its own.
Rule 3: a slot without a probe was not sent, a minute without a probe is no window.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from leadline.errors import ConfigError
from leadline.model import INTERVAL_MS_MIN, WINDOW_S, Failure, Miss, Window, build_window
from leadline_cli.importers.samples import Sample
from leadline_cli.importers.timestamps import format_timestamp

WINDOW_MS = WINDOW_S * 1_000
#: Every interval a window can have, the longest first.
INTERVALS_MS = tuple(ms for ms in range(WINDOW_MS, INTERVAL_MS_MIN - 1, -1) if WINDOW_MS % ms == 0)
#: A program that sends every 0.99 s meant a second: its clock or its timer is that far off.
PERIOD_TOLERANCE = 1.02
#: Shorter than this share of the period, most slots would be empty for no better reason than our choice.
PERIOD_SHARE_MIN = 0.4


def compute_period_us(samples: Sequence[Sample]) -> int | None:
    """The median distance of probes; None for a single one."""
    steps = [b.at_us - a.at_us for a, b in pairwise(samples)]
    return round(median(steps)) if steps else None


def choose_interval_ms(samples: Sequence[Sample], requested_ms: int | None) -> int:
    """The length of a slot: the given one, or the one that fits; ConfigError where none does."""
    _check_order(samples)
    if requested_ms is not None:
        _check_interval(samples, requested_ms)
        return requested_ms
    period = compute_period_us(samples)
    if period is None:
        raise ConfigError("--interval", "a single probe does not show how far apart they are: say it")
    for ms in INTERVALS_MS:
        if (
            period * PERIOD_SHARE_MIN <= ms * 1_000 <= period * PERIOD_TOLERANCE
            and _find_displaced_sample(samples, ms) is None
        ):
            return ms
    # Sparser than a probe a minute: one slot a window.
    if period > WINDOW_MS * 1_000 and _find_displaced_sample(samples, WINDOW_MS) is None:
        return WINDOW_MS
    raise ConfigError(
        "--interval",
        f"the probes are {period / 1_000:g} ms apart (median), and no interval that divides a minute gives every one "
        "a slot of its own: name one, down to 10ms",
    )


def build_windows(samples: Sequence[Sample], interval_ms: int) -> list[Window]:
    """The windows of samples in order of time, for which ``interval_ms`` found ``ms``."""
    minutes: defaultdict[int, list[tuple[int, Sample]]] = defaultdict(list)
    per_minute = WINDOW_MS // interval_ms
    for slot, sample in zip(_assign_slots(samples, interval_ms), samples, strict=True):
        minutes[slot // per_minute].append((slot % per_minute, sample))
    return [_build_window(minute * WINDOW_S, interval_ms, placed) for minute, placed in minutes.items()]


def _build_window(start_s: int, ms: int, placed: Sequence[tuple[int, Sample]]) -> Window:
    return build_window(
        start_s,
        ms,
        {slot: one.rtt_us for slot, one in placed if one.rtt_us is not None},
        [Miss(slot, one.failure or Failure.TIMEOUT, one.detail) for slot, one in placed if one.rtt_us is None],
        duplicates=sum(one.duplicates for _, one in placed),
    )


def _assign_slots(samples: Sequence[Sample], ms: int) -> Iterator[int]:
    previous = -1
    for one in samples:
        previous = max(one.at_us // (ms * 1_000), previous + 1)
        yield previous


def _find_displaced_sample(samples: Sequence[Sample], ms: int) -> Sample | None:
    """The first sample that has no slot of its own near its time; None if all have."""
    for slot, one in zip(_assign_slots(samples, ms), samples, strict=True):
        if slot > one.at_us // (ms * 1_000) + 1:
            return one
    return None


def _check_order(samples: Sequence[Sample]) -> None:
    for before, after in pairwise(samples):
        if after.at_us < before.at_us:
            raise ConfigError(
                "FILE",
                f"the clock went back: a probe of {format_timestamp(after.at_us)} follows one of "
                f"{format_timestamp(before.at_us)}; cut the file there and import the part that is right",
            )


def _check_interval(samples: Sequence[Sample], ms: int) -> None:
    if ms not in INTERVALS_MS:
        raise ConfigError("--interval", f"{ms} ms does not divide a minute, or is below {INTERVAL_MS_MIN} ms")
    crowded = _find_displaced_sample(samples, ms)
    if crowded is not None:
        raise ConfigError(
            "--interval",
            f"at {format_timestamp(crowded.at_us)} there are more probes than slots of {ms} ms: make it shorter",
        )
