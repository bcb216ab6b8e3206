"""What a verdict asks of a pair: the limits of a profile, changed and added to as the user said, and how each is met.

Rule 1: a limit is judged by windows, by the loss of the period, by what the operator declares, or not at all; which of
these is printed with it, and one that is not judged is never counted as met.
Rule 2: what did not come from the catalogue says so: a number that was overridden, with what it was, or a limit of
the user's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from fractions import Fraction

import msgspec

from leadline import evaluation
from leadline.errors import ConfigError
from leadline.evaluation import Criterion, UnevaluableLimit, WindowStatistic
from leadline.limits.catalogue import Catalogue, Comparison, Limit, Metric, Profile


class RequirementOrigin(StrEnum):
    """Where a number came from."""

    CATALOGUE = "catalogue"
    #: The catalogue's limit with another number.
    OVERRIDDEN = "overridden"
    USER = "user"


class EvaluationMethod(StrEnum):
    """How a limit is judged."""

    WINDOWS = "windows"
    LOSS = "loss"
    #: The operator's word against the limit's number.
    DECLARED = "declared"
    NOT_EVALUATED = "not_judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class LossLimit:
    """A bound on the share of probes lost."""

    limit_id: str
    comparison: Comparison
    #: Above 0, below 1.
    ratio: Fraction
    #: The time the vendor averages over; None where he names none and the period is one.
    window_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One limit and what is done about it. Exactly one of ``criterion``, ``loss`` and ``reason`` is there, or none for
    a declared limit.
    """

    limit_id: str
    #: As it is printed: ``< 10 ms``.
    text: str
    origin: RequirementOrigin = RequirementOrigin.CATALOGUE
    method: EvaluationMethod
    #: The catalogue's own number where another one is used.
    catalogue_text: str | None = None
    criterion: Criterion | None = None
    loss_limit: LossLimit | None = None
    #: Why it is not judged.
    reason: str | None = None
    #: What the operator declared, in the unit of the limit; None when he did not.
    declared_value: Decimal | None = None
    #: Whether that meets the limit; None when nothing was declared.
    is_declared_met: bool | None = None
    #: None for a limit of the user's own.
    limit: Limit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementSet:
    """All that must hold."""

    id: str
    title: str
    note: str | None
    items: tuple[Requirement, ...]

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """What windows are judged by."""
        return tuple(item.criterion for item in self.items if item.criterion is not None)

    @property
    def loss_limits(self) -> tuple[LossLimit, ...]:
        """What the loss of the period is judged by."""
        return tuple(item.loss_limit for item in self.items if item.loss_limit is not None)

    def iter_unmet(self) -> Iterator[Requirement]:
        """Limits that what was declared does not meet."""
        return (item for item in self.items if item.is_declared_met is False)

    def iter_undeclared(self) -> Iterator[Requirement]:
        """Limits that nobody has vouched for: to be declared, or beyond judging."""
        return (
            item
            for item in self.items
            if item.method in {EvaluationMethod.DECLARED, EvaluationMethod.NOT_EVALUATED}
            and item.is_declared_met is None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOverrides:
    """What the user changes: numbers of limits by id, values the operator vouches for, and limits of his own."""

    values: Mapping[str, Decimal]
    declared_values: Mapping[str, Decimal]
    custom_limits: tuple[str, ...] = ()


NO_OVERRIDES = LimitOverrides(values={}, declared_values={})


def build_requirements(
    catalogue: Catalogue, profile: Profile | None, overrides: LimitOverrides = NO_OVERRIDES
) -> RequirementSet:
    """What is asked; ConfigError for a wish that fits nothing. ``profile`` None: the user's own limits alone."""
    if profile is None and not overrides.custom_limits:
        raise ConfigError("profile", "nothing to judge by: name a profile or a limit of your own")
    own = [parse_custom_limit(text) for text in overrides.custom_limits]
    named: dict[str, list[Limit]] = {"all_of": [], "declared": []}
    if profile is not None:
        named = {
            "all_of": [*catalogue.get_required_limits(profile)],
            "declared": [*catalogue.get_declared_limits(profile)],
        }
    ids = [limit.id for limits in named.values() for limit in limits]
    _check_ids("override", overrides.values, ids)
    _check_ids("declare", overrides.declared_values, ids)
    items = [_build_requirement(limit, overrides, vouched=False) for limit in named["all_of"]]
    items += [_build_requirement(limit, overrides, vouched=True) for limit in named["declared"]]
    return RequirementSet(
        id=" + ".join([*([profile.id] if profile else []), *(item.limit_id for item in own)]),
        title=profile.title if profile else "limits of the user",
        note=profile.note if profile else None,
        items=(*items, *own),
    )


def _check_ids(what: str, named: Iterable[str], ids: Sequence[str]) -> None:
    for name in named:
        if name not in ids:
            raise ConfigError(what, f"{name!r} is no limit of what is judged; there are: {', '.join(ids) or 'none'}")


def _build_requirement(original: Limit, wishes: LimitOverrides, *, vouched: bool) -> Requirement:
    changed = wishes.values.get(original.id)
    limit = original if changed is None else _replace_value(original, changed)
    required = _classify_limit(limit, vouched or original.id in wishes.declared_values)
    if original.id in wishes.declared_values:
        value = wishes.declared_values[original.id]
        required = replace(required, declared_value=value, is_declared_met=_is_met(value, limit))
    if changed is not None:
        required = replace(required, origin=RequirementOrigin.OVERRIDDEN, catalogue_text=original.text)
    return required


def _replace_value(limit: Limit, value: Decimal) -> Limit:
    try:
        return msgspec.structs.replace(limit, value=value)
    except ValueError as error:
        raise ConfigError("override", str(error)) from error


def _classify_limit(limit: Limit, vouched: bool) -> Requirement:
    def required(how: EvaluationMethod, **facts: object) -> Requirement:
        return Requirement(limit_id=limit.id, text=limit.text, method=how, limit=limit, **facts)  # type: ignore[arg-type]

    if vouched:
        return required(EvaluationMethod.DECLARED)
    if limit.metric is Metric.LOSS:
        return required(EvaluationMethod.LOSS, loss_limit=_to_loss_limit(limit))
    answer = evaluation.derive_criterion(limit)
    if isinstance(answer, UnevaluableLimit):
        return required(EvaluationMethod.NOT_EVALUATED, reason=answer.reason)
    return required(EvaluationMethod.WINDOWS, criterion=answer)


def _to_loss_limit(limit: Limit) -> LossLimit:
    return LossLimit(
        limit_id=limit.id,
        comparison=limit.comparison,
        ratio=Fraction(limit.value) / 100,
        window_s=limit.time_window.window_s if limit.time_window else None,
    )


def _is_met(value: Decimal, limit: Limit) -> bool:
    match limit.comparison:
        case Comparison.LESS:
            return value < limit.value
        case Comparison.LESS_EQUAL:
            return value <= limit.value
        case Comparison.GREATER_EQUAL:
            return value >= limit.value


_CUSTOM_LIMIT_PATTERN = re.compile(
    r"\s*(mean|p50|p95|p99|max|pdv|p95 \+ pdv|loss)\s*(<=?)\s*(\d+(?:\.\d+)?)\s*(ms|us|%)\s*", re.ASCII
)
_US_PER_UNIT = {"ms": 1_000, "us": 1}


def parse_custom_limit(text: str) -> Requirement:
    """A limit as a user writes it: ``p95 <= 8 ms``, ``loss < 0.1 %``; ConfigError when it is none."""
    found = _CUSTOM_LIMIT_PATTERN.fullmatch(text)
    if found is None or (found[1] == "loss") != (found[4] == "%"):
        raise ConfigError("limit", f"{text!r} is no limit; write one like 'p95 <= 8 ms' or 'loss < 0.1 %'")
    measure, comparison, value, unit = found.groups()
    name, shown = f"{measure} {comparison} {value} {unit}", f"{comparison} {value} {unit}"
    if unit == "%":
        ratio = Fraction(value) / 100
        if not 0 < ratio < 1:
            raise ConfigError("limit", f"{text!r}: a share lost is above 0 and below 100 %")
        loss = LossLimit(limit_id=name, comparison=Comparison(comparison), ratio=ratio)
        return Requirement(
            limit_id=name, text=shown, origin=RequirementOrigin.USER, method=EvaluationMethod.LOSS, loss_limit=loss
        )
    value_us = Decimal(value) * _US_PER_UNIT[unit]
    if value_us <= 0 or value_us % 1:
        raise ConfigError("limit", f"{text!r}: a limit is a whole number of microseconds above 0")
    criterion = Criterion(
        limit_id=name, statistic=WindowStatistic(measure), comparison=Comparison(comparison), limit_us=int(value_us)
    )
    return Requirement(
        limit_id=name, text=shown, origin=RequirementOrigin.USER, method=EvaluationMethod.WINDOWS, criterion=criterion
    )


def parse_assignments(option: str, texts: Iterable[str]) -> dict[str, Decimal]:
    """``ID=NUMBER`` texts as a mapping; ConfigError naming ``what`` for another text or an id named twice."""
    found: dict[str, Decimal] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            value = Decimal(number)
        except InvalidOperation:
            raise ConfigError(option, f"{text!r} is not ID=NUMBER, in the unit of the limit") from None
        if name in found or not value.is_finite() or value < 0:
            raise ConfigError(option, f"{text!r}: each id once, with a number of at least 0")
        found[name] = value
    return found
