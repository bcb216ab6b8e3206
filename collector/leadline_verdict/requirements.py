"""Requirements of a verdict: the limits of a profile with the user's overrides, and the method that evaluates each.

Rule 1: a limit is evaluated by windows, by the loss of the period, by a declared value, or not at all. The method is
reported, and a limit without evaluation never counts as met.
Rule 2: deviations from the catalogue are reported: an overridden limit with its original value, and the user's custom
limits.
Rule 3: a limit is bound by its rules of use and by those of its profile; ``limit_rules`` obeys them. The operator's
figure replaces one that the vendor publishes per platform, so it may condemn and acquit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from fractions import Fraction

import msgspec

from leadline import evaluation
from leadline.errors import ConfigError
from leadline.evaluation import Criterion, UnevaluableLimit, WindowStatistic
from leadline.limits.catalogue import (
    Catalogue,
    Comparison,
    ConflictKind,
    Limit,
    Metric,
    NonNumericStatement,
    Profile,
    SourceConflict,
    UseRule,
)
from leadline.mesh.model import DeclaredOutages


class RequirementOrigin(StrEnum):
    """Origin of a limit value."""

    CATALOGUE = "catalogue"
    #: A limit of the catalogue with a different value.
    OVERRIDDEN = "overridden"
    USER = "user"


class EvaluationMethod(StrEnum):
    """Method that evaluates a limit."""

    WINDOWS = "windows"
    LOSS = "loss"
    #: The operator's declared value is compared with the limit.
    DECLARED = "declared"
    NOT_EVALUATED = "not_judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class LossLimit:
    """A limit on the ratio of lost probes."""

    limit_id: str
    comparison: Comparison
    #: Above 0, below 1.
    ratio: Fraction
    #: Averaging time of the vendor; None if the vendor names none: the average is over the whole period.
    window_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One limit and its evaluation method.

    Exactly one of ``criterion``, ``loss_limit`` and ``reason`` is set, or none of them for a declared limit.
    """

    limit_id: str
    #: Comparison and value: ``< 10 ms``.
    text: str
    origin: RequirementOrigin = RequirementOrigin.CATALOGUE
    method: EvaluationMethod
    #: Limit of the catalogue if it is overridden; None otherwise.
    catalogue_text: str | None = None
    criterion: Criterion | None = None
    loss_limit: LossLimit | None = None
    #: Reason why the limit is not evaluated.
    reason: str | None = None
    #: Value declared by the operator, in the unit of the limit; None without a declaration.
    declared_value: Decimal | None = None
    #: Whether the declared value meets the limit; None without a declaration.
    is_declared_met: bool | None = None
    #: None for a custom limit of the user.
    limit: Limit | None = None
    #: Rules of use that bind the verdict: those of the limit and of its profile.
    use_rules: tuple[UseRule, ...] = ()

    @property
    def is_measured(self) -> bool:
        """True if windows or the loss of the period evaluate the limit."""
        return self.criterion is not None or self.loss_limit is not None

    @property
    def is_reported_only(self) -> bool:
        """True if the figure never gives a verdict."""
        return not _REPORTED_ONLY_RULES.isdisjoint(self.use_rules)

    @property
    def may_condemn(self) -> bool:
        """True if a value above the limit rejects the path by itself."""
        return not self.is_reported_only and evaluation.NEVER_CONDEMNING_RULES.isdisjoint(self.use_rules)

    @property
    def may_acquit(self) -> bool:
        """True if a value within the limit shows that a requirement is met."""
        return not self.is_reported_only and _NEVER_ACQUITTING_RULES.isdisjoint(self.use_rules)


