"""The overview: which pairs are well now, and which were over the chosen time."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import stat, table
from grafana_foundation_sdk.models.common import TableCellBackgroundDisplayMode, TableColoredBackgroundCellOptions

from leadline.alert_thresholds import SILENT_S
from leadline.evaluation import TARGET_SHARE_DEFAULT
from leadline_dashboards.generate import panels
from leadline_dashboards.generate.queries import OF_PROFILE, SHARE, Query
from leadline_dashboards.generate.style import (
    GREEN,
    GREY,
    KM,
    MICROSECONDS,
    NONE,
    ORANGE,
    RATIO,
    SECONDS,
    SIMULATED,
    STATES,
    VERMILION,
    fixed,
    prop,
    thresholds,
    yes_no_mappings,
)

_SITES = "source IN (${site:sqlstring})"
#: Every site beside itself, so that rows and columns of a matrix come in the same order.
_DIAGONAL = f"FROM grafana_pair WHERE {_SITES}"


def overview() -> build.Dashboard:
    """The dashboard."""
    made = panels.dashboard(
        panels.OVERVIEW_UID,
        "leadline overview",
        "Which site pairs are within the limits of a profile: now, and over the chosen time.",
        "now-7d",
    )
    made.with_variable(panels.profile_variable()).with_variable(
        panels.variable(
            "site",
            "Source site",
            "Rows of the matrices and tables.",
            "SELECT DISTINCT source FROM grafana_pair ORDER BY 1",
            several=True,
        )
    )
    return panels.placed(made, [_now(), _agents_now(), _state_matrix(), _share_matrix(), _worst(), _silent()])


def _now() -> stat.Panel:
    counts = ", ".join(f"count(*) FILTER (WHERE state_now = '{state}') AS {state}" for state in STATES)
    made = panels.figures(
        "Pairs now",
        "Directed pairs by the state of their newest minute, in the reading least favourable to the path. Unknown: too "
        "little was measured, which is no statement on the path. Unavailable: 20 % or more of the probes were lost.",
        (18, 4),
        Query(f"SELECT {counts} FROM grafana_pair_now WHERE {OF_PROFILE} AND {_SITES}"),
    )
    for state, (shape, colour) in STATES.items():
        made.override_by_name(state, [fixed(colour), prop("displayName", f"{shape} {state}")])
    return made


def _agents_now() -> stat.Panel:
    made = panels.figures(
        "Agents",
        f"Agents of the mesh, and those the collector heard nothing of for more than {SILENT_S} s, or never.",
        (6, 4),
        Query(
            f"SELECT count(*) AS agents, count(*) FILTER (WHERE silent_s IS NULL OR silent_s > {SILENT_S}) AS silent "
            "FROM grafana_agent"
        ),
    )
    made.override_by_name("silent", [prop("thresholds", thresholds(GREEN, (1, VERMILION)).build())])
    return made.override_by_name("agents", [fixed(GREY)])


def _state_matrix() -> table.Panel:
    made = panels.matrix(
        "State now",
        "The newest minute of every directed pair: rows measure, columns are measured. An empty cell is a pair that "
        "the mesh does not probe, or does not judge by this profile. Simulated pairs say so. A cell leads to its pair.",
        Query(
            f"""
            SELECT source, destination, state_now || CASE WHEN simulated THEN '{SIMULATED}' ELSE '' END AS state
            FROM grafana_pair_now WHERE {OF_PROFILE} AND {_SITES}
            UNION ALL
            SELECT DISTINCT source, source, '' {_DIAGONAL}
            ORDER BY 1, 2
            """
        ),
        "state",
    )
    return panels.states(made)


def _share_matrix() -> table.Panel:
    target = f"{TARGET_SHARE_DEFAULT:.1%}"
    made = panels.matrix(
        "Share within the limits over the time range",
        "Good minutes over known minutes, of the whole hours in the chosen time: what was observed, and not a verdict, "
        f"which also has an interval (leadline verdict). Green from {target} on, the usual target; orange below.",
        Query(
            f"""
            SELECT source, destination, observed FROM {SHARE} WHERE {_SITES}
            UNION ALL
            SELECT DISTINCT source, source, NULL::float8 {_DIAGONAL}
            ORDER BY 1, 2
            """
        ),
        "observed",
    )
    return made.unit(RATIO).decimals(2).thresholds(thresholds(ORANGE, (TARGET_SHARE_DEFAULT, GREEN)))


def _worst() -> table.Panel:
    made = panels.panel(
        table.Panel(),
        "Worst pairs over the time range",
        "Pairs by the share of known minutes that were within the limits, the lowest first. Pessimistic counts "
        "unknown minutes as bad, optimistic as good and takes off what the agent itself may have added. "
        "Not measured is apart from bad and from unavailable, which means lost probes.",
        (panels.WIDTH, 11),
        Query(
            f"""
            SELECT s.source, s.destination, s.observed, s.pessimistic, s.optimistic, s.coverage, s.windows, s.bad,
                s.unavailable, s.unknown, s.min_us, p.glass_us, p.distance_km, s.simulated
            FROM {SHARE} s LEFT JOIN grafana_pair p ON p.source = s.source AND p.destination = s.destination
            WHERE s.{_SITES} ORDER BY s.observed NULLS FIRST, s.coverage, 1, 2 LIMIT 50
            """
        ),
    )
    names = {
        "observed": "within the limits", "windows": "minutes", "unknown": "not measured", "min_us": "shortest RTT",
        "glass_us": "light in glass", "distance_km": "distance",
    }  # fmt: skip
    units = {"min_us": MICROSECONDS, "glass_us": MICROSECONDS, "distance_km": KM}
    units |= dict.fromkeys(("observed", "pessimistic", "optimistic", "coverage"), RATIO)
    for name in dict.fromkeys((*names, *units)):
        properties = [prop("displayName", names[name])] if name in names else []
        properties += [prop("unit", units[name]), prop("decimals", 2)] if name in units else []
        made.override_by_name(name, properties)
    made.override_by_name("simulated", [prop("mappings", yes_no_mappings("simulated", "measured"))])
    return made.data_links([panels.pair_link(*panels.ROW_LINK)]).filterable(True)


def _silent() -> table.Panel:
    made = panels.panel(
        table.Panel(),
        "Agents silent",
        f"Agents of which the collector heard nothing for more than {SILENT_S} s; empty if all are well. What they "
        "measure meanwhile stays in their spool and comes later.",
        (panels.WIDTH, 7),
        Query(
            f"""
            SELECT site, agent, heard_at, silent_s, latest, version FROM grafana_agent
            WHERE silent_s IS NULL OR silent_s > {SILENT_S} ORDER BY silent_s DESC NULLS FIRST, 1, 2 LIMIT 200
            """
        ),
    )
    cell = TableColoredBackgroundCellOptions(mode=TableCellBackgroundDisplayMode.BASIC)
    made.override_by_name(
        "silent_s",
        [
            prop("displayName", "silent for"), prop("unit", SECONDS), prop("noValue", "never heard"),
            prop("custom.cellOptions", cell), prop("thresholds", thresholds(NONE, (SILENT_S, VERMILION)).build()),
        ],
    )  # fmt: skip
    made.override_by_name("heard_at", [prop("displayName", "last heard (UTC)")])
    return made.override_by_name("latest", [prop("displayName", "newest minute delivered (UTC)")]).no_value("")
