"""Profile revisions: the criteria by which compaction counts windows, and their SQL (table ``rule``).

A revision is a profile of the active mesh with its present criteria. If its limits or their evaluation change, the
profile gets a new revision, and its counts are used only after every hour was counted again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Connection, delete, insert, select, update

from leadline import evaluation
from leadline.evaluation import Criterion, EvaluationPlan, WindowStatistic
from leadline.limits.catalogue import load_catalogue
from leadline_collector.db import tables
from leadline_collector.db.transactions import ReadTransaction
from leadline_collector.mesh import service as mesh_service

#: Increased when ``leadline.evaluation`` evaluates the same criteria differently; it is part of the digest.
EVALUATION_VERSION = 2

_rule_columns = tables.rule.c


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRevision:
    """A profile with fixed criteria; ``id`` is its key in the database."""

    id: int
    profile: str
    criteria: tuple[Criterion, ...]
    #: All compacted hours and days are counted by it.
    is_complete: bool


def load_active_profiles(reader: ReadTransaction) -> dict[bytes, str]:
    """Return the profiles of the pairs of the active mesh by digest."""
    active_mesh = mesh_service.load_active_mesh(reader)
    if active_mesh is None:
        return {}
    _, mesh = active_mesh
    names = {name for settings in mesh.pairs.values() for name in settings.profiles}
    return {compute_digest(name): name for name in sorted(names) if name in load_catalogue().profiles}


@cache
def compute_digest(profile: str) -> bytes:
    """Return the SHA-256 of everything that decides how a profile evaluates a window."""
    lines = [canonical_text(criterion) for criterion in get_criteria(profile)]
    return hashlib.sha256("\n".join([str(EVALUATION_VERSION), profile, *lines]).encode()).digest()


def canonical_text(criterion: Criterion) -> str:
    """Return the text of a criterion for its digest. It must never change: another text recounts every hour."""
    measure, comparison = criterion.statistic, criterion.comparison
    sensitivity = criterion.stricter_statistic
    flags = "".join(
        f", {name}=True"
        for name, is_set in (
            ("is_equality_open", criterion.is_equality_open),
            ("never_condemns", criterion.never_condemns),
        )
        if is_set
    )
    stricter = "None" if sensitivity is None else f"<Measure.{_ENUM_NAMES[sensitivity]}: {sensitivity.value!r}>"
    return (
        f"Criterion(limit_id={criterion.limit_id!r}, measure=<Measure.{_ENUM_NAMES[measure]}: {measure.value!r}>, "
        f"comparison=<Comparison.{comparison.name}: {comparison.value!r}>, limit_us={criterion.limit_us!r}, "
        f"peak_us={criterion.peak_limit_us!r}, sensitivity={stricter}, approximation=None{flags})"
    )


#: Names of the statistics in the canonical text, fixed since the first stored digests.
_ENUM_NAMES = {
    WindowStatistic.MEAN: "MEAN",
    WindowStatistic.P50: "P50",
    WindowStatistic.P95: "P95",
    WindowStatistic.P99: "P99",
    WindowStatistic.MAX: "MAX",
    WindowStatistic.PDV: "PDV",
    WindowStatistic.P95_PLUS_PDV: "P95_PLUS_PDV",
}


@cache
def get_evaluation_plan(profile: str) -> EvaluationPlan:
    """Return the criteria of a profile and its limits without criteria; raise ConfigError for an unknown profile.

    The catalogue is part of the program, so each profile is planned once per process.
    """
    catalogue = load_catalogue()
    return evaluation.plan_evaluation(catalogue.get_required_limits(catalogue.get_profile(profile)))


def get_criteria(profile: str) -> tuple[Criterion, ...]:
    """Return the criteria that windows are evaluated by; raise ConfigError for an unknown profile."""
    return get_evaluation_plan(profile).criteria


def load_current_revisions(connection: Connection) -> list[ProfileRevision]:
    """Return the revisions with the present criteria of their profiles."""
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
    """Return the current revision of a profile if all compacted hours are counted by it, else None."""
    revisions = load_current_revisions(connection)
    return next((revision for revision in revisions if revision.profile == profile and revision.is_complete), None)


def add_revisions(connection: Connection, profile_by_digest: dict[bytes, str]) -> None:
    """Add incomplete revisions; new hours are counted by them, earlier hours have to be counted (``recount``)."""
    rows = [{"sha256": sha256, "profile": profile, "complete": False} for sha256, profile in profile_by_digest.items()]
    connection.execute(insert(tables.rule), rows)


def load_revision_ids(connection: Connection) -> dict[bytes, int]:
    """Return the ids of all revisions by digest, unused ones included."""
    return {row[0]: row[1] for row in connection.execute(select(_rule_columns.sha256, _rule_columns.id))}


def set_complete(connection: Connection, ids: Collection[int], *, complete: bool = True) -> None:
    """Set whether all hours are counted by these revisions."""
    connection.execute(update(tables.rule).where(_rule_columns.id.in_(ids)).values(complete=complete))


def delete_revisions(connection: Connection, ids: Collection[int]) -> None:
    """Delete revisions; delete their counts first."""
    connection.execute(delete(tables.rule).where(_rule_columns.id.in_(ids)))
