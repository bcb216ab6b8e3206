"""Rules of use of limits and profiles: what a verdict may claim (docs/verdicts.md, "Rules of use").

Rule 1: a rule of use only withdraws a claim. The first edition ignores all of them.
Rule 2: figures of several pages of one vendor are all evaluated, the milder first. The figure of the profile decides;
"within" is provisional unless every stricter figure gives it too, and no stricter figure alone gives "beyond".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from leadline.evaluation import REPORTED_ONLY_REASONS
from leadline.limits.catalogue import Metric, UseRule
from leadline.limits.descriptions import list_reservations
from leadline_verdict import reasons
from leadline_verdict.document import ConflictEntry, ConflictSection, Reason, VerdictClass
from leadline_verdict.requirements import ConflictingFigures, Requirement, RequirementOrigin, RequirementSet

WITHIN_CLASSES = frozenset((VerdictClass.WITHIN, VerdictClass.WITHIN_PROVISIONAL))
#: Classes that reject a path.
REJECTING_CLASSES = frozenset(
    (
        VerdictClass.IMPOSSIBLE,
        VerdictClass.IMPOSSIBLE_ON_GLASS_FIBRE,
        VerdictClass.BEYOND,
        VerdictClass.BEYOND_PROVISIONAL,
    )
)
_NO_FINDING_CLASSES = frozenset((VerdictClass.INVALID, VerdictClass.INSUFFICIENT_DATA))


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedConflict:
    """Figures of several pages of one vendor, and the verdict by each."""

    source: ConflictingFigures
    #: In the order of the figures.
    verdicts: tuple[VerdictClass, ...]

    @property
    def own_index(self) -> int:
        """Index of the profile's own figure."""
        return [figure.limit_id for figure in self.source.figures].index(self.source.limit_id)

    def find_unsupported_within(self) -> int | None:
        """Return the index of the mildest stricter figure that does not give "within"; None if all do.

        None as well if the profile's own figure does not give it.
        """
        if self.verdicts[self.own_index] not in WITHIN_CLASSES:
            return None
        stricter = range(self.own_index + 1, len(self.verdicts))
        return next((index for index in stricter if self.verdicts[index] not in WITHIN_CLASSES), None)

    def find_milder_objection(self) -> int | None:
        """Return the index of a milder figure that does not reject the path; None if all do.

        None as well if the profile's own figure does not reject it. A figure that may not condemn has no say.
        """
        if self.verdicts[self.own_index] not in REJECTING_CLASSES:
            return None
        return next(
            (
                index
                for index in range(self.own_index)
                if self.verdicts[index] not in REJECTING_CLASSES and self.source.figures[index].may_condemn
            ),
            None,
        )


def evaluate_conflicts(
    requirements: RequirementSet, own_class: VerdictClass, decide: Callable[[RequirementSet], VerdictClass]
) -> list[EvaluatedConflict]:
    """Compute the verdict by every figure; ``own_class`` is that by the profile's own figures."""
    return [
        EvaluatedConflict(
            source=conflict,
            verdicts=tuple(
                own_class
                if figure.limit_id == conflict.limit_id
                else decide(requirements.replace_item(conflict.limit_id, figure))
                for figure in conflict.figures
            ),
        )
        for conflict in requirements.conflicts
    ]


def bind_verdict(
    requirements: RequirementSet,
    conflicts: Sequence[EvaluatedConflict],
    verdict_class: VerdictClass,
    verdict_reasons: list[Reason],
) -> tuple[VerdictClass, list[Reason]]:
    """Return the class that the rules of use allow, their reasons first."""
    bound_class, bound_reasons = _bind(requirements, conflicts, verdict_class)
    if bound_class is not verdict_class:
        bound_reasons.append(reasons.measured_verdict(verdict_class))
    return bound_class, [*bound_reasons, *verdict_reasons]


def bind_class(
    requirements: RequirementSet, conflicts: Sequence[EvaluatedConflict], verdict_class: VerdictClass
) -> VerdictClass:
    """Return the class that the rules of use allow."""
    return _bind(requirements, conflicts, verdict_class)[0]