_REPORTED_ONLY_RULES = frozenset(evaluation.REPORTED_ONLY_REASONS)
_NEVER_ACQUITTING_RULES = frozenset((UseRule.CONDEMN_ONLY, UseRule.NOT_ALONE))


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredStatement:
    """A statement of the vendor that a verdict prints; "within" is provisional until the operator confirms it."""

    statement: NonNumericStatement
    is_confirmed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictingFigures:
    """Figures of several pages of one vendor, one of which is a limit of the profile."""

    conflict: SourceConflict
    #: Limit of the profile.
    limit_id: str
    #: At least two, the milder first. All are evaluated by windows.
    figures: tuple[Requirement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementSet:
    """All requirements of a verdict."""

    id: str
    title: str
    note: str | None
    items: tuple[Requirement, ...]
    #: Rules of use of the profile itself.
    use_rules: tuple[UseRule, ...] = ()
    statements: tuple[RequiredStatement, ...] = ()
    conflicts: tuple[ConflictingFigures, ...] = ()

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """Criteria that windows are evaluated by."""
        return tuple(item.criterion for item in self.items if item.criterion is not None)

    @property
    def loss_limits(self) -> tuple[LossLimit, ...]:
        """Limits that loss is evaluated by."""
        return tuple(item.loss_limit for item in self.items if item.loss_limit is not None)

    @property
    def measured_items(self) -> tuple[Requirement, ...]:
        """Limits that windows or the loss of the period evaluate."""
        return tuple(item for item in self.items if item.is_measured)

    def may_condemn(self, limit_id: str) -> bool:
        """Return True if a value above this limit rejects the path by itself."""
        return any(item.may_condemn for item in self.items if item.limit_id == limit_id)

    def iter_unmet(self) -> Iterator[Requirement]:
        """Return the limits that the declared value does not meet, if they may condemn."""
        return (item for item in self.items if item.is_declared_met is False and item.may_condemn)

    def iter_undeclared(self) -> Iterator[Requirement]:
        """Return the limits that need a declaration or cannot be evaluated, and have no declared value."""
        return (
            item
            for item in self.items
            if item.method in {EvaluationMethod.DECLARED, EvaluationMethod.NOT_EVALUATED}
            and item.is_declared_met is None
            and not item.is_reported_only
        )

    def replace_item(self, limit_id: str, requirement: Requirement) -> RequirementSet:
        """Return the set with another figure for a limit, and without conflicts."""
        items = tuple(requirement if item.limit_id == limit_id else item for item in self.items)
        return replace(self, items=items, conflicts=())

    def without_use_rules(self) -> RequirementSet:
        """Return the set for the first edition, which ignores rules of use."""
        items = tuple(
            replace(
                item,
                use_rules=(),
                criterion=None
                if item.criterion is None
                else replace(item.criterion, is_equality_open=False, never_condemns=False),
            )
            for item in self.items
        )
        return replace(self, items=items, use_rules=(), statements=(), conflicts=())


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOverrides:
    """Overrides of the user: limit values by id, declared values by id, and custom limits."""

    values: Mapping[str, Decimal]
    declared_values: Mapping[str, Decimal]
    custom_limits: tuple[str, ...] = ()


NO_OVERRIDES = LimitOverrides(values={}, declared_values={})


def build_requirements(
    catalogue: Catalogue, profile: Profile | None, overrides: LimitOverrides = NO_OVERRIDES
) -> RequirementSet:
    """Build the requirements; raise ConfigError for an override without a limit.

    ``profile`` None means custom limits only.
    """
    if profile is None and not overrides.custom_limits:
        raise ConfigError("profile", "there is no limit to evaluate; give a profile or a custom limit")
    custom_requirements = [parse_custom_limit(text) for text in overrides.custom_limits]
    required = catalogue.get_required_limits(profile) if profile else ()
    declared = catalogue.get_declared_limits(profile) if profile else ()
    ids = [limit.id for limit in (*required, *declared)]
    statement_ids = {name for limit in required for name in limit.statements}
    statement_ids.update(profile.statements if profile else ())
    _check_ids("override", overrides.values, ids)
    _check_ids("declare", overrides.declared_values, [*ids, *sorted(statement_ids)])
    profile_rules = _select_profile_rules(profile, (*required, *declared))
    items = [_build_requirement(limit, overrides, profile_rules, is_declared=False) for limit in required]
    items += [_build_requirement(limit, overrides, profile_rules, is_declared=True) for limit in declared]
    return RequirementSet(
        id=" + ".join([*([profile.id] if profile else []), *(item.limit_id for item in custom_requirements)]),
        title=profile.title if profile else "limits of the user",
        note=profile.note if profile else None,
        items=(*items, *custom_requirements),
        use_rules=profile.use_rules if profile else (),
        statements=tuple(
            RequiredStatement(statement=statement, is_confirmed=_is_confirmed(statement.id, overrides))
            for statement in catalogue.get_statements(statement_ids)
        ),
        conflicts=tuple(_iter_conflicts(catalogue, items, profile_rules)),
    )


def _select_profile_rules(profile: Profile | None, limits: Iterable[Limit]) -> tuple[UseRule, ...]:
    """Return the rules of a profile that bind each of its limits.

    The operator's figure is for the limits that have this rule, if some do.
    """
    rules = profile.use_rules if profile else ()
    has_figure = any(UseRule.OPERATOR_FIGURE in limit.use_rules for limit in limits)
    return tuple(rule for rule in rules if rule is not UseRule.OPERATOR_FIGURE or not has_figure)


def _is_confirmed(statement_id: str, overrides: LimitOverrides) -> bool:
    value = overrides.declared_values.get(statement_id)
    if value is not None and value != 1:
        raise ConfigError("declare", f"{statement_id}={value}: this is a statement; confirm it with {statement_id}=1")
    return value is not None


def _iter_conflicts(
    catalogue: Catalogue, items: Iterable[Requirement], profile_rules: tuple[UseRule, ...]
) -> Iterator[ConflictingFigures]:
    """Yield the figures of other pages of the vendor for limits that windows evaluate as published."""
    for item in items:
        if item.criterion is None or item.origin is not RequirementOrigin.CATALOGUE:
            continue
        for conflict in catalogue.get_conflicts(item.limit_id):
            if conflict.kind is not ConflictKind.PAGES_OF_ONE_VENDOR:
                continue
            figures = [
                _build_requirement(catalogue.get_limit(name), NO_OVERRIDES, profile_rules, is_declared=False)
                for name in conflict.entries
            ]
            figures = [figure for figure in figures if figure.criterion is not None]
            if len(figures) > 1:
                yield ConflictingFigures(conflict=conflict, limit_id=item.limit_id, figures=tuple(figures))


def _check_ids(option: str, limit_ids: Iterable[str], ids: Sequence[str]) -> None:
    for limit_id in limit_ids:
        if limit_id not in ids:
            raise ConfigError(
                option, f"{limit_id!r} is not a limit of the profile; its limits are: {', '.join(ids) or 'none'}"
            )


def _build_requirement(
    original: Limit, overrides: LimitOverrides, profile_rules: tuple[UseRule, ...], *, is_declared: bool
) -> Requirement:
    override = overrides.values.get(original.id)
    limit = original if override is None else _replace_value(original, override)
    requirement = _classify_limit(limit, is_declared or original.id in overrides.declared_values)
    rules = tuple(dict.fromkeys((*limit.use_rules, *profile_rules)))
    if override is not None and UseRule.OPERATOR_FIGURE in rules:
        rules = tuple(rule for rule in rules if rule not in _LIFTED_BY_OPERATOR_FIGURE)
    requirement = replace(requirement, use_rules=rules)
    if original.id in overrides.declared_values:
        declared_value = overrides.declared_values[original.id]
        requirement = replace(
            requirement, declared_value=declared_value, is_declared_met=_is_met(declared_value, limit)
        )
    if override is not None:
        requirement = replace(requirement, origin=RequirementOrigin.OVERRIDDEN, catalogue_text=original.text)
    return requirement


#: Rules of a figure that the vendor publishes per platform; they do not bind the operator's figure.
_LIFTED_BY_OPERATOR_FIGURE = frozenset((UseRule.OPERATOR_FIGURE, UseRule.CONDEMN_ONLY))


def _replace_value(limit: Limit, value: Decimal) -> Limit:
    try:
        return msgspec.structs.replace(limit, value=value)
    except ValueError as error:
        raise ConfigError("override", str(error)) from error


def _classify_limit(limit: Limit, is_declared: bool) -> Requirement:
    def make(method: EvaluationMethod, **fields: object) -> Requirement:
        return Requirement(limit_id=limit.id, text=limit.text, method=method, limit=limit, **fields)  # type: ignore[arg-type]

    if is_declared:
        return make(EvaluationMethod.DECLARED)
    reported_only = next((rule for rule in limit.use_rules if rule in evaluation.REPORTED_ONLY_REASONS), None)
    if limit.metric is Metric.LOSS and reported_only is not None:
        return make(EvaluationMethod.NOT_EVALUATED, reason=evaluation.REPORTED_ONLY_REASONS[reported_only])
    if limit.metric is Metric.LOSS:
        return make(EvaluationMethod.LOSS, loss_limit=_to_loss_limit(limit))
    criterion = evaluation.derive_criterion(limit)
    if isinstance(criterion, UnevaluableLimit):
        return make(EvaluationMethod.NOT_EVALUATED, reason=criterion.reason)
    return make(EvaluationMethod.WINDOWS, criterion=criterion)


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
    """Parse a limit of the user: ``p95 <= 8 ms``, ``loss < 0.1 %``; raise ConfigError if it is invalid."""
    match = _CUSTOM_LIMIT_PATTERN.fullmatch(text)
    if match is None or (match[1] == "loss") != (match[4] == "%"):
        raise ConfigError("limit", f"{text!r} is not a valid limit; write one like 'p95 <= 8 ms' or 'loss < 0.1 %'")
    statistic, comparison, value, unit = match.groups()
    name, limit_text = f"{statistic} {comparison} {value} {unit}", f"{comparison} {value} {unit}"
    if unit == "%":
        ratio = Fraction(value) / 100
        if not 0 < ratio < 1:
            raise ConfigError("limit", f"{text!r}: a loss limit must be above 0 and below 100 %")
        loss = LossLimit(limit_id=name, comparison=Comparison(comparison), ratio=ratio)
        return Requirement(
            limit_id=name, text=limit_text, origin=RequirementOrigin.USER, method=EvaluationMethod.LOSS, loss_limit=loss
        )
    value_us = Decimal(value) * _US_PER_UNIT[unit]
    if value_us <= 0 or value_us % 1:
        raise ConfigError("limit", f"{text!r}: a limit must be a whole number of microseconds above 0")
    criterion = Criterion(
        limit_id=name, statistic=WindowStatistic(statistic), comparison=Comparison(comparison), limit_us=int(value_us)
    )
    return Requirement(
        limit_id=name,
        text=limit_text,
        origin=RequirementOrigin.USER,
        method=EvaluationMethod.WINDOWS,
        criterion=criterion,
    )


def parse_assignments(option: str, texts: Iterable[str]) -> dict[str, Decimal]:
    """Parse ``ID=NUMBER`` texts; raise ConfigError with ``option`` for an invalid text or a duplicate id."""
    assignments: dict[str, Decimal] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            value = Decimal(number)
        except InvalidOperation:
            raise ConfigError(option, f"{text!r} is not ID=NUMBER, in the unit of the limit") from None
        if name in assignments or not value.is_finite() or value < 0:
            raise ConfigError(option, f"{text!r}: give each id once, with a number of at least 0")
        assignments[name] = value
    return assignments


@dataclass(frozen=True, slots=True, kw_only=True)
class Declarations:
    """Declarations of a request: values by the id of their limit, and outages."""

    values: Mapping[str, Decimal]
    #: None without a declaration.
    outages: DeclaredOutages | None


_OUTAGES_PER_YEAR, _LONGEST_OUTAGE = "outages_per_year", "longest_outage"


def parse_declarations(texts: Iterable[str], declared_on: date) -> Declarations:
    """Parse ``ID=NUMBER`` texts and the pair ``outages_per_year=NUMBER``, ``longest_outage=DURATION``.

    Raise ConfigError for an invalid text, a duplicate, or only one of the pair. Outages get the date ``declared_on``.
    """
    limit_texts, number_texts, durations = [], [], []
    for text in texts:
        name, _, value = text.partition("=")
        if name == _OUTAGES_PER_YEAR:
            number_texts.append(text)
        elif name == _LONGEST_OUTAGE:
            durations.append(value)
        else:
            limit_texts.append(text)
    if len(durations) > 1:
        raise ConfigError("declare", f"longest_outage is given {len(durations)} times; give it once")
    numbers = parse_assignments("declare", number_texts)
    return Declarations(
        values=parse_assignments("declare", limit_texts),
        outages=_build_declared_outages(numbers.get(_OUTAGES_PER_YEAR), next(iter(durations), None), declared_on),
    )


def _build_declared_outages(number: Decimal | None, duration: str | None, declared_on: date) -> DeclaredOutages | None:
    if number is None and duration is None:
        return None
    if number is None or duration is None:
        given, missing = (
            (f"{_LONGEST_OUTAGE}={duration}", f"{_OUTAGES_PER_YEAR}=0.5")
            if number is None
            else (f"{_OUTAGES_PER_YEAR}={number}", f"{_LONGEST_OUTAGE}=12h")
        )
        raise ConfigError("declare", f"{given} is incomplete: declare both, with for example {missing}")
    try:
        return DeclaredOutages.from_text(float(number), duration, declared_on)
    except ValueError as error:
        raise ConfigError("declare", str(error)) from error
