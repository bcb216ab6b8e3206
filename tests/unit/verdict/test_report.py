"""Assembly of the document: segments, site pairs and sets, and the CSV exchange file."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from leadline.errors import ConfigError
from leadline.limits.catalogue import load_catalogue
from leadline.model import Site
from leadline_verdict import csv_exchange
from leadline_verdict.decision import VerdictRule
from leadline_verdict.document import VerdictClass, VerdictDocument
from leadline_verdict.pair import PairWindows
from leadline_verdict.report import ReportParams, build_report
from leadline_verdict.requirements import LimitOverrides, build_requirements
from leadline_verdict.series import COLUMNS
from tests.support.window_factories import DAY, START_S, add_delay, build_columns, build_pair, drop_minutes, lose_probes

LIMIT = build_requirements(
    load_catalogue(), None, LimitOverrides(values={}, declared_values={}, custom_limits=("p95 <= 5 ms",))
)


def build_document(*pairs: PairWindows) -> VerdictDocument:
    params = ReportParams(
        start_s=pairs[0].start_s,
        end_s=pairs[0].end_s,
        rule=VerdictRule(),
        profiles=[LIMIT],
        catalogue_digest="",
        mesh_version=None,
    )
    return build_report(params, [(pair, [LIMIT]) for pair in pairs])


def make_pair(source: str, destination: str, rtt_us: int) -> PairWindows:
    return replace(build_pair(build_columns(28, rtt_us)), source=source, destination=destination)


def test_the_last_segment_decides() -> None:
    """Two weeks at 4 ms, then two at 6: each segment has its class, and the disagreement is a reason."""
    columns = build_columns(28)
    add_delay(columns, range(14 * DAY, 28 * DAY), 2_000)
    columns["min_us"][14 * DAY :] += 2_000

    (verdict,) = build_document(build_pair(columns)).pairs

    assert [(segment.start_s, segment.change_us, segment.verdict) for segment in verdict.segments] == [
        (START_S, None, "within"),
        (START_S + 14 * 86_400, 2_000, "beyond"),
    ]
    assert verdict.segments_agree is False
    assert verdict.verdict is VerdictClass.BEYOND
    assert (verdict.reasons[0].code, verdict.reasons[0].numbers) == (
        "segments_disagree",
        {"segments": 2, "whole": "beyond"},
    )


def test_a_better_last_segment_of_two_weeks_is_provisional() -> None:
    """Two weeks at 6 ms, then two at 4."""
    columns = build_columns(28, 6_000)
    for name in ("min_us", "mean_us", "p50_us", "p95_us", "p99_us", "max_us"):
        columns[name][14 * DAY :] -= 2_000

    (verdict,) = build_document(build_pair(columns)).pairs

    assert [segment.verdict for segment in verdict.segments] == ["beyond", "within"]
    assert verdict.verdict is VerdictClass.WITHIN_PROVISIONAL


def test_a_short_last_segment_does_not_decide() -> None:
    """Ten days at 6 ms after eighteen at 4: only one segment has a class, so the whole period decides."""
    columns = build_columns(28)
    add_delay(columns, range(18 * DAY, 28 * DAY), 2_000)
    columns["min_us"][18 * DAY :] += 2_000

    (verdict,) = build_document(build_pair(columns)).pairs

    assert [segment.verdict for segment in verdict.segments] == ["within", None]
    assert verdict.verdict is VerdictClass.BEYOND
    assert "segments_disagree" not in [reason.code for reason in verdict.reasons]


def test_the_worst_pair_decides_for_sites() -> None:
    """The worse direction decides for two sites, the worst pair for a set."""
    document = build_document(
        make_pair("ams", "fra", 4_000),
        make_pair("fra", "ams", 4_000),
        make_pair("fra", "zrh", 4_000),
        make_pair("zrh", "fra", 9_000),
    )

    assert [(item.sites, item.verdict, item.decided_by) for item in document.site_pairs] == [
        (["ams", "fra"], VerdictClass.WITHIN, ["ams", "fra"]),
        (["fra", "zrh"], VerdictClass.BEYOND, ["zrh", "fra"]),
    ]
    assert [(item.sites, item.verdict) for item in document.sets] == [(["ams", "fra", "zrh"], VerdictClass.BEYOND)]
    assert document.wrong_claims_expected == pytest.approx(0.2)


def write_file() -> tuple[str, PairWindows]:
    """Write a file of a pair with two paths, missing windows, losses, ambiguous and explained minutes."""
    first, second = build_columns(14), build_columns(14)
    add_delay(first, range(100, 130))
    lose_probes(first, range(500, 510), lost=20)
    lose_probes(first, range(900, 905))
    drop_minutes(second, range(10 * DAY))
    windows = build_pair(first, second)
    ambiguous, explained = windows.ambiguous_minutes.copy(), windows.explained_minutes.copy()
    ambiguous[900:905] = True
    explained[[0, 1, 14 * DAY - 1]] = True
    windows = replace(windows, ambiguous_minutes=ambiguous, explained_minutes=explained)
    file = io.StringIO()
    csv_exchange.write_windows(file, [windows], [Site(name="fra", latitude_deg=50.0, longitude_deg=8.0)])
    return file.getvalue(), windows


def test_a_file_reads_back_to_the_same_windows() -> None:
    """Columns, masks and paths are equal; a site without coordinates has no propagation delay."""
    text, windows = write_file()

    (pair_windows,) = csv_exchange.read_windows(io.StringIO(text)).pairs

    assert [(path.agent, path.target) for path in pair_windows.paths] == [("fra1", "ams1"), ("fra2", "ams1")]
    for before, after in zip(windows.series, pair_windows.series, strict=True):
        assert all((before.get_column(name) == after.get_column(name)).all() for name in COLUMNS)
    assert (pair_windows.ambiguous_minutes == windows.ambiguous_minutes).all()
    assert (pair_windows.explained_minutes == windows.explained_minutes).all()
    assert pair_windows.propagation_delay is None


def test_binary_files_are_refused() -> None:
    """The error names the command that writes the files."""
    file = io.TextIOWrapper(io.BytesIO(b"\xfe\x00" * 100), encoding="utf-8")

    with pytest.raises(ConfigError, match="line 1: not a file written by"):
        csv_exchange.read_windows(file)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("# {", "{", "line 1: not a file written by"),
        ("leadline windows 2", "leadline windows 3", "line 1: the format is"),
        (f'"start_s":{START_S}', f'"start_s":{START_S + 60}', "line 1: .* is not a period of whole UTC days"),
        (f'"end_s":{START_S + 14 * 86_400}', '"end_s":86400000000000', "line 1: .* is more than 400 days"),
        ("source,destination", "from,to", "line 2: the columns are not"),
        ("fra,ams,fra1,ams1", "fra,ams,fra9,ams1", "line 3: fra ams fra9 ams1 is not a path"),
        (f",{START_S},60,60", f",{START_S},60", "line 3: the row has 16 fields instead of 17"),
        (f",{START_S},60,60", f",{START_S + 1},60,60", "line 3: .* is not a minute of the period"),
        (f",{START_S},60,60", f",{START_S + 60},60,60", "line 4: duplicate window at"),
        (f",{START_S},60,60", f",{START_S},60,many", "line 3: invalid literal"),
        (f",{START_S},60,60", f",{START_S},60,-3", "line 3: sent is out of range: -3"),
    ],
)
def test_invalid_files_are_refused_with_the_line(old: str, new: str, problem: str) -> None:
    """The error has the line number and the problem."""
    text, _ = write_file()
    assert old in text

    with pytest.raises(ConfigError, match=problem):
        csv_exchange.read_windows(io.StringIO(text.replace(old, new, 1)))
