"""Differences between desired and actual documents."""

from __future__ import annotations

from typing import Any

import pytest

from leadline_cli.grafana.diff import find_first_difference

DESIRED: dict[str, Any] = {"title": "a", "panels": [{"id": 1, "targets": [{"sql": "x"}]}], "time": {"from": "now-1h"}}


@pytest.mark.parametrize(
    "actual",
    [
        DESIRED,
        DESIRED | {"id": 7, "version": 3, "panels": [{"id": 1, "pluginVersion": "12", "targets": [{"sql": "x"}]}]},
        DESIRED | {"panels": [{"id": 1.0, "targets": [{"sql": "x"}]}]},
    ],
)
def test_additions_of_the_server_are_ignored(actual: dict[str, Any]) -> None:
    """This applies at any depth. 1 equals 1.0 in JSON."""
    assert find_first_difference(DESIRED, actual) is None


@pytest.mark.parametrize(
    ("actual", "path"),
    [
        (DESIRED | {"title": "b"}, "title"),
        (DESIRED | {"panels": []}, "panels (0 instead of 1)"),
        (DESIRED | {"panels": [{"id": True, "targets": [{"sql": "x"}]}]}, "panels[0].id"),
        (DESIRED | {"panels": [{"id": 1, "targets": [{"sql": "y"}]}]}, "panels[0].targets[0].sql"),
        (DESIRED | {"time": None}, "time"),
        ({"title": "a", "time": {"from": "now-1h"}}, "panels"),
    ],
)
def test_first_difference_is_reported_with_its_path(actual: dict[str, Any], path: str) -> None:
    """Missing keys, other values or types, and other list lengths."""
    assert find_first_difference(DESIRED, actual) == path


@pytest.mark.parametrize(
    ("desired", "actual", "same"),
    [
        ({"for": "15m"}, {"for": "900s"}, True),
        ({"for": "1h30m"}, {"for": "90m"}, True),
        ({"for": "15m"}, {"for": "15s"}, False),
        ({"for": "soon"}, {"for": "now"}, False),
        ({"schemaVersion": 41}, {"schemaVersion": 42}, True),
        ({"schemaVersion": 41}, {"schemaVersion": 39}, False),
        ({"orgID": 1}, {"orgID": 4}, True),
        ({"links": [], "hide": False, "x": None}, {}, True),
        ({"links": [1]}, {}, False),
    ],
)
def test_equivalent_values_are_equal(desired: dict[str, Any], actual: dict[str, Any], same: bool) -> None:
    """Durations, a higher schema version, the organisation of the token, and empty values."""
    assert (find_first_difference(desired, actual) is None) is same
