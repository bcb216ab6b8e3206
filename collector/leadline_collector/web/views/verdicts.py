"""The verdicts of a small mesh on one page: by two sites, the worst first. The matrix fetches them once it is there.

They take seconds and are of days that are over, so the page shows those of the last minute again and says so. What a
pair is now is read for each page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeAlias

from leadline.limits.catalogue import catalogue
from leadline.mesh.model import Mesh
from leadline.model import WINDOW_S, Pair
from leadline_collector.analysis.verdicts import Question, Windows, judged
from leadline_collector.db.transactions import Reader, Store
from leadline_collector.errors import InvalidRequestError, NotFoundError
from leadline_collector.http.ttl_cache import TtlCache
from leadline_collector.live import store as live_store
from leadline_collector.live.store import PairNow
from leadline_collector.mesh import registry
from leadline_collector.mesh import service as mesh_service
from leadline_collector.rollup import profile_revisions
from leadline_collector.time_range import DAY_S, Period
from leadline_collector.web import formatting
from leadline_collector.web.params import Asked
from leadline_collector.web.views.pair_data import verdict_days
from leadline_collector.web.views.verdict_labels import WORDS, VerdictView, look, view
from leadline_collector.windows.dirty_hours import HOUR_S
from leadline_verdict.decision import Rule
from leadline_verdict.document import PairVerdict, SitesVerdict, VerdictDocument, Word
from leadline_verdict.requirements import NO_WISHES

#: Directed pairs on the page: a verdict takes some 0.1 s, and nobody waits longer than a few seconds.
PAIRS_MAX = 30
#: What the page shows may be this much older than it is, and no more of it is kept than this many questions.
AGE_S_MAX, KEPT_MAX = 60, 16
#: A pair whose latest window that is due is older than this is not known to be anything now.
NOW_S_MAX = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Two sites."""

    href: str
    name: str
    look: str
    word: str
    #: Each direction, the one that decides first.
    directions: list[tuple[str, VerdictView]]
    #: What the direction that decides is now, and since when; None where nothing is known of the minutes just past.
    now: tuple[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictsPage:
    """The page, and the part of it that the matrix fetches."""

    now_s: int
    back: str
    profile: str
    first_day: str
    last_day: str
    days: int
    target: str
    #: When the verdicts were worked out, to the second.
    judged_at: str
    #: How many pairs of sites have each word, the worst first.
    counts: list[tuple[str, str, int]]
    lines: list[Line]
    json: str


Documents: TypeAlias = TtlCache[tuple[VerdictDocument, int]]


def verdicts_page(store: Store, kept: Documents, asked: Asked, now_s: int) -> VerdictsPage:
    """The page; 404 without a pair, 422 for more pairs than it takes, or for an unknown group or profile."""
    days = verdict_days(asked.period(now_s), now_s)
    with store.read() as reader:
        version, mesh = mesh_service.in_force(reader) or _refuse_empty()
    part = _part(mesh, asked.group)
    profile = asked.profile or default_profile(part)
    known = catalogue()
    known.profile(profile)
    # Whoever waits for another's answer holds no connection meanwhile.
    document, judged_s = kept.get_or_compute(
        (version, asked.group, profile, days),
        lambda: (_judged(store, version, mesh, part, profile, days), now_s),
    )
    with store.read() as reader:
        standing = _standing(reader, profile, now_s)
    return VerdictsPage(
        now_s=now_s,
        back=asked.matrix(),
        profile=known.profile(profile).title,
        first_day=formatting.day(days.start_s),
        last_day=formatting.day(days.end_s - 1),
        days=document.days,
        target=f"{100 * document.rule.target_share:g}\u00a0%",
        judged_at=f"{datetime.fromtimestamp(judged_s, UTC):%H:%M:%S}",
        counts=_counts(document),
        lines=_lines(document, replace(asked, profile=profile), standing),
        json=f"/api/v1/verdicts?profile={profile}&from={days.start_s}&to={days.end_s}",
    )


def _judged(store: Store, version: int, mesh: Mesh, part: Mesh, profile: str, days: Period) -> VerdictDocument:
    question = Question(period=days, pair=None, sites=(), profiles=(profile,), wishes=NO_WISHES, rule=Rule())
    with store.read() as reader:
        return judged(question, version, part, Windows(reader, mesh, days).of)


def _standing(reader: Reader, profile: str, now_s: int) -> dict[tuple[str, str], tuple[str, str]]:
    """State now and since when of every pair that is judged by a profile in force; minutes long past are no now."""
    rule_id = profile_revisions.known(reader.connection).get(profile_revisions.digest(profile))
    if rule_id is None:
        return {}
    names = {number: name for name, number in registry.read(reader.connection).site_ids.items()}
    return {
        (names[source], names[destination]): (row.state, _since(row, now_s))
        for (source, destination), row in live_store.pairs_by(reader.connection, rule_id).items()
        if now_s - row.t <= NOW_S_MAX
    }


def _since(row: PairNow, now_s: int) -> str:
    """``since 06:31``; a run that began a day ago or earlier may have begun before what was looked through."""
    if row.t - row.since < DAY_S - WINDOW_S:
        return f"since {formatting.short_moment(row.since, now_s)}"
    return f"{(row.t + WINDOW_S - row.since) // HOUR_S:,}\u00a0h or longer"


def _refuse_empty() -> tuple[int, Mesh]:
    raise NotFoundError("no mesh is in force yet: run `leadline mesh apply FILE`")


def default_profile(mesh: Mesh) -> str:
    """The first profile of the first pair that has one, else the catalogue's first."""
    named = (profile for settings in mesh.pairs.values() for profile in settings.profiles)
    return next(named, None) or next(iter(catalogue().profiles))


def _part(mesh: Mesh, group: str | None) -> Mesh:
    """The mesh with only the pairs of a group."""
    if group is not None and group not in mesh.groups:
        raise InvalidRequestError(f"group: {group!r} is none of {', '.join(mesh.groups)}", path="group")
    pairs = {pair: settings for pair, settings in mesh.pairs.items() if group is None or group in settings.groups}
    if len(pairs) > PAIRS_MAX:
        raise InvalidRequestError(
            f"group: {len(pairs)} pairs are more than {PAIRS_MAX} on one page; ask for a group, "
            "for two sites by their page, or use `leadline verdict`",
            path="group",
        )
    return replace(mesh, pairs=pairs)


def _counts(document: VerdictDocument) -> list[tuple[str, str, int]]:
    counted = Counter(one.verdict for one in document.site_pairs)
    return [(look(word), WORDS[word], counted[word]) for word in Word if counted[word]]


Standing: TypeAlias = Mapping[tuple[str, str], tuple[str, str]]


def _lines(document: VerdictDocument, asked: Asked, standing: Standing) -> list[Line]:
    """The worst first, and at the end those of which no minute is known."""
    found = {(one.source, one.destination): one for one in document.pairs}
    order = list(Word)
    ordered = sorted(document.site_pairs, key=lambda one: order.index(one.verdict))
    lines = [_line(one, found, asked, standing) for one in ordered]
    return sorted(lines, key=lambda line: not any(view.share for _, view in line.directions))


def _line(both: SitesVerdict, found: Mapping[tuple[str, str], PairVerdict], asked: Asked, standing: Standing) -> Line:
    a, b = both.sites
    verdicts = [found[ends] for ends in ((a, b), (b, a)) if ends in found]
    ordered: Sequence[PairVerdict] = sorted(verdicts, key=lambda one: [one.source, one.destination] != both.decided_by)
    worst = ordered[0]
    return Line(
        href=asked.pair(Pair(source=worst.source, destination=worst.destination)),
        name=f"{a} ⇄ {b}" if len(verdicts) > 1 else f"{worst.source} → {worst.destination}",
        look=look(both.verdict),
        word=WORDS[both.verdict],
        now=standing.get((worst.source, worst.destination)),
        directions=[(f"{one.source} → {one.destination}", view(one)) for one in ordered],
    )
