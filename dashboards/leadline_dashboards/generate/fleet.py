"""Fleet dashboard: agents and their deliveries."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import table, timeseries
from grafana_foundation_sdk.models.common import TableCellBackgroundDisplayMode, TableColoredBackgroundCellOptions

from leadline.alert_thresholds import AGENT_SILENCE_S_MAX, SPOOL_USAGE_RATIO_MAX
from leadline_dashboards.generate import panels
from leadline_dashboards.generate.alerts import CLOCK_OFFSET_ALERT_S
from leadline_dashboards.generate.queries import SHARE_FUNCTION, Query, name_data, truncate_ratio
from leadline_dashboards.generate.style import (
    BYTES,
    GREEN,
    MICROSECONDS,
    ORANGE,
    RATIO,
    SECONDS,
    TRANSPARENT,
    VERMILION,
    build_thresholds,
    build_yes_no_mappings,
    prop,
)

_SITE_FILTER = "site IN (${site:sqlstring})"
#: The journal has one row for each minute and agent. Queries over more than two days would take seconds.
_TIME_FILTER = "t_last >= GREATEST($__unixEpochFrom(), $__unixEpochTo() - 172800) AND t_last < $__unixEpochTo()"
_TWO_DAYS_NOTE = "Limited to the last two days of the time range."
_TIME_BIN = "$__unixEpochGroupAlias(t_last, $__interval, NULL)"


def build_fleet() -> build.Dashboard:
    """Build the fleet dashboard."""
    dashboard = panels.build_dashboard(
        panels.FLEET_UID,
        "leadline fleet",
        "Agents: contact, spool, gaps with their reasons, and clock offset.",
        "now-24h",
    )
    dashboard.with_variable(panels.build_profile_variable()).with_variable(
        panels.build_variable(
            "site",
            "Site",
            "Agents of these sites.",
            "SELECT DISTINCT site FROM grafana_agent ORDER BY 1",
            multiple=True,
        )
    )
    return panels.add_panels(
        dashboard,
        [_build_agents(), _build_ingest(), _build_delay(), _build_coverage(), _build_gap_reasons(), _build_gaps()],
    )


def _build_agents() -> table.Panel:
    panel = panels.configure_panel(
        table.Panel(),
        "Agents",
        "All agents of the mesh at their last contact. Behind: age of the newest delivered minute. Spool: undelivered "
        "batches, and their share of the disk quota. Clock offset: agent minus collector, with its error; it affects "
        "the minute of a measurement, never an RTT.",
        (panels.DASHBOARD_WIDTH, 12),
        Query(
            f"""
            SELECT site, agent, version, heard_at, silent_s, behind_s, spool_batches, spool_bytes,
                spool_bytes::float8 / nullif(spool_bytes_max, 0) AS spool_ratio, clock_offset_us, clock_offset_error_us,
                ntp_synchronised
            FROM grafana_agent WHERE {_SITE_FILTER} ORDER BY silent_s DESC NULLS FIRST, 1, 2
            """
        ),
    )
    names = {
        "heard_at": "last contact (UTC)", "silent_s": "silent for", "behind_s": "behind",
        "spool_batches": "spooled batches",
        "spool_bytes": "spool", "spool_ratio": "spool full", "clock_offset_us": "clock offset",
        "clock_offset_error_us": "± error", "ntp_synchronised": "clock",
    }  # fmt: skip
    units = {
        "silent_s": SECONDS, "behind_s": SECONDS, "spool_bytes": BYTES, "spool_ratio": RATIO,
        "clock_offset_us": MICROSECONDS, "clock_offset_error_us": MICROSECONDS,
    }  # fmt: skip
    steps = {
        "silent_s": build_thresholds(TRANSPARENT, (AGENT_SILENCE_S_MAX, VERMILION)),
        "behind_s": build_thresholds(TRANSPARENT, (2 * AGENT_SILENCE_S_MAX, ORANGE)),
        "spool_ratio": build_thresholds(TRANSPARENT, (SPOOL_USAGE_RATIO_MAX, ORANGE), (0.9, VERMILION)),
        "clock_offset_us": build_thresholds(
            VERMILION, (-1e6 * CLOCK_OFFSET_ALERT_S, TRANSPARENT), (1e6 * CLOCK_OFFSET_ALERT_S, VERMILION)
        ),
    }
    cell = TableColoredBackgroundCellOptions(mode=TableCellBackgroundDisplayMode.BASIC)
    for name, title in names.items():
        properties = [prop("displayName", title)]
        properties += [prop("unit", units[name])] if name in units else []
        if name in steps:
            properties += [prop("custom.cellOptions", cell), prop("thresholds", steps[name].build())]
        panel.override_by_name(name, properties)
    panel.override_by_name("silent_s", [prop("noValue", "no data yet")])
    panel.override_by_name(
        "ntp_synchronised", [prop("mappings", build_yes_no_mappings("synchronised", "not synchronised"))]
    )
    return panel.filterable(True)


def _build_ingest() -> timeseries.Panel:
    panel = panels.build_chart(
        "Batches by measurement time",
        "Number of delivered batches by the start of their newest minute, not by arrival: late batches fill earlier "
        f"gaps. Usual: one for each minute and agent. A permanent dip is missing data. {_TWO_DAYS_NOTE}",
        (12, 9),
        Query(
            f"""
            SELECT {_TIME_BIN}, count(*) AS batches, count(DISTINCT agent) AS agents
            FROM grafana_batch WHERE {_SITE_FILTER} AND {_TIME_FILTER} GROUP BY 1 ORDER BY 1
            """,
            series=True,
        ),
    )
    return panel.unit("short").decimals(0).interval("5m")


def _build_delay() -> timeseries.Panel:
    panel = panels.build_chart(
        "Delivery delay",
        "Time from the end of a batch's newest minute to its receipt: median and longest of each step. About 16 s are "
        "usual, because agents wait for late replies. More means late delivery from the spool. " + _TWO_DAYS_NOTE,
        (12, 9),
        Query(
            f"""
            SELECT {_TIME_BIN}, percentile_disc(0.5) WITHIN GROUP (ORDER BY delay_s) AS median, max(delay_s) AS longest
            FROM grafana_batch WHERE {_SITE_FILTER} AND {_TIME_FILTER} GROUP BY 1 ORDER BY 1
            """,
            series=True,
        ),
    )
    return panel.unit(SECONDS).interval("5m")


def _build_coverage() -> table.Panel:
    panel = panels.configure_panel(
        table.Panel(),
        "Coverage by source site over the time range",
        "Known minutes as a share of all minutes of the site's pairs, over the whole hours of the time range. Missing "
        "minutes are a measurement problem, not a path problem. Lost probes count as measured.",
        (8, 10),
        Query(
            f"""
            SELECT source AS site, {truncate_ratio("sum(windows - unknown) / sum(windows)", 2)} AS coverage,
                sum(unknown) AS unknown, count(*) AS pairs, {name_data("bool_or(simulated)", "bool_or(imported)")}
            FROM {SHARE_FUNCTION} WHERE source IN (${{site:sqlstring}}) GROUP BY 1 ORDER BY 2, 1
            """
        ),
    )
    cell = TableColoredBackgroundCellOptions(mode=TableCellBackgroundDisplayMode.BASIC)
    steps = build_thresholds(VERMILION, (0.8, ORANGE), (0.95, GREEN)).build()
    panel.override_by_name(
        "coverage",
        [prop("unit", RATIO), prop("decimals", 2), prop("custom.cellOptions", cell), prop("thresholds", steps)],
    )
    return panel.override_by_name("unknown", [prop("displayName", "minutes not measured")])


_GAPS_CLAUSE = f"FROM grafana_gap WHERE {_SITE_FILTER} AND until_t > $__unixEpochFrom() AND t < $__unixEpochTo()"


def _build_gap_reasons() -> table.Panel:
    panel = panels.configure_panel(
        table.Panel(),
        "Gaps by reason",
        "Gaps in the time range that agents or the collector reported, by reason.",
        (6, 10),
        Query(
            f"""
            SELECT reason, count(*) AS gaps, sum(windows) AS windows, count(DISTINCT agent) AS agents
            {_GAPS_CLAUSE} GROUP BY 1 ORDER BY 2 DESC, 1
            """
        ),
    )
    return panel.override_by_name("windows", [prop("displayName", "lost windows")])


def _build_gaps() -> table.Panel:
    panel = panels.configure_panel(
        table.Panel(),
        "Gaps",
        "All reported gaps, newest first: agent, start, end and reason.",
        (10, 10),
        Query(
            f"SELECT time, time_end, site, agent, reason, windows, source {_GAPS_CLAUSE} ORDER BY t DESC, 4 LIMIT 500"
        ),
    )
    panel.override_by_name("time", [prop("displayName", "from (UTC)")])
    panel.override_by_name("time_end", [prop("displayName", "to (UTC)")])
    return panel.override_by_name("source", [prop("displayName", "reported by")])
