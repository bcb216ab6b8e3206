"""Overview dashboard: states of all pairs now and over the time range."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import stat, table
from grafana_foundation_sdk.models.common import TableCellBackgroundDisplayMode, TableColoredBackgroundCellOptions

from leadline.alert_thresholds import AGENT_SILENCE_S_MAX
from leadline.evaluation import TARGET_SHARE_DEFAULT
from leadline_dashboards.generate import panels
from leadline_dashboards.generate.queries import (
    PROFILE_FILTER,
    SHARE_FUNCTION,
    WEAK_LIMITS,
    Query,
    name_data,
    name_state_now,
    truncate_ratio,
)
from leadline_dashboards.generate.style import (
    GREEN,
    GREY,
    INVALID_STYLE,
    KM,
    MICROSECONDS,
    ORANGE,
    RATIO,
    SECONDS,
    STATE_STYLES,
    TRANSPARENT,
    VERMILION,
    build_thresholds,
    build_yes_no_mappings,
    colour_prop,
    prop,
)

_SITE_FILTER = "source IN (${site:sqlstring})"
_SILENCE_FILTER = f"silent_s IS NULL OR silent_s > {AGENT_SILENCE_S_MAX}"
#: Diagonal cells, so that rows and columns of a matrix have the same order.
_DIAGONAL = f"FROM grafana_pair WHERE {_SITE_FILTER}"


def build_overview() -> build.Dashboard:
    """Build the overview dashboard."""
    dashboard = panels.build_dashboard(
        panels.OVERVIEW_UID,
        "leadline overview",
        "Site pairs within the limits of a profile: now, and over the time range.",
        "now-7d",
    )
    dashboard.with_variable(panels.build_profile_variable()).with_variable(
        panels.build_variable(
            "site",
            "Source site",
            "Rows of the matrices and tables.",
            "SELECT DISTINCT source FROM grafana_pair ORDER BY 1",
            multiple=True,
        )
    )
    return panels.add_panels(
        dashboard,
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
    styles = STATE_STYLES | {"invalid": INVALID_STYLE}
    counts = ", ".join(f"count(*) FILTER (WHERE state_now = '{state}') AS {state}" for state in styles)
    panel = panels.build_stat_panel(
        "Pairs now",
        "Directed pairs by the state of their newest minute (worst case). Unknown: not enough probes were sent, so "
        "the state of the path is not known. Unavailable: 20 % or more of the probes were lost. Invalid: a reply of "
        "the last 15 minutes is faster than light, so the coordinates or a clock are wrong.",
        (18, 4),
        Query(f"SELECT {counts} FROM grafana_pair_now WHERE {PROFILE_FILTER} AND {_SITE_FILTER}"),
    )
    for state, (shape, colour) in styles.items():
        panel.override_by_name(state, [colour_prop(colour), prop("displayName", f"{shape} {state}")])
    return panel


def _build_agent_counts() -> stat.Panel:
    panel = panels.build_stat_panel(
        "Agents",
        f"All agents of the mesh, and those without data for more than {AGENT_SILENCE_S_MAX} s or without any data.",
        (6, 4),
        Query(f"SELECT count(*) AS agents, count(*) FILTER (WHERE {_SILENCE_FILTER}) AS silent FROM grafana_agent"),
    )
    panel.override_by_name("silent", [prop("thresholds", build_thresholds(GREEN, (1, VERMILION)).build())])
    return panel.override_by_name("agents", [colour_prop(GREY)])


def _build_state_matrix() -> table.Panel:
    panel = panels.build_matrix(
        "State now",
        "State of the newest minute of every directed pair, from row to column, with the cause of a bad one. An empty "
        "cell: the mesh does not probe this pair or does not evaluate it by this profile. Simulated and imported pairs "
        "are marked. Click a cell to open its pair.",
        Query(
            f"""
            SELECT source, destination, {name_state_now()} AS state
            FROM grafana_pair_now WHERE {PROFILE_FILTER} AND {_SITE_FILTER}
            UNION ALL
            SELECT DISTINCT source, source, '' {_DIAGONAL}
            ORDER BY 1, 2
            """
        ),
        "state",
    )
    return panels.map_states(panel)


def _build_share_matrix() -> table.Panel:
    target = f"{TARGET_SHARE_DEFAULT:.1%}"
    panel = panels.build_matrix(
        "Share within the limits over the time range",
        "Good minutes as a share of known minutes, over the whole hours of the time range. This is an observation, not "
        f"a verdict with a confidence interval (see leadline verdict). Green: {target} (default target) or more.",
        Query(
            f"""
            SELECT source, destination, {truncate_ratio("observed", 2)} AS observed
            FROM {SHARE_FUNCTION} WHERE {_SITE_FILTER}
            UNION ALL
            SELECT DISTINCT source, source, NULL::float8 {_DIAGONAL}
            ORDER BY 1, 2
            """
        ),
        "observed",
    )
    return panel.unit(RATIO).decimals(2).thresholds(build_thresholds(ORANGE, (TARGET_SHARE_DEFAULT, GREEN)))


def _build_worst_pairs() -> table.Panel:
    shares = ", ".join(
        f"{truncate_ratio(f's.{name}', 2)} AS {name}" for name in ("observed", "pessimistic", "optimistic", "coverage")
    )
    panel = panels.configure_panel(
        table.Panel(),
        "Worst pairs over the time range",
        "Pairs by share of known minutes within the limits, lowest first. Pessimistic: unknown minutes count as bad. "
        "Optimistic: unknown minutes count as good, and the error of the agent host is subtracted. Minutes that were "
        "not measured are counted separately from bad and unavailable ones (lost probes). Data: simulated or imported "
        "if some minutes are. Invalid: a reply is faster than light. Weak limits are superseded, not read in a source "
        "of the vendor, or not a requirement.",
        (panels.DASHBOARD_WIDTH, 11),
        Query(
            f"""
            SELECT s.source, s.destination, {shares}, s.windows, s.bad, s.bad_latency, s.bad_loss, s.bad_both,
                s.unavailable, s.unknown, s.min_us, p.glass_us, p.distance_km, s.min_us < p.vacuum_us AS invalid,
                s.expected_min, {name_data("s.simulated", "s.imported")}, {WEAK_LIMITS} AS weak_limits
            FROM {SHARE_FUNCTION} s LEFT JOIN grafana_pair p ON p.source = s.source AND p.destination = s.destination
            WHERE s.{_SITE_FILTER} ORDER BY s.observed NULLS FIRST, s.coverage, 1, 2 LIMIT 50
            """
        ),
    )
    names = {
        "observed": "within the limits", "windows": "minutes", "unknown": "not measured", "min_us": "minimum RTT",
        "bad_latency": "bad by latency", "bad_loss": "bad by loss", "bad_both": "bad by both",
        "glass_us": "minimum RTT in fibre", "distance_km": "distance",
        "expected_min": "probes a minute, least", "weak_limits": "weak limits",
    }  # fmt: skip
    units = {"min_us": MICROSECONDS, "glass_us": MICROSECONDS, "distance_km": KM}
    units |= dict.fromkeys(("observed", "pessimistic", "optimistic", "coverage"), RATIO)
    for name in dict.fromkeys((*names, *units)):
        properties = [prop("displayName", names[name])] if name in names else []
        properties += [prop("unit", units[name]), prop("decimals", 2)] if name in units else []
        panel.override_by_name(name, properties)
    panel.override_by_name("invalid", [prop("mappings", build_yes_no_mappings("⊘ invalid", "plausible"))])
    return panel.data_links([panels.build_pair_link(*panels.ROW_LINK_FIELDS)]).filterable(True)


def _build_silent_agents() -> table.Panel:
    panel = panels.configure_panel(
        table.Panel(),
        "Silent agents",
        f"Agents without data for more than {AGENT_SILENCE_S_MAX} s; empty if there are none. A running agent keeps "
        "its measurements in its spool and delivers them later.",
        (panels.DASHBOARD_WIDTH, 7),
        Query(
            f"""
            SELECT site, agent, heard_at, silent_s, latest, version FROM grafana_agent
            WHERE {_SILENCE_FILTER} ORDER BY silent_s DESC NULLS FIRST, 1, 2 LIMIT 200
            """
        ),
    )
    cell = TableColoredBackgroundCellOptions(mode=TableCellBackgroundDisplayMode.BASIC)
    panel.override_by_name(
        "silent_s",
        [
            prop("displayName", "silent for"),
            prop("unit", SECONDS),
            prop("noValue", "no data yet"),
            prop("custom.cellOptions", cell),
            prop("thresholds", build_thresholds(TRANSPARENT, (AGENT_SILENCE_S_MAX, VERMILION)).build()),
        ],
    )
    panel.override_by_name("heard_at", [prop("displayName", "last contact (UTC)")])
    return panel.override_by_name("latest", [prop("displayName", "newest minute (UTC)")]).no_value("")
