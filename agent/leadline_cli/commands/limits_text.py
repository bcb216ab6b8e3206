"""Limits and profiles as plain text, aligned and wrapped to the terminal. Unknown values are shown as such."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from itertools import chain

from leadline.limits import descriptions
from leadline.limits.catalogue import Catalogue, Limit, Profile, SourceDocument

#: Maximum line length, also on wide terminals.
WIDTH_MAX = 110
WIDTH_MIN = 60


def format_limit_table(limits: Sequence[Limit]) -> str:
    """Format one line for each limit, and a line with their number."""
    head = ("LIMIT", "METRIC", "VALUE", "STATUS", "CONFIDENCE")
    rows = [(limit.id, limit.metric.value, limit.text, limit.status.value, limit.confidence.value) for limit in limits]
    return "\n".join(
        [*_align_columns([head, *rows]), f"{len(limits)} limits; `leadline limits show LIMIT` shows the source"]
    )


def format_profile_table(catalogue: Catalogue, profiles: Sequence[Profile]) -> str:
    """Format one line for each profile with the values of its limits."""
    head = ("PROFILE", "VALUES", "TITLE")
    rows = [
        (profile.id, ", ".join(_format_values(catalogue.get_required_limits(profile))), profile.title)
        for profile in profiles
    ]
    return "\n".join(
        [*_align_columns([head, *rows]), f"{len(profiles)} profiles; `leadline limits show PROFILE` shows more"]
    )


def format_limit(catalogue: Catalogue, limit: Limit) -> str:
    """Format the details of a limit."""
    profiles = [
        profile.id for profile in catalogue.profiles.values() if limit.id in (*profile.all_of, *profile.declared)
    ]
    facts = [
        ("limit", [f"{limit.text} ({descriptions.describe_metric(limit)})"]),
        ("applies to", [descriptions.describe_statistic(limit)]),
        ("leg", [limit.leg.value]),
        ("scope", [limit.scope.value]),
        ("strength", [limit.strength.value]),
        ("licence", [limit.license or descriptions.NOT_STATED]),
        ("also needs", limit.other_requirements or [descriptions.NOT_STATED]),
        ("evaluation", descriptions.describe_evaluation(limit)),
        ("source", _format_source(limit.source)),
        ("read in", [descriptions.describe_provenance(limit)]),
        ("see also", list(chain.from_iterable(map(_format_source, limit.additional_sources)))),
        ("confidence", [limit.confidence.value]),
        ("status", [limit.status.value]),
        ("notes", [limit.notes] if limit.notes else []),
        ("conflict", [f"{item.summary} Used: {item.use}." for item in catalogue.get_conflicts(limit.id)]),
        ("profiles", profiles),
    ]
    return "\n".join(
        [limit.id, f"{limit.vendor} {limit.product}, {limit.versions}: {limit.feature}", *_format_facts(facts)]
    )


def format_profile(catalogue: Catalogue, profile: Profile) -> str:
    """Format the limits of a profile and their evaluation."""
    facts = [("required", _format_profile_limit(limit)) for limit in catalogue.get_required_limits(profile)]
    facts += [("declared", _format_profile_limit(limit)) for limit in catalogue.get_declared_limits(profile)]
    facts += [("note", [profile.note] if profile.note else [])]
    return "\n".join([profile.id, profile.title, *_format_facts(facts)])


def _format_values(limits: Iterable[Limit]) -> list[str]:
    return [f"{limit.metric} {limit.text}" for limit in limits]


def _format_profile_limit(limit: Limit) -> list[str]:
    provenance = (
        f"read in: {descriptions.describe_provenance(limit)}; confidence: {limit.confidence}; status: {limit.status}"
    )
    value = f"{limit.id}: {descriptions.describe_metric(limit)} {limit.text}"
    value += f"; vendor's statistic: {descriptions.describe_statistic(limit)}"
    return [value, *descriptions.describe_evaluation(limit), *_format_source(limit.source), provenance]


def _format_source(source: SourceDocument) -> list[str]:
    published = f"published: {source.published or descriptions.NOT_STATED}"
    title = f"{source.title} [{source.kb}]" if source.kb else source.title
    return [f"{title}; {published}", source.url or "no URL"]


def _format_facts(facts: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """Format one paragraph for each entry, with the label before the first. Omit labels without entries."""
    width = max(WIDTH_MIN, min(WIDTH_MAX, shutil.get_terminal_size().columns))
    lines = [""]
    for label, entries in facts:
        for number, entry in enumerate(entries):
            lines += _wrap_paragraph(label if number == 0 else "", entry, width)
    return lines


def _wrap_paragraph(label: str, entry: str, width: int) -> list[str]:
    wrapper = textwrap.TextWrapper(width=width, break_long_words=False, break_on_hyphens=False)
    wrapper.initial_indent = f"  {label:<11} "
    wrapper.subsequent_indent = " " * len(wrapper.initial_indent)
    return wrapper.wrap(entry)


def _align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
