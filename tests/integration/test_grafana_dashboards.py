"""Dashboards and alert rules as they are committed: every query of theirs, as Grafana sends it, on the demo's data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import psycopg.rows
import pytest
from sqlalchemy.engine import URL

from leadline_collector.analysis.matrix import build_matrix
from leadline_collector.time_range import TimeRange
from leadline_dashboards import DATASOURCE_UID, load_alert_rules, load_dashboards
from tests.support.grafana_data import DAY_S, HOUR_S, Asked, Demo, demo, expanded, reader

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BOARDS: dict[str, dict[str, Any]] = {name: json.loads(data) for name, data in load_dashboards().items()}
RULES = {rule["uid"]: rule for group in load_alert_rules() for rule in group["rules"]}
PROFILE = "vcf9-stretched-cluster"
#: As a person would choose them; of several, all.
CHOSEN = {"profile": PROFILE, "source": "frankfurt", "destination": "london"}


@pytest.fixture(scope="module", name="filled")
def _filled(postgres_server: URL) -> Iterator[Demo]:
    with demo(postgres_server) as filled:
        yield filled


@pytest.fixture(name="connection")
def _connection(filled: Demo) -> Iterator[psycopg.Connection]:
    with reader(filled.url) as connection:
        yield connection


def queries() -> Iterator[tuple[str, str]]:
    """Every query in the committed files: what it is of, and its SQL."""
    for name, board in BOARDS.items():
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield f"{name} {panel['title']} {target['refId']}", target["rawSql"]
        for variable in board["templating"]["list"]:
            yield f"{name} variable {variable['name']}", variable["query"]
        for annotation in board.get("annotations", {}).get("list", []):
            yield f"{name} annotation {annotation['name']}", annotation["target"]["rawSql"]
    for uid, rule in RULES.items():
        yield f"alert {uid}", rule["data"][0]["model"]["rawSql"]


QUERIES = dict(queries())


def rows(connection: psycopg.Connection, sql: str, asked: Asked, **chosen: str) -> list[dict[str, Any]]:
    """What the database answers."""
    cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
    variables: dict[str, str | tuple[str, ...]] = {**CHOSEN, "site": sites(connection, sql), **chosen}
    return cursor.execute(expanded(sql, asked, variables)).fetchall()


def sites(connection: psycopg.Connection, sql: str) -> tuple[str, ...]:
    """All of what the variable "site" offers."""
    column, view = ("site", "grafana_agent") if "grafana_agent" in sql else ("source", "grafana_pair")
    return tuple(row[0] for row in connection.execute(f"SELECT DISTINCT {column} FROM {view}").fetchall())


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_answers(filled: Demo, connection: psycopg.Connection, name: str) -> None:
    """With rows, as the role that reads views only, over a day and over a week; none has a column without a name."""
    for from_s, interval_s in ((filled.end_s - DAY_S, 300), (filled.start_s, 3_600)):
        found = rows(connection, QUERIES[name], Asked(from_s=from_s, to_s=filled.end_s, interval_s=interval_s))

        # No profile of the demo limits the variation.
        assert found or name == "leadline-pair.json Variation of the round trip (p95 − min of a minute) B"
        assert all("?column?" not in row for row in found[:1])
        assert not any(isinstance(row.get("time"), str) for row in found), "Grafana takes no text for a time"


@pytest.mark.parametrize(
    ("ref", "metrics"),
    [
        (
            "leadline-pair.json Round trip B",
            {"limit <= 10 ms, vmware-vcf-9.0-cluster-host-rtt", "light in glass", "light in a vacuum"},
        ),
    ],
)
def test_lines_are_named(filled: Demo, connection: psycopg.Connection, ref: str, metrics: set[str]) -> None:
    """A limit by its number and id, a floor by its medium, each from end to end of the range."""
    asked = Asked(from_s=filled.end_s - DAY_S, to_s=filled.end_s)

    found = rows(connection, QUERIES[ref], asked)

    assert {row["metric"] for row in found} == metrics
    assert len(found) == 2 * len(metrics)


def test_a_limit_that_would_squeeze_the_data_is_not_drawn(filled: Demo, connection: psycopg.Connection) -> None:
    """150 ms on a pair of 8 ms: the line is left out, the table still names it."""
    asked = Asked(from_s=filled.end_s - DAY_S, to_s=filled.end_s)
    profile = "vsphere-long-distance-vmotion"

    lines = rows(connection, QUERIES["leadline-pair.json Round trip B"], asked, profile=profile)
    assert {row["metric"] for row in lines} == {"light in glass", "light in a vacuum"}
    limits = rows(connection, QUERIES["leadline-pair.json Limits of the profile A"], asked, profile=profile)
    assert 150_000 in {row["limit_us"] for row in limits}


@pytest.mark.parametrize("profile", ["vsan-stretched", "vcf9-stretched-cluster", "vsphere-long-distance-vmotion"])
def test_panels_show_the_shares_of_the_verdict_code(filled: Demo, connection: psycopg.Connection, profile: str) -> None:
    """The matrix, the table of the worst, the figures of a pair and its stacked hours, over the same whole hours."""
    period = TimeRange(start_s=filled.start_s + 5 * HOUR_S, end_s=filled.start_s + 6 * DAY_S + 2 * HOUR_S)
    asked = Asked(from_s=period.start_s, to_s=period.end_s, interval_s=1 << 40)
    expected = {
        (one.source, one.destination): one for one in build_matrix(filled.store, profile, period).pairs if one.paths
    }

    shown = rows(
        connection,
        QUERIES["leadline-overview.json Share within the limits over the time range A"],
        asked,
        profile=profile,
    )
    worst = rows(
        connection, QUERIES["leadline-overview.json Worst pairs over the time range A"], asked, profile=profile
    )

    assert {(row["source"], row["destination"]): row["observed"] for row in shown if row["observed"] is not None} == {
        pair: one.pessimistic.good_ratio for pair, one in expected.items()
    }
    assert {(row["source"], row["destination"]): row["coverage"] for row in worst} == {
        pair: one.pessimistic.coverage_ratio for pair, one in expected.items()
    }
    for (source, destination), one in expected.items():
        chosen = {"profile": profile, "source": source, "destination": destination}
        (figures,) = rows(
            connection, QUERIES["leadline-pair.json Over the whole hours of the time range A"], asked, **chosen
        )
        (hours,) = rows(connection, QUERIES["leadline-pair.json Minutes by state, and coverage A"], asked, **chosen)
        assert figures["observed"] == one.pessimistic.good_ratio
        known = hours["good"] + hours["bad"] + hours["unavailable"]
        assert hours["good"] / known == pytest.approx(one.pessimistic.good_ratio, rel=1e-12)


@pytest.mark.parametrize("name", BOARDS)
def test_nothing_is_left_to_chance(name: str) -> None:
    """Fixed uids, ids in order, no panel without a title, a description and the one datasource, all within the grid."""
    board = BOARDS[name]

    assert board["uid"] == name.removesuffix(".json")
    assert board["timezone"] == "utc"
    assert [panel["id"] for panel in board["panels"]] == list(range(1, len(board["panels"]) + 1))
    for panel in board["panels"]:
        assert panel["title"]
        assert len(panel["description"]) > 40
        assert {target["datasource"]["uid"] for target in (panel, *panel["targets"])} == {DATASOURCE_UID}
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for variable in board["templating"]["list"]:
        assert variable["description"]
        assert variable["datasource"]["uid"] == DATASOURCE_UID


def test_links_lead_to_dashboards_that_take_what_they_carry() -> None:
    """Every link to a dashboard names one that is there, and variables it has."""
    text = json.dumps([BOARDS, RULES])
    variables = {board["uid"]: {one["name"] for one in board["templating"]["list"]} for board in BOARDS.values()}

    links = re.findall(r"[/}]d/([a-z-]+)\?([^\"]*)", text)

    assert len(links) >= 8
    for uid, query in links:
        assert set(re.findall(r"var-([a-z]+)", query)) <= variables[uid]
    assert "${__url_time_range}" in text


@pytest.mark.parametrize("uid", RULES)
def test_alerts_have_hysteresis_and_say_what_to_do_without_data(uid: str) -> None:
    """Each condition is a threshold with a recovery below it, each query one number, and texts for its labels."""
    rule = RULES[uid]

    (condition,) = rule["data"][1]["model"]["conditions"]
    fires, recovers = condition["evaluator"], condition["unloadEvaluator"]
    assert (fires["type"], recovers["type"]) == ("gt", "lt")
    assert recovers["params"][0] <= fires["params"][0]
    assert rule["condition"] == rule["data"][1]["refId"]
    assert rule["noDataState"] in {"OK", "NoData"}
    assert rule["execErrState"] in {"KeepLast", "Error"}
    assert set(rule["annotations"]) == {"summary", "description", "dashboard_url"}
    assert "externalURL" in rule["annotations"]["dashboard_url"]
    assert not re.search(r"\$", json.dumps(rule["annotations"])), "Grafana would take it for an environment variable"


FIRING = {
    "leadline-pair-beyond": 3,
    "leadline-pair-silent": 1,
    "leadline-agent-silent": 8,
    "leadline-coverage-falling": 0,
    "leadline-clock-suspect": 1,
    "leadline-clock-unsynchronised": 1,
}


@pytest.mark.parametrize("uid", RULES)
def test_alerts_fire_for_what_is_wrong_and_for_nothing_else(
    filled: Demo, connection: psycopg.Connection, uid: str
) -> None:
    """One number a row, labelled by texts without two rows alike; above the threshold are those that were made so."""
    asked = Asked(from_s=filled.end_s - 600, to_s=filled.end_s)

    found = rows(connection, QUERIES[f"alert {uid}"], asked)

    above = RULES[uid]["data"][1]["model"]["conditions"][0]["evaluator"]["params"][0]
    labels = [tuple(value for name, value in row.items() if name != "value") for row in found]
    assert len(set(labels)) == len(labels)
    assert all(isinstance(label, str) for of_row in labels for label in of_row)
    assert sum(row["value"] > above for row in found) == FIRING[uid]


def test_late_data_raises_no_alert() -> None:
    """No rule reads what is of the past: only what the collector says is true now."""
    views = {view for rule in RULES.values() for view in re.findall(r"grafana_\w+", rule["data"][0]["model"]["rawSql"])}

    assert views == {"grafana_pair_now", "grafana_agent"}


def test_what_is_committed_is_what_is_generated() -> None:
    """``make dashboards`` would change nothing; the generator is a development dependency."""
    generate = pytest.importorskip("leadline_dashboards.generate.__main__", reason="the generator's library is missing")

    made: Mapping[str, str] = generate.generated()

    for path, text in made.items():
        assert (generate.PACKAGE / path).read_text(encoding="utf-8") == text, f"run make dashboards: {path}"
    assert {path.removeprefix("json/") for path in made if path.startswith("json/")} == set(BOARDS)
