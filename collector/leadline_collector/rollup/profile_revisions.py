"""The SQL of rules, beside ``store``: by which profiles windows are counted as they are compacted.

A rule is a profile of the mesh in force as it judges today. When its limits change, or what ``leadline.evaluation`` makes of
them, it is another rule, and every hour is counted anew before a tally of it is believed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from leadline import evaluation
from leadline.evaluation import Criterion, WindowStatistic
from leadline.limits.catalogue import load_catalogue
from leadline_collector.db import tables
from leadline_collector.db.transactions import ReadTransaction
from leadline_collector.mesh import service as mesh_service

#: Grows when the same criteria judge windows otherwise than before: nothing else would tell.
EVALUATION_VERSION = 1

_rule_columns = tables.rule.c


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRevision:
    """A profile as it judges; ``id`` is its number in the database."""

    id: int
    profile: str
    criteria: tuple[Criterion, ...]
    #: Every hour and day that is compacted is counted by it.
    is_complete: bool


def load_active_profiles(reader: ReadTransaction) -> dict[bytes, str]:
    """The digests of the profiles that pairs of the mesh in force name."""
    found = mesh_service.load_active_mesh(reader)
    names = set() if found is None else {name for settings in found[1].pairs.values() for name in settings.profiles}
    return {compute_digest(name): name for name in sorted(names) if name in load_catalogue().profiles}


def compute_digest(profile: str) -> bytes:
    """Return the SHA-256 of everything that decides how a profile evaluates a window."""
    lines = [canonical_text(criterion) for criterion in get_criteria(profile)]
    return hashlib.sha256("\n".join([str(EVALUATION_VERSION), profile, *lines]).encode()).digest()


def canonical_text(criterion: Criterion) -> str:
    """The text that stored digests were computed from. It never changes: another text recounts every hour."""
    measure, comparison = criterion.statistic, criterion.comparison
    sensitivity = criterion.stricter_statistic
    stricter = "None" if sensitivity is None else f"<Measure.{_ENUM_NAMES[sensitivity]}: {sensitivity.value!r}>"
    return (
        f"Criterion(limit_id={criterion.limit_id!r}, measure=<Measure.{_ENUM_NAMES[measure]}: {measure.value!r}>, "
        f"comparison=<Comparison.{comparison.name}: {comparison.value!r}>, limit_us={criterion.limit_us!r}, "
        f"peak_us={criterion.peak_limit_us!r}, sensitivity={stricter}, approximation=None)"
    )


#: Names of ``leadline.evaluation.Measure`` in the canonical text, fixed when the first digests were stored.
_ENUM_NAMES = {
    WindowStatistic.MEAN: "MEAN",
    WindowStatistic.P50: "P50",
    WindowStatistic.P95: "P95",
    WindowStatistic.P99: "P99",
    WindowStatistic.MAX: "MAX",
    WindowStatistic.PDV: "PDV",
    WindowStatistic.P95_PLUS_PDV: "P95_PLUS_PDV",
}


def get_criteria(profile: str) -> tuple[Criterion, ...]:
    """What windows are judged by; ConfigError for an unknown profile."""
    return evaluation.plan_evaluation(
        load_catalogue().get_required_limits(load_catalogue().get_profile(profile))
    ).criteria


def load_current_revisions(connection: Connection) -> list[ProfileRevision]:
    """The rules that say what their profiles say today."""
    rows = connection.execute(
        select(_rule_columns.id, _rule_columns.profile, _rule_columns.sha256, _rule_columns.complete).order_by(
            _rule_columns.id
        )
    )
    return [
        ProfileRevision(id=row[0], profile=row[1], criteria=get_criteria(row[1]), is_complete=row[3])
        for row in rows
        if row[1] in load_catalogue().profiles and row[2] == compute_digest(row[1])
    ]


def find_complete_revision(connection: Connection, profile: str) -> ProfileRevision | None:
    """The rule by which everything that is compacted was counted for this profile; None if there is none yet."""
    return next(
        (rule for rule in load_current_revisions(connection) if rule.profile == profile and rule.is_complete), None
    )


def add_revisions(connection: Connection, profile_by_digest: dict[bytes, str]) -> None:
    """Add rules; hours are counted by them from now on, and those before still have to be."""
    rows = [{"sha256": sha256, "profile": profile, "complete": False} for sha256, profile in profile_by_digest.items()]
    connection.execute(insert(tables.rule), rows)


def load_revision_ids(connection: Connection) -> dict[bytes, int]:
    """The numbers of all rules, those nobody wants any more too."""
    return {row[0]: row[1] for row in connection.execute(select(_rule_columns.sha256, _rule_columns.id))}


def set_complete(connection: Connection, ids: Collection[int], *, complete: bool = True) -> None:
    """Say whether every hour has been counted by these."""
    connection.execute(update(tables.rule).where(_rule_columns.id.in_(ids)).values(complete=complete))


def delete_revisions(connection: Connection, ids: Collection[int]) -> None:
    """Forget rules, after their tallies."""
    connection.execute(delete(tables.rule).where(_rule_columns.id.in_(ids)))
