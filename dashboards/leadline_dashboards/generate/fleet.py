"""The fleet: agents and what they deliver."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import table, timeseries
from grafana_foundation_sdk.models.common import TableCellBackgroundDisplayMode, TableColoredBackgroundCellOptions

from leadline.alert_thresholds import AGENT_SILENCE_S_MAX, SPOOL_USAGE_RATIO_MAX
from leadline_dashboards.generate import panels
from leadline_dashboards.generate.alerts import CLOCK_OFFSET_ALERT_S
from leadline_dashboards.generate.queries import SHARE_FUNCTION, Query
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
#: The journal has a row a minute and agent: more than two days of it would be read for seconds.
_TIME_FILTER = "t_last >= GREATEST($__unixEpochFrom(), $__unixEpochTo() - 172800) AND t_last < $__unixEpochTo()"
_TWO_DAYS_NOTE = "At most the last two days of the chosen time."
_TIME_BIN = "$__unixEpochGroupAlias(t_last, $__interval, NULL)"


def build_fleet() -> build.Dashboard:
    """The dashboard."""
    made = panels.build_dashboard(
        panels.FLEET_UID,
        "leadline fleet",
        "The agents: who is heard of, what waits in their spools, what is missing and why, whose clock is off.",
        "now-24h",
    )
    made.with_variable(panels.build_profile_variable()).with_variable(
        panels.build_variable(
            "site",
            "Site",
            "Agents of these sites.",
            "SELECT DISTINCT site FROM grafana_agent ORDER BY 1",
            multiple=True,
        )
    )
    return panels.add_panels(
        made, [_build_agents(), _build_ingest(), _build_delay(), _build_coverage(), _build_gap_reasons(), _build_gaps()]
    )


def _build_agents() -> table.Panel:
    made = panels.configure_panel(
        table.Panel(),
        "Agents",
        "Every agent of the mesh as the collector last heard of it. Behind: how old the newest minute is that it "
        "delivered. Spool: what it measured and could not deliver yet, and how full that leaves its disk quota. Clock "
        "offset is against the collector, give or take its error; it moves minutes, never a round trip.",
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
        "heard_at": "last heard (UTC)", "silent_s": "silent for", "behind_s": "behind",
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
        made.override_by_name(name, properties)
    made.override_by_name("silent_s", [prop("noValue", "never heard")])
    made.override_by_name(
        "ntp_synchronised", [prop("mappings", build_yes_no_mappings("synchronised", "not synchronised"))]
    )
    return made.filterable(True)


def _build_ingest() -> timeseries.Panel:
    made = panels.build_chart(
        "Batches by the minute they are about",
        "How many batches agents delivered, by the time their newest minute began and not by when they came: what was "
        f"delivered late fills its place. One a minute and agent is usual; a dip that stays is missing. {_TWO_DAYS_NOTE}",
        (12, 9),
        Query(
            f"""
            SELECT {_TIME_BIN}, count(*) AS batches, count(DISTINCT agent) AS agents
            FROM grafana_batch WHERE {_SITE_FILTER} AND {_TIME_FILTER} GROUP BY 1 ORDER BY 1
            """,
            series=True,
        ),
    )
    return made.unit("short").decimals(0).interval("5m")


def _build_delay() -> timeseries.Panel:
    made = panels.build_chart(
        "Delay of delivery",
        "From the end of a batch's newest minute to its receipt: median and longest of each step. A minute stays "
        "open for late replies, so some 16 s are usual; more is a spool delivered late. " + _TWO_DAYS_NOTE,
        (12, 9),
        Query(
            f"""
            SELECT {_TIME_BIN}, percentile_disc(0.5) WITHIN GROUP (ORDER BY delay_s) AS median, max(delay_s) AS longest
            FROM grafana_batch WHERE {_SITE_FILTER} AND {_TIME_FILTER} GROUP BY 1 ORDER BY 1
            """,
            series=True,
        ),
    )
    return made.unit(SECONDS).interval("5m")


def _build_coverage() -> table.Panel:
    made = panels.configure_panel(
        table.Panel(),
        "Coverage by source site over the time range",
        "Known minutes over all minutes of the site's pairs, of the whole hours in the chosen time. What is missing is "
        "a defect of the measurement and says nothing about a path. Lost probes are not missing: they were measured.",
        (8, 10),
        Query(
            f"""
            SELECT source AS site, sum(windows - unknown) / sum(windows) AS coverage, sum(unknown) AS unknown,
                count(*) AS pairs, bool_or(simulated) AS simulated
            FROM {SHARE_FUNCTION} WHERE source IN (${{site:sqlstring}}) GROUP BY 1 ORDER BY 2, 1
            """
        ),
    )
    cell = TableColoredBackgroundCellOptions(mode=TableCellBackgroundDisplayMode.BASIC)
    steps = build_thresholds(VERMILION, (0.8, ORANGE), (0.95, GREEN)).build()
    made.override_by_name(
        "coverage",
        [prop("unit", RATIO), prop("decimals", 2), prop("custom.cellOptions", cell), prop("thresholds", steps)],
    )
    made.override_by_name("unknown", [prop("displayName", "minutes not measured")])
    return made.override_by_name("simulated", [prop("mappings", build_yes_no_mappings("simulated", "measured"))])


_GAPS_CLAUSE = f"FROM grafana_gap WHERE {_SITE_FILTER} AND until_t > $__unixEpochFrom() AND t < $__unixEpochTo()"


def _build_gap_reasons() -> table.Panel:
    made = panels.configure_panel(
        table.Panel(),
        "Gaps by reason",
        "What agents and the collector told of minutes that are missing in the chosen time, by reason.",
        (6, 10),
        Query(
            f"""
            SELECT reason, count(*) AS gaps, sum(windows) AS windows, count(DISTINCT agent) AS agents
            {_GAPS_CLAUSE} GROUP BY 1 ORDER BY 2 DESC, 1
            """
        ),
    )
    return made.override_by_name("windows", [prop("displayName", "windows given up")])


def _build_gaps() -> table.Panel:
    made = panels.configure_panel(
        table.Panel(),
        "Gaps",
        "Every hole as it was told, the newest first: whose it is, from when to when, and why.",
        (10, 10),
        Query(
            f"SELECT time, time_end, site, agent, reason, windows, source {_GAPS_CLAUSE} ORDER BY t DESC, 4 LIMIT 500"
        ),
    )
    made.override_by_name("time", [prop("displayName", "from (UTC)")])
    made.override_by_name("time_end", [prop("displayName", "to (UTC)")])
    return made.override_by_name("source", [prop("displayName", "told by")])
