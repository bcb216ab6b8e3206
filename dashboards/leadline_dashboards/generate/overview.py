"""The overview: which pairs are well now, and which were over the chosen time."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import stat, table
from grafana_foundation_sdk.models.common import TableCellBackgroundDisplayMode, TableColoredBackgroundCellOptions

from leadline.alert_thresholds import AGENT_SILENCE_S_MAX
from leadline.evaluation import TARGET_SHARE_DEFAULT
from leadline_dashboards.generate import panels
from leadline_dashboards.generate.queries import PROFILE_FILTER, SHARE_FUNCTION, Query
from leadline_dashboards.generate.style import (
    GREEN,
    GREY,
    KM,
    MICROSECONDS,
    ORANGE,
    RATIO,
    SECONDS,
    SIMULATED_SUFFIX,
    STATE_STYLES,
    TRANSPARENT,
    VERMILION,
    build_thresholds,
    build_yes_no_mappings,
    colour_prop,
    prop,
)

_SITE_FILTER = "source IN (${site:sqlstring})"
#: Every site beside itself, so that rows and columns of a matrix come in the same order.
_DIAGONAL = f"FROM grafana_pair WHERE {_SITE_FILTER}"


def build_overview() -> build.Dashboard:
    """The dashboard."""
    made = panels.build_dashboard(
        panels.OVERVIEW_UID,
        "leadline overview",
        "Which site pairs are within the limits of a profile: now, and over the chosen time.",
        "now-7d",
    )
    made.with_variable(panels.build_profile_variable()).with_variable(
        panels.build_variable(
            "site",
            "Source site",
            "Rows of the matrices and tables.",
            "SELECT DISTINCT source FROM grafana_pair ORDER BY 1",
            multiple=True,
        )
    )
    return panels.add_panels(
        made,
        [
            _build_state_counts(),
            _build_agent_counts(),
            _build_state_matrix(),
            _build_share_matrix(),
            _build_worst_pairs(),
            _build_silent_agents(),
        ],
    )


def _build_state_counts() -> stat.Panel:
    counts = ", ".join(f"count(*) FILTER (WHERE state_now = '{state}') AS {state}" for state in STATE_STYLES)
    made = panels.build_stat_panel(
        "Pairs now",
        "Directed pairs by the state of their newest minute, in the reading least favourable to the path. Unknown: too "
        "little was measured, which is no statement on the path. Unavailable: 20 % or more of the probes were lost.",
        (18, 4),
        Query(f"SELECT {counts} FROM grafana_pair_now WHERE {PROFILE_FILTER} AND {_SITE_FILTER}"),
    )
    for state, (shape, colour) in STATE_STYLES.items():
        made.override_by_name(state, [colour_prop(colour), prop("displayName", f"{shape} {state}")])
    return made


def _build_agent_counts() -> stat.Panel:
    made = panels.build_stat_panel(
        "Agents",
        f"Agents of the mesh, and those the collector heard nothing of for more than {AGENT_SILENCE_S_MAX} s, or never.",
        (6, 4),
        Query(
            f"SELECT count(*) AS agents, count(*) FILTER (WHERE silent_s IS NULL OR silent_s > {AGENT_SILENCE_S_MAX}) AS silent "
            "FROM grafana_agent"
        ),
    )
    made.override_by_name("silent", [prop("thresholds", build_thresholds(GREEN, (1, VERMILION)).build())])
    return made.override_by_name("agents", [colour_prop(GREY)])


def _build_state_matrix() -> table.Panel:
    made = panels.build_matrix(
        "State now",
        "The newest minute of every directed pair: rows measure, columns are measured. An empty cell is a pair that "
        "the mesh does not probe, or does not judge by this profile. Simulated pairs say so. A cell leads to its pair.",
        Query(
            f"""
            SELECT source, destination, state_now || CASE WHEN simulated THEN '{SIMULATED_SUFFIX}' ELSE '' END AS state
            FROM grafana_pair_now WHERE {PROFILE_FILTER} AND {_SITE_FILTER}
            UNION ALL
            SELECT DISTINCT source, source, '' {_DIAGONAL}
            ORDER BY 1, 2
            """
        ),
        "state",
    )
    return panels.map_states(made)


def _build_share_matrix() -> table.Panel:
    target = f"{TARGET_SHARE_DEFAULT:.1%}"
    made = panels.build_matrix(
        "Share within the limits over the time range",
        "Good minutes over known minutes, of the whole hours in the chosen time: what was observed, and not a verdict, "
        f"which also has an interval (leadline verdict). Green from {target} on, the usual target; orange below.",
        Query(
            f"""
            SELECT source, destination, observed FROM {SHARE_FUNCTION} WHERE {_SITE_FILTER}
            UNION ALL
            SELECT DISTINCT source, source, NULL::float8 {_DIAGONAL}
            ORDER BY 1, 2
            """
        ),
        "observed",
    )
    return made.unit(RATIO).decimals(2).thresholds(build_thresholds(ORANGE, (TARGET_SHARE_DEFAULT, GREEN)))


def _build_worst_pairs() -> table.Panel:
    made = panels.configure_panel(
        table.Panel(),
        "Worst pairs over the time range",
        "Pairs by the share of known minutes that were within the limits, the lowest first. Pessimistic counts "
        "unknown minutes as bad, optimistic as good and takes off what the agent itself may have added. "
        "Not measured is apart from bad and from unavailable, which means lost probes.",
        (panels.DASHBOARD_WIDTH, 11),
        Query(
            f"""
            SELECT s.source, s.destination, s.observed, s.pessimistic, s.optimistic, s.coverage, s.windows, s.bad,
                s.unavailable, s.unknown, s.min_us, p.glass_us, p.distance_km, s.simulated
            FROM {SHARE_FUNCTION} s LEFT JOIN grafana_pair p ON p.source = s.source AND p.destination = s.destination
            WHERE s.{_SITE_FILTER} ORDER BY s.observed NULLS FIRST, s.coverage, 1, 2 LIMIT 50
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
    made.override_by_name("simulated", [prop("mappings", build_yes_no_mappings("simulated", "measured"))])
    return made.data_links([panels.build_pair_link(*panels.ROW_LINK_FIELDS)]).filterable(True)


def _build_silent_agents() -> table.Panel:
    made = panels.configure_panel(
        table.Panel(),
        "Agents silent",
        f"Agents of which the collector heard nothing for more than {AGENT_SILENCE_S_MAX} s; empty if all are well. What they "
        "measure meanwhile stays in their spool and comes later.",
        (panels.DASHBOARD_WIDTH, 7),
        Query(
            f"""
            SELECT site, agent, heard_at, silent_s, latest, version FROM grafana_agent
            WHERE silent_s IS NULL OR silent_s > {AGENT_SILENCE_S_MAX} ORDER BY silent_s DESC NULLS FIRST, 1, 2 LIMIT 200
            """
        ),
    )
    cell = TableColoredBackgroundCellOptions(mode=TableCellBackgroundDisplayMode.BASIC)
    made.override_by_name(
        "silent_s",
        [
            prop("displayName", "silent for"), prop("unit", SECONDS), prop("noValue", "never heard"),
            prop("custom.cellOptions", cell), prop("thresholds", build_thresholds(TRANSPARENT, (AGENT_SILENCE_S_MAX, VERMILION)).build()),
        ],
    )  # fmt: skip
    made.override_by_name("heard_at", [prop("displayName", "last heard (UTC)")])
    return made.override_by_name("latest", [prop("displayName", "newest minute delivered (UTC)")]).no_value("")
