"""Comparison of desired and actual documents. Extra fields of the server do not count."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

#: Grafana increases it on reading if it has a newer schema.
_SCHEMA_VERSION_KEY = "schemaVersion"
#: Durations in Prometheus notation: 15m equals 900s.
_DURATION_KEYS = frozenset({"for", "keep_firing_for"})
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "y": 31_536_000}
#: The server returns the organisation of the token.
_IGNORED_KEYS = frozenset({"orgID"})


def find_first_difference(desired: Any, actual: Any, path: str = "") -> str | None:
    """Return the path of the first difference, such as ``panels[2].title``; None if there is none.

    Keys that exist only in ``actual`` come from the server and are ignored. Lists must have the same length.
    """
    if isinstance(desired, Mapping):
        return _compare_mappings(desired, actual, path)
    if isinstance(desired, list):
        return _compare_lists(desired, actual, path)
    # 1 and 1.0 are equal in JSON; true is not a number.
    same = desired == actual and isinstance(desired, bool) == isinstance(actual, bool)
    return None if same else path or "everything"


def _compare_mappings(desired: Mapping[str, Any], actual: Any, path: str) -> str | None:
    if not isinstance(actual, Mapping):
        # Grafana may return null for an empty object.
        return None if not desired and not actual else path or "everything"
    for key, value in desired.items():
        item_path = f"{path}.{key}" if path else key
        if key in _IGNORED_KEYS or _is_equivalent(key, value, actual.get(key)):
            continue
        if key not in actual and value in (None, "", [], {}, False):
            continue
        if difference := find_first_difference(value, actual.get(key), item_path):
            return difference
    return None


def _compare_lists(desired: Sequence[Any], actual: Any, path: str) -> str | None:
    if not isinstance(actual, list):
        return None if not desired and actual is None else path
    if len(desired) != len(actual):
        return f"{path} ({len(actual)} instead of {len(desired)})"
    pairs = enumerate(zip(desired, actual, strict=True))
    return next((where for at, (a, b) in pairs if (where := find_first_difference(a, b, f"{path}[{at}]"))), None)


def _is_equivalent(key: str, desired: Any, actual: Any) -> bool:
    if key == _SCHEMA_VERSION_KEY and isinstance(desired, int) and isinstance(actual, int):
        return actual >= desired
    if key in _DURATION_KEYS and isinstance(desired, str) and isinstance(actual, str):
        return _parse_duration(desired) == _parse_duration(actual)
    return False


def _parse_duration(text: str) -> float | str:
    """Parse ``1h30m`` to 5400; return other text unchanged."""
    parts = re.findall(r"(\d+)(ms|[smhdwy])", text)
    if "".join(number + unit for number, unit in parts) != text:
        return text
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in parts)
