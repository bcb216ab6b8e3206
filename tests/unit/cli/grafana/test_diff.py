"""What counts as a difference between what is wanted and what a server made of it."""

from __future__ import annotations

from typing import Any

import pytest

from leadline_cli.grafana.diff import find_first_difference

WANTED: dict[str, Any] = {"title": "a", "panels": [{"id": 1, "targets": [{"sql": "x"}]}], "time": {"from": "now-1h"}}


@pytest.mark.parametrize(
    "found",
    [
        WANTED,
        WANTED | {"id": 7, "version": 3, "panels": [{"id": 1, "pluginVersion": "12", "targets": [{"sql": "x"}]}]},
        WANTED | {"panels": [{"id": 1.0, "targets": [{"sql": "x"}]}]},
    ],
)
def test_what_the_server_adds_is_no_difference(found: dict[str, Any]) -> None:
    """At any depth; and 1 is 1.0 in JSON."""
    assert find_first_difference(WANTED, found) is None


@pytest.mark.parametrize(
    ("found", "where"),
    [
        (WANTED | {"title": "b"}, "title"),
        (WANTED | {"panels": []}, "panels (0 instead of 1)"),
        (WANTED | {"panels": [{"id": True, "targets": [{"sql": "x"}]}]}, "panels[0].id"),
        (WANTED | {"panels": [{"id": 1, "targets": [{"sql": "y"}]}]}, "panels[0].targets[0].sql"),
        (WANTED | {"time": None}, "time"),
        ({"title": "a", "time": {"from": "now-1h"}}, "panels"),
    ],
)
def test_the_first_difference_is_named_by_its_place(found: dict[str, Any], where: str) -> None:
    """What is missing, what is another value or type, and what is more or fewer."""
    assert find_first_difference(WANTED, found) == where


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
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
def test_what_a_server_writes_in_its_own_way_is_the_same(
    wanted: dict[str, Any], found: dict[str, Any], same: bool
) -> None:
    """Durations, a raised schema version, the organisation of the token, and what is empty."""
    assert (find_first_difference(wanted, found) is None) is same