def _bind(
    requirements: RequirementSet, conflicts: Sequence[EvaluatedConflict], verdict_class: VerdictClass
) -> tuple[VerdictClass, list[Reason]]:
    if verdict_class in _NO_FINDING_CLASSES:
        return verdict_class, []
    if unanswerable := list(iter_unanswerable(requirements)):
        return VerdictClass.INSUFFICIENT_DATA, unanswerable
    if missing := list(_iter_missing_figures(requirements, verdict_class)):
        return VerdictClass.INSUFFICIENT_DATA, missing
    if verdict_class in REJECTING_CLASSES:
        return _bind_rejection(requirements, conflicts, verdict_class)
    if prohibitions := list(_iter_prohibitions(requirements)):
        return VerdictClass.MARGINAL, prohibitions
    return verdict_class, []


def _bind_rejection(
    requirements: RequirementSet, conflicts: Sequence[EvaluatedConflict], verdict_class: VerdictClass
) -> tuple[VerdictClass, list[Reason]]:
    if not has_condemning_limit(requirements):
        return VerdictClass.MARGINAL, list(_iter_prohibitions(requirements))
    for conflict in conflicts:
        index = conflict.find_milder_objection()
        if index is not None:
            is_undecided = conflict.verdicts[index] in _NO_FINDING_CLASSES
            bound_class = conflict.verdicts[index] if is_undecided else VerdictClass.MARGINAL
            milder, own = conflict.source.figures[index], conflict.source.figures[conflict.own_index]
            return bound_class, [reasons.beyond_by_stricter_figure(own, milder, conflict.verdicts[index])]
    return verdict_class, []


def has_condemning_limit(requirements: RequirementSet) -> bool:
    """Return True if a limit may reject the path: by windows, by loss or by a declared value."""
    return any(requirements.iter_unmet()) or any(
        item.may_condemn for item in requirements.items if item.is_measured or _is_distance(item)
    )


def _is_distance(item: Requirement) -> bool:
    return item.limit is not None and item.limit.metric is Metric.DISTANCE


def iter_unanswerable(requirements: RequirementSet) -> Iterator[Reason]:
    """Yield the reason if every measured limit needs another one that agrees."""
    measured = requirements.measured_items
    if measured and all(UseRule.NOT_ALONE in item.use_rules for item in measured):
        yield reasons.no_verdict_alone([item.limit_id for item in measured])


def _iter_missing_figures(requirements: RequirementSet, verdict_class: VerdictClass) -> Iterator[Reason]:
    """Yield the limits that are undecided without the operator's figure.

    A published figure that may condemn rejects a path also without the operator's figure.
    """
    for item in requirements.items:
        if UseRule.OPERATOR_FIGURE in item.use_rules and not (
            verdict_class in REJECTING_CLASSES and UseRule.CONDEMN_ONLY in item.use_rules
        ):
            yield reasons.operator_figure_missing(item)


def _iter_prohibitions(requirements: RequirementSet) -> Iterator[Reason]:
    """Yield the reasons why no measurement can give "within"."""
    yield from _iter_design_reasons(requirements)
    measured = requirements.measured_items
    if measured and not any(item.may_acquit for item in measured):
        yield reasons.never_acquits([item.limit_id for item in measured])


def _iter_design_reasons(requirements: RequirementSet) -> Iterator[Reason]:
    """Yield the vendor's words against the design."""
    yield from _iter_advice_against(requirements)
    for item in requirements.items:
        if UseRule.ONE_LOCATION in item.use_rules:
            yield reasons.one_location_only(item)


def _iter_advice_against(requirements: RequirementSet) -> Iterator[Reason]:
    """Yield one reason for each statement; the source of a limit stands for one without statements."""
    cited: set[str] = set()
    for item in requirements.items:
        if UseRule.ADVISED_AGAINST not in item.use_rules or item.limit is None:
            continue
        statements = [
            required.statement for required in requirements.statements if required.statement.id in item.limit.statements
        ]
        cited.update(statement.id for statement in statements)
        if not statements:
            yield reasons.advised_against_limit(item, item.limit)
    for required in requirements.statements:
        if required.statement.id in cited:
            yield reasons.advised_against(required.statement)


