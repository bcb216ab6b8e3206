"""Is what is there what would be put? A server adds fields of its own; nothing else may differ."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

#: Grafana raises it as it reads, when it knows a newer form of the same dashboard.
_SCHEMA_VERSION_KEY = "schemaVersion"
#: Durations as Prometheus writes them: 15m and 900s are the same.
_DURATION_KEYS = frozenset({"for", "keep_firing_for"})
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "y": 31_536_000}
#: The server gives the organisation of the token.
_IGNORED_KEYS = frozenset({"orgID"})


def find_first_difference(desired: Any, actual: Any, path: str = "") -> str | None:
    """Where ``found`` lacks or contradicts something of ``wanted``, such as ``panels[2].title``; None if nowhere.

    Keys that only ``found`` has are the server's and count for nothing; lists must have the same length.
    """
    if isinstance(desired, Mapping):
        return _compare_mappings(desired, actual, path)
    if isinstance(desired, list):
        return _compare_lists(desired, actual, path)
    # 1 and 1.0 are the same number in JSON; true is none.
    same = desired == actual and isinstance(desired, bool) == isinstance(actual, bool)
    return None if same else path or "everything"


def _compare_mappings(wanted: Mapping[str, Any], found: Any, path: str) -> str | None:
    if not isinstance(found, Mapping):
        # An empty object may come back as nothing at all.
        return None if not wanted and not found else path or "everything"
    for key, value in wanted.items():
        place = f"{path}.{key}" if path else key
        if key in _IGNORED_KEYS or _is_equivalent(key, value, found.get(key)):
            continue
        if key not in found and value in (None, "", [], {}, False):
            continue
        if difference := find_first_difference(value, found.get(key), place):
            return difference
    return None


def _compare_lists(wanted: Sequence[Any], found: Any, path: str) -> str | None:
    if not isinstance(found, list):
        return None if not wanted and found is None else path
    if len(wanted) != len(found):
        return f"{path} ({len(found)} instead of {len(wanted)})"
    pairs = enumerate(zip(wanted, found, strict=True))
    return next((where for at, (a, b) in pairs if (where := find_first_difference(a, b, f"{path}[{at}]"))), None)


def _is_equivalent(key: str, wanted: Any, found: Any) -> bool:
    if key == _SCHEMA_VERSION_KEY and isinstance(wanted, int) and isinstance(found, int):
        return found >= wanted
    if key in _DURATION_KEYS and isinstance(wanted, str) and isinstance(found, str):
        return _parse_duration(wanted) == _parse_duration(found)
    return False


def _parse_duration(text: str) -> float | str:
    """``1h30m`` as 5400; what is no duration stays text."""
    parts = re.findall(r"(\d+)(ms|[smhdwy])", text)
    if "".join(number + unit for number, unit in parts) != text:
        return text
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in parts)
