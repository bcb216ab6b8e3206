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
from leadline.evaluation import Criterion, Measure
from leadline.limits.catalogue import catalogue
from leadline_collector.db import tables
from leadline_collector.db.transactions import Reader
from leadline_collector.mesh import service as mesh_service

#: Grows when the same criteria judge windows otherwise than before: nothing else would tell.
JUDGEMENT_VERSION = 1

_rule = tables.rule.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A profile as it judges; ``id`` is its number in the database."""

    id: int
    profile: str
    criteria: tuple[Criterion, ...]
    #: Every hour and day that is compacted is counted by it.
    complete: bool


def wanted(reader: Reader) -> dict[bytes, str]:
    """The digests of the profiles that pairs of the mesh in force name."""
    found = mesh_service.in_force(reader)
    names = set() if found is None else {name for settings in found[1].pairs.values() for name in settings.profiles}
    return {digest(name): name for name in sorted(names) if name in catalogue().profiles}


def digest(profile: str) -> bytes:
    """Return the SHA-256 of everything that decides how a profile evaluates a window."""
    lines = [canonical_text(criterion) for criterion in criteria(profile)]
    return hashlib.sha256("\n".join([str(JUDGEMENT_VERSION), profile, *lines]).encode()).digest()


def canonical_text(criterion: Criterion) -> str:
    """The text that stored digests were computed from. It never changes: another text recounts every hour."""
    measure, comparison = criterion.measure, criterion.comparison
    sensitivity = criterion.sensitivity
    stricter = "None" if sensitivity is None else f"<Measure.{_ENUM_NAMES[sensitivity]}: {sensitivity.value!r}>"
    return (
        f"Criterion(limit_id={criterion.limit_id!r}, measure=<Measure.{_ENUM_NAMES[measure]}: {measure.value!r}>, "
        f"comparison=<Comparison.{comparison.name}: {comparison.value!r}>, limit_us={criterion.limit_us!r}, "
        f"peak_us={criterion.peak_us!r}, sensitivity={stricter}, approximation=None)"
    )


#: Names of ``leadline.evaluation.Measure`` in the canonical text, fixed when the first digests were stored.
_ENUM_NAMES = {
    Measure.MEAN: "MEAN",
    Measure.P50: "P50",
    Measure.P95: "P95",
    Measure.P99: "P99",
    Measure.MAX: "MAX",
    Measure.PDV: "PDV",
    Measure.P95_PLUS_PDV: "P95_PLUS_PDV",
}


def criteria(profile: str) -> tuple[Criterion, ...]:
    """What windows are judged by; ConfigError for an unknown profile."""
    return evaluation.judged(catalogue().limits_of(catalogue().profile(profile))).criteria


def valid(connection: Connection) -> list[Rule]:
    """The rules that say what their profiles say today."""
    rows = connection.execute(select(_rule.id, _rule.profile, _rule.sha256, _rule.complete).order_by(_rule.id))
    return [
        Rule(id=row[0], profile=row[1], criteria=criteria(row[1]), complete=row[3])
        for row in rows
        if row[1] in catalogue().profiles and row[2] == digest(row[1])
    ]


def complete(connection: Connection, profile: str) -> Rule | None:
    """The rule by which everything that is compacted was counted for this profile; None if there is none yet."""
    return next((rule for rule in valid(connection) if rule.profile == profile and rule.complete), None)


def add(connection: Connection, missing: dict[bytes, str]) -> None:
    """Add rules; hours are counted by them from now on, and those before still have to be."""
    rows = [{"sha256": sha256, "profile": profile, "complete": False} for sha256, profile in missing.items()]
    connection.execute(insert(tables.rule), rows)


def known(connection: Connection) -> dict[bytes, int]:
    """The numbers of all rules, those nobody wants any more too."""
    return {row[0]: row[1] for row in connection.execute(select(_rule.sha256, _rule.id))}


def set_complete(connection: Connection, ids: Collection[int], *, complete: bool = True) -> None:
    """Say whether every hour has been counted by these."""
    connection.execute(update(tables.rule).where(_rule.id.in_(ids)).values(complete=complete))


def remove(connection: Connection, ids: Collection[int]) -> None:
    """Forget rules, after their tallies."""
    connection.execute(delete(tables.rule).where(_rule.id.in_(ids)))