def iter_provisos(requirements: RequirementSet, conflicts: Sequence[EvaluatedConflict]) -> Iterator[Reason]:
    """Yield the open points that make "within" provisional."""
    for required in requirements.statements:
        if not required.is_confirmed:
            yield reasons.statement_unconfirmed(required.statement)
    for conflict in conflicts:
        index = conflict.find_unsupported_within()
        if index is not None:
            own, stricter = conflict.source.figures[conflict.own_index], conflict.source.figures[index]
            yield reasons.within_by_milder_figure(own, stricter, conflict.verdicts[index])


def iter_notes(
    requirements: RequirementSet, conflicts: Sequence[EvaluatedConflict], verdict_class: VerdictClass
) -> Iterator[Reason]:
    """Yield the rules and statements that a verdict of this class prints besides its reasons."""
    if verdict_class in _NO_FINDING_CLASSES | REJECTING_CLASSES:
        yield from _iter_design_reasons(requirements)
    yield from (reasons.statement(required.statement, required.is_confirmed) for required in requirements.statements)
    yield from chain.from_iterable(_iter_item_notes(item) for item in requirements.items)
    yield from _iter_advice_notes(requirements, verdict_class)
    for conflict in conflicts:
        yield reasons.conflicting_figures(
            list(zip(conflict.source.figures, conflict.verdicts, strict=True)), conflict.source
        )


def _iter_item_notes(item: Requirement) -> Iterator[Reason]:
    for rule in item.use_rules:
        if rule in REPORTED_ONLY_REASONS:
            yield reasons.reported_only(item, REPORTED_ONLY_REASONS[rule])
        elif rule in {UseRule.CONDEMN_ONLY, UseRule.ACQUIT_ONLY, UseRule.NOT_ALONE}:
            yield reasons.bound_by_rule(item, rule)


def _iter_advice_notes(requirements: RequirementSet, verdict_class: VerdictClass) -> Iterator[Reason]:
    binding = [item for item in requirements.items if not item.is_reported_only]
    advice = [item.limit_id for item in binding if UseRule.ADVICE in item.use_rules]
    if not advice:
        return
    if len(advice) < len(binding):
        yield reasons.advice(advice)
    elif verdict_class in REJECTING_CLASSES:
        yield reasons.advice_not_followed(advice)
    elif verdict_class in WITHIN_CLASSES:
        yield reasons.advice_followed(advice)
    else:
        yield reasons.advice(advice)


def iter_weak_limits(requirements: RequirementSet) -> Iterator[str]:
    """Return the limits with reservations: ``ID: superseded, secondary``.

    Those are the user's own and overridden limits, and limits that are superseded, not read in a source of the vendor,
    or not a requirement.
    """
    return (f"{limit_id}: {reservations}" for limit_id, reservations in find_reservations(requirements).items())


def find_reservations(requirements: RequirementSet) -> dict[str, str]:
    """Return the reservations by limit id, "superseded, secondary"; limits without any are left out."""
    texts = {item.limit_id: ", ".join(_iter_reservations(item)) for item in requirements.items}
    return {limit_id: text for limit_id, text in texts.items() if text}


def _iter_reservations(item: Requirement) -> Iterator[str]:
    if item.origin is RequirementOrigin.USER:
        yield "limit of the user"
    elif item.origin is RequirementOrigin.OVERRIDDEN:
        yield f"overridden, the catalogue has {item.catalogue_text}"
    if item.limit is not None:
        yield from list_reservations(item.limit, item.use_rules)


def build_conflict_sections(conflicts: Sequence[EvaluatedConflict]) -> list[ConflictSection]:
    """Build the sections of the document."""
    return [
        ConflictSection(
            id=conflict.source.conflict.id,
            summary=conflict.source.conflict.summary,
            entries=[
                ConflictEntry(limit_id=figure.limit_id, text=figure.text, verdict=verdict_class)
                for figure, verdict_class in zip(conflict.source.figures, conflict.verdicts, strict=True)
            ],
            decides=conflict.source.limit_id,
        )
        for conflict in conflicts
    ]
