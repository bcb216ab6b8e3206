"""The whole document: routes that change, sites together, and the file that says the same."""

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


def judged(*pairs: PairWindows) -> VerdictDocument:
    asked = ReportParams(
        start_s=pairs[0].start_s,
        end_s=pairs[0].end_s,
        rule=VerdictRule(),
        profiles=[LIMIT],
        catalogue_digest="",
        mesh_version=None,
    )
    return build_report(asked, [(one, [LIMIT]) for one in pairs])


def between(source: str, destination: str, rtt_us: int) -> PairWindows:
    return replace(build_pair(build_columns(28, rtt_us)), source=source, destination=destination)


def test_the_last_route_speaks_for_today() -> None:
    """A fortnight at 4 ms, then one at 6: each has its verdict, and that they differ is a reason of the whole."""
    changed = build_columns(28)
    add_delay(changed, range(14 * DAY, 28 * DAY), 2_000)
    changed["min_us"][14 * DAY :] += 2_000

    (found,) = judged(build_pair(changed)).pairs

    assert [(one.start_s, one.change_us, one.verdict) for one in found.segments] == [
        (START_S, None, "within"),
        (START_S + 14 * 86_400, 2_000, "beyond"),
    ]
    assert found.segments_agree is False
    assert found.verdict is VerdictClass.BEYOND
    assert (found.reasons[0].code, found.reasons[0].numbers) == (
        "segments_disagree",
        {"segments": 2, "whole": "beyond"},
    )


def test_a_better_route_is_provisional_until_it_has_lasted() -> None:
    """A fortnight at 6 ms, then one at 4: within, as far as a fortnight tells."""
    changed = build_columns(28, 6_000)
    for name in ("min_us", "mean_us", "p50_us", "p95_us", "p99_us", "max_us"):
        changed[name][14 * DAY :] -= 2_000

    (found,) = judged(build_pair(changed)).pairs

    assert [one.verdict for one in found.segments] == ["beyond", "within"]
    assert found.verdict is VerdictClass.WITHIN_PROVISIONAL


def test_a_route_of_some_days_does_not_decide() -> None:
    """Ten days at 6 ms after eighteen at 4: one word only, so the whole period speaks."""
    changed = build_columns(28)
    add_delay(changed, range(18 * DAY, 28 * DAY), 2_000)
    changed["min_us"][18 * DAY :] += 2_000

    (found,) = judged(build_pair(changed)).pairs

    assert [one.verdict for one in found.segments] == ["within", None]
    assert found.verdict is VerdictClass.BEYOND
    assert "segments_disagree" not in [reason.code for reason in found.reasons]


def test_sites_are_as_good_as_their_worst_pair() -> None:
    """A good direction does not help a bad one, nor two good pairs a third."""
    document = judged(
        between("ams", "fra", 4_000),
        between("fra", "ams", 4_000),
        between("fra", "zrh", 4_000),
        between("zrh", "fra", 9_000),
    )

    assert [(one.sites, one.verdict, one.decided_by) for one in document.site_pairs] == [
        (["ams", "fra"], VerdictClass.WITHIN, ["ams", "fra"]),
        (["fra", "zrh"], VerdictClass.BEYOND, ["zrh", "fra"]),
    ]
    assert [(one.sites, one.verdict) for one in document.sets] == [(["ams", "fra", "zrh"], VerdictClass.BEYOND)]
    assert document.wrong_claims_expected == pytest.approx(0.2)


def written() -> tuple[str, PairWindows]:
    """A file of a pair with two paths, holes, losses and marks."""
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


def test_a_file_holds_everything() -> None:
    """Columns, marks and paths come back as they were; a site that is not named has no floors."""
    text, windows = written()

    (found,) = csv_exchange.read_windows(io.StringIO(text)).pairs

    assert [(one.agent, one.target) for one in found.paths] == [("fra1", "ams1"), ("fra2", "ams1")]
    for before, after in zip(windows.series, found.series, strict=True):
        assert all((before.get_column(name) == after.get_column(name)).all() for name in COLUMNS)
    assert (found.ambiguous_minutes == windows.ambiguous_minutes).all()
    assert (found.explained_minutes == windows.explained_minutes).all()
    assert found.propagation_delay is None


def test_bytes_that_are_no_text_are_refused() -> None:
    """One line that says what the file is not."""
    file = io.TextIOWrapper(io.BytesIO(b"\xfe\x00" * 100), encoding="utf-8")

    with pytest.raises(ConfigError, match="file: not a file written by"):
        csv_exchange.read_windows(file)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("# {", "{", "line 1: not a file written by"),
        ("leadline windows 1", "leadline windows 2", "line 1: the format is"),
        (f'"start_s":{START_S}', f'"start_s":{START_S + 60}', "line 1: .* is not a period of whole UTC days"),
        (f'"end_s":{START_S + 14 * 86_400}', '"end_s":86400000000000', "line 1: .* is more than 400 days"),
        ("source,destination", "from,to", "line 2: the columns are not"),
        ("fra,ams,fra1,ams1", "fra,ams,fra9,ams1", "line 3: fra ams fra9 ams1 is not a path"),
        (f",{START_S},60,60", f",{START_S},60", "line 3: the row has 15 fields instead of 16"),
        (f",{START_S},60,60", f",{START_S + 1},60,60", "line 3: .* is not a minute of the period"),
        (f",{START_S},60,60", f",{START_S + 60},60,60", "line 4: duplicate window at"),
        (f",{START_S},60,60", f",{START_S},60,many", "line 3: invalid literal"),
        (f",{START_S},60,60", f",{START_S},60,-3", "line 3: sent is out of range: -3"),
    ],
)
def test_a_file_that_was_changed_is_refused_at_its_line(old: str, new: str, problem: str) -> None:
    """With the line and what is wrong with it."""
    text, _ = written()
    assert old in text

    with pytest.raises(ConfigError, match=problem):
        csv_exchange.read_windows(io.StringIO(text.replace(old, new, 1)))
