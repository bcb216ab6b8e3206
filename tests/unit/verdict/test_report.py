"""Assembly of the document: segments, site pairs and sets, and the CSV exchange file."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from msgspec import UNSET

from leadline.errors import ConfigError
from leadline.model import Site
from leadline_verdict import csv_exchange
from leadline_verdict.decision import VerdictRule
from leadline_verdict.document import VerdictClass
from leadline_verdict.pair import PairWindows
from leadline_verdict.series import COLUMNS
from tests.support.verdict_requests import FIRST, SECOND, build_document, list_codes, make_requirements
from tests.support.window_factories import DAY, START_S, add_delay, build_columns, build_pair, drop_minutes, lose_probes

BOTH_EDITIONS = pytest.mark.parametrize("rule", [FIRST, SECOND], ids=["first", "second"])


def make_pair(source: str, destination: str, rtt_us: int) -> PairWindows:
    return replace(build_pair(build_columns(28, rtt_us)), source=source, destination=destination)


def make_change(before_us: int, after_us: int, day: int) -> PairWindows:
    """Build 28 days with a change of all RTTs at a day."""
    before, after = build_columns(day, before_us), build_columns(28 - day, after_us)
    return build_pair({name: np.concatenate([column, after[name]]) for name, column in before.items()})


def test_each_segment_has_its_class() -> None:
    """Two weeks at 4 ms, then two at 6: the segments disagree, and the whole period is beyond."""
    first, second = (build_document(make_change(4_000, 6_000, 14), rule=rule).pairs[0] for rule in (FIRST, SECOND))

    for verdict, within in ((first, "within"), (second, "within_provisional")):
        assert [(segment.start_s, segment.change_us, segment.verdict) for segment in verdict.segments] == [
            (START_S, None, within),
            (START_S + 14 * 86_400, 2_000, "beyond"),
        ]
        assert verdict.segments_agree is False
        assert verdict.verdict is VerdictClass.BEYOND
    assert (first.reasons[0].code, first.reasons[0].numbers) == (
        "segments_disagree",
        {"segments": 2, "whole": "beyond"},
    )
    assert list_codes(second) == ["causes", "share_below_target"]


def test_a_better_last_segment_changes_nothing() -> None:
    """Two weeks at 6 ms, then two at 4: beyond. The last segment decided in the first edition."""
    first, second = (build_document(make_change(6_000, 4_000, 14), rule=rule).pairs[0] for rule in (FIRST, SECOND))

    assert [segment.verdict for segment in first.segments] == ["beyond", "within"]
    assert first.verdict is VerdictClass.WITHIN_PROVISIONAL
    assert [segment.verdict for segment in second.segments] == ["beyond", "within_provisional"]
    assert second.verdict is VerdictClass.BEYOND


@BOTH_EDITIONS
def test_a_short_last_segment_does_not_decide(rule: VerdictRule) -> None:
    """Ten days at 6 ms after eighteen at 4: only one segment has a class, so the whole period decides."""
    (verdict,) = build_document(make_change(4_000, 6_000, 18), rule=rule).pairs

    within = "within" if rule is FIRST else "within_provisional"
    assert [segment.verdict for segment in verdict.segments] == [within, None]
    assert verdict.verdict is VerdictClass.BEYOND
    assert not {"segments_disagree", "last_segment"} & set(list_codes(verdict))


@BOTH_EDITIONS
def test_the_worst_pair_decides_for_sites(rule: VerdictRule) -> None:
    """The worse direction decides for two sites, the worst pair for a set."""
    document = build_document(
        make_pair("ams", "fra", 4_000),
        make_pair("fra", "ams", 4_000),
        make_pair("fra", "zrh", 4_000),
        make_pair("zrh", "fra", 9_000),
        rule=rule,
    )

    within = VerdictClass.WITHIN if rule is FIRST else VerdictClass.WITHIN_PROVISIONAL
    assert [(item.sites, item.verdict, item.decided_by) for item in document.site_pairs] == [
        (["ams", "fra"], within, ["ams", "fra"]),
        (["fra", "zrh"], VerdictClass.BEYOND, ["zrh", "fra"]),
    ]
    assert [(item.sites, item.verdict) for item in document.sets] == [(["ams", "fra", "zrh"], VerdictClass.BEYOND)]
    assert document.sets[0].corrected_for == (UNSET if rule is FIRST else 4)
    assert document.wrong_claims_expected == pytest.approx(0.2)


def test_a_set_is_within_only_if_every_pair_is() -> None:
    """It needs no correction: the claim is true of every pair."""
    columns = build_columns(100)
    pairs = [
        replace(build_pair(columns), source=source, destination=destination)
        for source, destination in (("ams", "fra"), ("fra", "zrh"), ("zrh", "ams"))
    ]
    few = {name: column.copy() for name, column in columns.items()}
    for name in ("expected", "sent", "received"):
        few[name][:] = 30
    provisional = replace(build_pair(few), source="zrh", destination="fra")

    assert [item.verdict for item in build_document(*pairs).sets] == [VerdictClass.WITHIN]
    (with_provisional,) = build_document(*pairs, provisional).sets
    assert (with_provisional.verdict, with_provisional.decided_by, with_provisional.corrected_for) == (
        VerdictClass.WITHIN_PROVISIONAL,
        ["zrh", "fra"],
        None,
    )


def test_a_loss_limit_needs_no_correction() -> None:
    """A loss limit that one pair exceeds makes the set beyond as it is."""
    lossy = build_columns(28)
    lose_probes(lossy, range(0, 28 * DAY, 33), lost=1)
    clean = [make_pair(a, b, 4_000) for a, b in (("ams", "fra"), ("fra", "zrh"), ("zrh", "ams"))]
    pair = replace(build_pair(lossy), source="zrh", destination="fra")

    (found,) = build_document(*clean, pair, requirements=make_requirements("p50 <= 5 ms", "loss <= 0.01 %")).sets

    assert (found.verdict, found.decided_by, found.corrected_for) == (VerdictClass.BEYOND, ["zrh", "fra"], None)


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
