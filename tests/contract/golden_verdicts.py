"""Golden documents of the verdict: one for each word of the second edition, from synthetic windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec

from leadline import propagation
from leadline.model import Site
from leadline_cli.commands.verdict_text import format_report
from leadline_verdict.document import VerdictClass
from leadline_verdict.pair import PairWindows
from tests.support.verdict_requests import build_document
from tests.support.window_factories import DAY, add_delay, build_columns, build_pair, drop_minutes, lose_probes

_FRANKFURT = Site(name="fra", latitude_deg=50.1109, longitude_deg=8.6821)
_LONDON = Site(name="ams", latitude_deg=51.5074, longitude_deg=-0.1278)
_NEW_YORK = Site(name="ams", latitude_deg=40.7128, longitude_deg=-74.006)


def _clean(days: int, rtt_us: int = 4_000) -> PairWindows:
    return build_pair(build_columns(days, rtt_us))


def _far(destination: Site, rtt_us: int) -> PairWindows:
    floors = propagation.compute_propagation_delay(_FRANKFURT, destination)
    return build_pair(build_columns(28, rtt_us), floors=floors)


def _busy_hours(days: int) -> PairWindows:
    """An hour above the limit on working days, three outages, and a minute that is not measured."""
    columns = build_columns(days)
    for day in range(days):
        if day % 7 < 5:
            add_delay(columns, range(day * DAY + 540, day * DAY + 600))
    for day in range(0, days, 5):
        lose_probes(columns, range(day * DAY + 120, day * DAY + 125))
    drop_minutes(columns, range(60, 61))
    return replace(build_pair(columns), time_zone="Europe/Berlin")


def _few_episodes() -> PairWindows:
    columns = build_columns(28)
    add_delay(
        columns, [*range(3 * DAY, 3 * DAY + 60), *range(10 * DAY, 10 * DAY + 60), *range(20 * DAY, 20 * DAY + 14)]
    )
    return build_pair(columns)


def _young() -> PairWindows:
    columns = build_columns(5)
    drop_minutes(columns, range(DAY + 900))
    return build_pair(columns).trim_unmeasured_days()


#: Windows by the word that they get for a p95 of at most 5 ms.
_WINDOWS: Mapping[VerdictClass, Callable[[], PairWindows]] = {
    VerdictClass.INVALID: lambda: _far(_NEW_YORK, 4_000),
    VerdictClass.IMPOSSIBLE: lambda: _far(_NEW_YORK, 80_000),
    VerdictClass.IMPOSSIBLE_ON_GLASS_FIBRE: lambda: _far(_LONDON, 8_000),
    VerdictClass.BEYOND: lambda: _busy_hours(28),
    VerdictClass.BEYOND_PROVISIONAL: lambda: _busy_hours(12),
    VerdictClass.INSUFFICIENT_DATA: _young,
    VerdictClass.MARGINAL: _few_episodes,
    VerdictClass.WITHIN_PROVISIONAL: lambda: _clean(28),
    VerdictClass.WITHIN: lambda: _clean(101),
}


def build_word_documents() -> dict[str, bytes]:
    """Return a JSON document and a text report for each word, by file name."""
    files = {}
    for verdict_class, build in _WINDOWS.items():
        document = build_document(build())
        found = document.pairs[0].verdict
        if found is not verdict_class:
            raise ValueError(f"the windows of {verdict_class} give {found}")
        files[f"word-{verdict_class}.json"] = msgspec.json.encode(document) + b"\n"
        files[f"word-{verdict_class}.txt"] = format_report(document).encode() + b"\n"
    return files
