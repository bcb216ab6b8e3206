"""Committed dashboards and alert rules: every query runs on demo data, as Grafana sends it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import psycopg.rows
import pytest
from sqlalchemy.engine import URL

from leadline.rounding import round_down
from leadline_collector.analysis.matrix import build_matrix
from leadline_collector.time_range import TimeRange
from leadline_dashboards import DATASOURCE_UID, load_alert_rules, load_dashboards
from tests.support.grafana_data import DAY_S, HOUR_S, Demo, PanelRange, demo, expand_macros, reader

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BOARDS: dict[str, dict[str, Any]] = {name: json.loads(data) for name, data in load_dashboards().items()}
RULES = {rule["uid"]: rule for group in load_alert_rules() for rule in group["rules"]}
PROFILE = "vcf9-stretched-cluster"
#: Values of the dashboard variables.
VARIABLES = {"profile": PROFILE, "source": "frankfurt", "destination": "london"}


@pytest.fixture(scope="module", name="filled")
def _filled(postgres_server: URL) -> Iterator[Demo]:
    with demo(postgres_server) as filled:
        yield filled


@pytest.fixture(name="connection")
def _connection(filled: Demo) -> Iterator[psycopg.Connection]:
    with reader(filled.url) as connection:
        yield connection


def queries() -> Iterator[tuple[str, str]]:
    """Yield the name and the SQL of every query in the committed files."""
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


def rows(connection: psycopg.Connection, sql: str, panel_range: PanelRange, **overrides: str) -> list[dict[str, Any]]:
    """Expand and run a query; ``overrides`` replace values of variables."""
    cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
    variables: dict[str, str | tuple[str, ...]] = {**VARIABLES, "site": sites(connection, sql), **overrides}
    return cursor.execute(expand_macros(sql, panel_range, variables)).fetchall()


def sites(connection: psycopg.Connection, sql: str) -> tuple[str, ...]:
    """Return all values of the variable "site"."""
    column, view = ("site", "grafana_agent") if "grafana_agent" in sql else ("source", "grafana_pair")
    return tuple(row[0] for row in connection.execute(f"SELECT DISTINCT {column} FROM {view}").fetchall())


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_returns_rows(filled: Demo, connection: psycopg.Connection, name: str) -> None:
    """As the role that reads views only, over a day and over a week; every column has a name."""
    for from_s, interval_s in ((filled.end_s - DAY_S, 300), (filled.start_s, 3_600)):
        result = rows(connection, QUERIES[name], PanelRange(from_s=from_s, to_s=filled.end_s, interval_s=interval_s))

        # No profile of the demo limits the variation, so this query returns nothing.
        assert result or name == "leadline-pair.json Delay variation (p95 - min of each minute) B"
        assert all("?column?" not in row for row in result[:1])
        assert not any(isinstance(row.get("time"), str) for row in result), "Grafana does not parse a time from text"


@pytest.mark.parametrize(
    ("ref", "metrics"),
    [
        (
            "leadline-pair.json Round-trip time B",
            {"limit <= 10 ms, vmware-vcf-9.0-cluster-host-rtt", "light in glass", "light in a vacuum"},
        ),
    ],
)
def test_lines_have_names(filled: Demo, connection: psycopg.Connection, ref: str, metrics: set[str]) -> None:
    """Number and id of a limit, medium of a floor; each line spans the whole range."""
    panel_range = PanelRange(from_s=filled.end_s - DAY_S, to_s=filled.end_s)

    result = rows(connection, QUERIES[ref], panel_range)

    assert {row["metric"] for row in result} == metrics
    assert len(result) == 2 * len(metrics)


def test_a_limit_far_above_the_data_is_not_drawn(filled: Demo, connection: psycopg.Connection) -> None:
    """150 ms on a pair with 8 ms: the line is omitted, the table contains it."""
    panel_range = PanelRange(from_s=filled.end_s - DAY_S, to_s=filled.end_s)
    profile = "vsphere-long-distance-vmotion"

    lines = rows(connection, QUERIES["leadline-pair.json Round-trip time B"], panel_range, profile=profile)
    assert {row["metric"] for row in lines} == {"light in glass", "light in a vacuum"}
    limits = rows(connection, QUERIES["leadline-pair.json Limits of the profile A"], panel_range, profile=profile)
    assert 150_000 in {row["limit_us"] for row in limits}


def truncate(ratio: float | None, percent_decimals: int) -> float | None:
    """Round a ratio down to the decimals that a panel shows."""
    return None if ratio is None else float(round_down(ratio, percent_decimals + 2))


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [
        ("0.9949996", 0.9949),
        ("0.9999999", 0.9999),
        ("1e-7", 0.0001),
        ("0.57", 0.57),
        ("1", 1),
        ("0", 0),
        ("NULL", None),
    ],
)
def test_panels_round_ratios_down(connection: psycopg.Connection, ratio: str, shown: float | None) -> None:
    """Grafana rounds to the nearest: 100 % and 0 % are exact, because the query rounds before."""
    queries = pytest.importorskip("leadline_dashboards.generate.queries", reason="the generator's library is missing")
    row = connection.execute(f"SELECT {queries.truncate_ratio(f'{ratio}::float8', 2)} AS shown").fetchone()
    assert row == (shown,)


@pytest.mark.parametrize("profile", ["vsan-stretched", "vcf9-stretched-cluster", "vsphere-long-distance-vmotion"])
def test_panels_show_the_shares_of_the_verdict_code(filled: Demo, connection: psycopg.Connection, profile: str) -> None:
    """The matrix, the worst pairs, the statistics of a pair and its stacked hours, over the same whole hours."""
    period = TimeRange(start_s=filled.start_s + 5 * HOUR_S, end_s=filled.start_s + 6 * DAY_S + 2 * HOUR_S)
    panel_range = PanelRange(from_s=period.start_s, to_s=period.end_s, interval_s=1 << 40)
    expected = {
        (pair.source, pair.destination): pair.pessimistic
        for pair in build_matrix(filled.store, profile, period).pairs
        if pair.paths
    }

    matrix = rows(
        connection,
        QUERIES["leadline-overview.json Share within the limits over the time range A"],
        panel_range,
        profile=profile,
    )
    worst = rows(
        connection, QUERIES["leadline-overview.json Worst pairs over the time range A"], panel_range, profile=profile
    )

    assert {(row["source"], row["destination"]): row["observed"] for row in matrix if row["observed"] is not None} == {
        pair: truncate(worst_case.good_ratio, 2) for pair, worst_case in expected.items()
    }
    assert {(row["source"], row["destination"]): row["coverage"] for row in worst} == {
        pair: truncate(worst_case.coverage_ratio, 2) for pair, worst_case in expected.items()
    }
    for (source, destination), worst_case in expected.items():
        variables = {"profile": profile, "source": source, "destination": destination}
        (statistics,) = rows(
            connection,
            QUERIES["leadline-pair.json Shares over the whole hours of the time range A"],
            panel_range,
            **variables,
        )
        (hours,) = rows(
            connection, QUERIES["leadline-pair.json Minutes by state and cause A"], panel_range, **variables
        )
        assert statistics["observed"] == truncate(worst_case.good_ratio, 3)
        bad_share = hours["latency"] + hours["loss"] + hours["both"]
        known_share = hours["good"] + bad_share + hours["outage"]
        assert hours["good"] / known_share == pytest.approx(worst_case.good_ratio, rel=1e-12)
        known_count = worst_case.good + worst_case.bad + worst_case.unavailable
        assert bad_share / known_share == pytest.approx(worst_case.bad / known_count, rel=1e-12)


@pytest.mark.parametrize("name", BOARDS)
def test_dashboards_are_complete(name: str) -> None:
    """Fixed uid, ids in order; each panel has a title, a description and the datasource, and fits the grid."""
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


def test_links_are_valid() -> None:
    """Every link to a dashboard names an existing dashboard and its variables."""
    text = json.dumps([BOARDS, RULES])
    variables = {
        board["uid"]: {variable["name"] for variable in board["templating"]["list"]} for board in BOARDS.values()
    }

    links = re.findall(r"[/}]d/([a-z-]+)\?([^\"]*)", text)

    assert len(links) >= 8
    for uid, query in links:
        assert set(re.findall(r"var-([a-z]+)", query)) <= variables[uid]
    assert "${__url_time_range}" in text


@pytest.mark.parametrize("uid", RULES)
def test_alerts_have_hysteresis_and_a_state_without_data(uid: str) -> None:
    """Each condition has a threshold and a recovery threshold below it; annotations contain no variables."""
    rule = RULES[uid]

    (condition,) = rule["data"][1]["model"]["conditions"]
    threshold, recovery = condition["evaluator"], condition["unloadEvaluator"]
    assert (threshold["type"], recovery["type"]) == ("gt", "lt")
    assert recovery["params"][0] <= threshold["params"][0]
    assert rule["condition"] == rule["data"][1]["refId"]
    assert rule["noDataState"] in {"OK", "NoData"}
    assert rule["execErrState"] in {"KeepLast", "Error"}
    assert set(rule["annotations"]) == {"summary", "description", "dashboard_url"}
    assert "externalURL" in rule["annotations"]["dashboard_url"]
    assert not re.search(r"\$", json.dumps(rule["annotations"])), "Grafana would expand it as an environment variable"


FIRING = {
    "leadline-pair-beyond": 3,
    "leadline-pair-silent": 1,
    "leadline-pair-invalid": 0,
    "leadline-agent-silent": 8,
    "leadline-coverage-falling": 0,
    "leadline-clock-suspect": 1,
    "leadline-clock-unsynchronised": 1,
}


@pytest.mark.parametrize("uid", RULES)
def test_alerts_fire_for_the_faults_of_the_demo_only(filled: Demo, connection: psycopg.Connection, uid: str) -> None:
    """Each row has one number and unique text labels; only rows with a fault exceed the threshold."""
    panel_range = PanelRange(from_s=filled.end_s - 600, to_s=filled.end_s)

    result = rows(connection, QUERIES[f"alert {uid}"], panel_range)

    threshold = RULES[uid]["data"][1]["model"]["conditions"][0]["evaluator"]["params"][0]
    labels = [tuple(value for name, value in row.items() if name != "value") for row in result]
    assert len(set(labels)) == len(labels)
    assert all(isinstance(label, str) for row_labels in labels for label in row_labels)
    assert sum(row["value"] > threshold for row in result) == FIRING[uid]


def test_late_data_raises_no_alert() -> None:
    """Rules read current states only, no history."""
    views = {view for rule in RULES.values() for view in re.findall(r"grafana_\w+", rule["data"][0]["model"]["rawSql"])}

    assert views == {"grafana_pair_now", "grafana_agent"}


def test_committed_dashboards_are_up_to_date() -> None:
    """``make dashboards`` would change nothing; the generator is a development dependency."""
    generate = pytest.importorskip("leadline_dashboards.generate.__main__", reason="the generator's library is missing")

    files: Mapping[str, str] = generate.generate_files()

    for path, text in files.items():
        assert (generate.PACKAGE_DIR / path).read_text(encoding="utf-8") == text, f"run make dashboards: {path}"
    assert {path.removeprefix("json/") for path in files if path.startswith("json/")} == set(BOARDS)
