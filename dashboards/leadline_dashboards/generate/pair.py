"""Pair dashboard: RTT, states, loss, delay variation, episodes and limits of one pair."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.common import VizTooltipOptions as Tooltip
from grafana_foundation_sdk.models.common import GraphDrawStyle, TooltipDisplayMode, VisibilityMode
from grafana_foundation_sdk.models.dashboard import DashboardLink, DashboardLinkType

from leadline_dashboards.generate import panels
from leadline_dashboards.generate.queries import (
    PAIR_FILTER,
    PROFILE_FILTER,
    REVERSE_PAIR_FILTER,
    SHARE_FUNCTION,
    Query,
    build_datasource_ref,
    name_data,
    name_state_now,
    truncate_ratio,
)
from leadline_dashboards.generate.style import (
    BLUE,
    CAUSE_STYLES,
    GREY,
    KM,
    MICROSECONDS,
    PURPLE,
    RATIO,
    SKY,
    TIMELINE_STYLES,
    VERMILION,
    build_timeline_mappings,
    colour_prop,
    prop,
)

_FULL_WIDTH = panels.DASHBOARD_WIDTH
_TIME_BIN = "$__unixEpochGroupAlias(t, $__interval, NULL)"
_TIME_FILTER = "t >= $__unixEpochFrom() AND t < $__unixEpochTo()"
#: A limit above this multiple of the highest p95 is not drawn, because it would compress the data.
_LEVEL_RATIO_MAX = 4


def build_pair() -> build.Dashboard:
    """Build the pair dashboard."""
    dashboard = panels.build_dashboard(
        panels.PAIR_UID,
        "leadline pair",
        "One directed pair of sites: measurements, limits and results.",
        "now-24h",
    )
    dashboard.with_variable(
        panels.build_variable(
            "source", "From", "Site of the measuring agents.", "SELECT DISTINCT source FROM grafana_pair ORDER BY 1"
        )
    )
    dashboard.with_variable(
        panels.build_variable(
            "destination",
            "To",
            "Site of the probed targets.",
            "SELECT destination FROM grafana_pair WHERE source = ${source:sqlstring} ORDER BY 1",
        )
    )
    dashboard.with_variable(panels.build_profile_variable()).annotation(_build_episode_annotation())
    return panels.add_panels(
        dashboard,
        [
            _build_current_state(),
            _build_share(),
            _build_rtt(),
            _build_timeline(),
            _build_loss(),
            _build_delay_variation(),
            _build_coverage(),
            _build_episodes(),
            _build_limits(),
        ],
    )


def _build_current_state() -> stat.Panel:
    panel = panels.build_stat_panel(
        "${source} → ${destination} now",
        "State of the newest minute with the cause of a bad one, p95 of the newest known minute (none if more than 3 "
        "of 60 probes were lost), and the minimum RTT of light in a straight fibre.",
        (12, 4),
        Query(
            f"""
            SELECT {name_state_now("n.")} AS state, n.p95_us, p.glass_us,
                p.distance_km
            FROM grafana_pair_now n JOIN grafana_pair p ON p.source = n.source AND p.destination = n.destination
            WHERE {_qualify_columns("n", PAIR_FILTER)} AND n.{PROFILE_FILTER}
            """
        ),
    )
    panel.override_by_name("p95_us", [prop("displayName", "p95"), prop("unit", MICROSECONDS), prop("decimals", 2)])
    panel.override_by_name(
        "glass_us", [prop("displayName", "minimum RTT in fibre"), prop("unit", MICROSECONDS), prop("decimals", 2)]
    )
    panel.override_by_name("distance_km", [prop("displayName", "distance"), prop("unit", KM), prop("decimals", 0)])
    return panels.map_states(panel)


def _build_share() -> stat.Panel:
    shares = ", ".join(
        f"{truncate_ratio(name, 3)} AS {name}" for name in ("observed", "pessimistic", "optimistic", "coverage")
    )
    panel = panels.build_stat_panel(
        "Shares over the whole hours of the time range",
        "Share of minutes within the limits. Observed: of known minutes. Pessimistic: unknown minutes count as bad. "
        "Optimistic: unknown minutes count as good, minus the error of the agent host. Coverage: known minutes.",
        (12, 4),
        Query(f"SELECT {shares}, windows AS minutes FROM {SHARE_FUNCTION} WHERE {PAIR_FILTER}"),
    )
    panel.unit(RATIO).decimals(3)
    return panel.override_by_name("minutes", [prop("unit", "none"), prop("decimals", 0)])


def _build_rtt() -> timeseries.Panel:
    panel = panels.build_chart(
        "Round-trip time",
        "Minimum, median of the p50, highest p95 and maximum of each step; the band is p50 to p95. The worst path of "
        "the pair counts. Dashed: limits of the profile. Dotted: minimum RTT in fibre and in vacuum. Limits above "
        f"{_LEVEL_RATIO_MAX} times the highest p95 are only in the table below. Gaps were not measured.",
        (_FULL_WIDTH, 11),
        Query(
            f"""
            SELECT {_TIME_BIN}, min(min_us) AS min, percentile_disc(0.5) WITHIN GROUP (ORDER BY p50_us) AS p50,
                max(p95_us) AS p95, max(max_us) AS max
            FROM grafana_pair_minute WHERE {PAIR_FILTER} AND {_TIME_FILTER} GROUP BY 1 ORDER BY 1
            """,
            series=True,
        ),
        _build_level_query(f"{_select_limit_levels('bounds_rtt')} UNION ALL {_select_propagation_levels()}"),
    )
    panel.unit(MICROSECONDS).decimals(2).interval("1m").axis_label("RTT")
    panel.override_by_name(
        "p95", [colour_prop(BLUE), prop("custom.fillBelowTo", "p50"), prop("custom.fillOpacity", 25)]
    )
    panel.override_by_name("p50", [colour_prop(BLUE), prop("custom.lineWidth", 2)])
    panel.override_by_name("min", [colour_prop(SKY)]).override_by_name("max", [colour_prop(GREY)])
    never = prop("custom.showPoints", VisibilityMode.NEVER)
    panel.override_by_regexp(
        "/limit .*/", [colour_prop(VERMILION), panels.line_style_prop("dash"), prop("custom.spanNulls", True), never]
    )
    return panel.override_by_regexp(
        "/light in .*/", [colour_prop(GREY), panels.line_style_prop("dot"), prop("custom.spanNulls", True), never]
    )


def _build_level_query(levels: str) -> Query:
    """Return a query for horizontal lines over the whole time range, unless they would compress the data.

    The query reads the minutes of the range only if there is a line to draw.
    """
    return Query(
        f"""
        SELECT ends.time, level.metric, level.us::float8 AS value
        FROM (VALUES ($__timeFrom()::timestamptz), ($__timeTo()::timestamptz)) ends (time) CROSS JOIN ({levels}) level
        WHERE coalesce(level.us <= {_LEVEL_RATIO_MAX} * (
            SELECT max(p95_us) FROM grafana_pair_minute WHERE {PAIR_FILTER} AND {_TIME_FILTER}
        ), true)
        ORDER BY 1
        """,
        ref="B",
        series=True,
    )


def _select_limit_levels(bounds_rtt: str) -> str:
    name = "'limit ' || comparison || ' ' || trim_scale(limit_us / 1000.0) || ' ms, ' || limit_id"
    return f"SELECT {name} AS metric, limit_us AS us FROM grafana_limit WHERE {PROFILE_FILTER} AND {bounds_rtt}"


def _select_propagation_levels() -> str:
    media = {"glass": "glass_us", "a vacuum": "vacuum_us"}
    return " UNION ALL ".join(
        f"SELECT 'light in {medium}', {column} FROM grafana_pair WHERE {PAIR_FILTER}"
        for medium, column in media.items()
    )


def _build_timeline() -> statetimeline.Panel:
    panel = panels.configure_panel(
        statetimeline.Panel(),
        "State of every minute, both directions",
        "State of each minute by the profile (worst case): good, bad, unavailable (20 % or more lost) or unknown (not "
        "enough probes sent). A bad minute exceeds a limit by latency (late replies alone), by loss (lost probes "
        "alone) or only by both together. Refreshed every 5 minutes, so the newest minutes appear late.",
        (_FULL_WIDTH, 6),
        _build_state_query("A", PAIR_FILTER, "${source:raw} → ${destination:raw}"),
        _build_state_query("B", REVERSE_PAIR_FILTER, "${destination:raw} → ${source:raw}"),
    )
    panel.mappings(build_timeline_mappings()).merge_values(True).show_value(VisibilityMode.NEVER).row_height(0.8)
    panel.tooltip(Tooltip().mode(TooltipDisplayMode.SINGLE)).legend(panels.build_legend())
    return panel.span_nulls(True)


def _build_state_query(ref: str, pair: str, name: str) -> Query:
    """Return a query for state changes; an hour without counts is unknown."""
    numbers = {name: number for number, name in enumerate(TIMELINE_STYLES)}
    cases = " ".join(f"WHEN '{name}' THEN {number}" for name, number in numbers.items())
    unknown = numbers["unknown"]
    filters = f"{_qualify_columns('h', pair)} AND h.{PROFILE_FILTER}"
    return Query(
        f"""
        SELECT t AS "time", CASE coalesce(cause, state) {cases} END AS "{name}" FROM grafana_state
        WHERE {pair} AND {PROFILE_FILTER} AND hour_t >= $__unixEpochFrom() / 3600 * 3600 AND hour_t < $__unixEpochTo()
        UNION ALL
        SELECT hour.t, {unknown} FROM generate_series(
            $__unixEpochFrom() / 3600 * 3600,
            LEAST($__unixEpochTo(), extract(epoch FROM now())::bigint - 3960) - 1, 3600
        ) AS hour (t)
        WHERE NOT EXISTS (
            SELECT 1 FROM grafana_pair_hour h WHERE {filters} AND h.t = hour.t
        )
        ORDER BY 1
        """,
        ref=ref,
        series=True,
    )


def _qualify_columns(alias: str, condition: str) -> str:
    return " AND ".join(f"{alias}.{term}" for term in condition.split(" AND "))


def _build_loss() -> timeseries.Panel:
    panel = panels.build_chart(
        "Lost and unsent probes",
        "Lost: share of sent probes without a reply in time. Not sent: share of expected probes that a running agent "
        "did not send; the state of the path is unknown then. A gap is a time without data.",
        (12, 8),
        Query(
            f"""
            SELECT {_TIME_BIN}, {truncate_ratio("1 - sum(received)::float8 / nullif(sum(sent), 0)", 2)} AS lost,
                {truncate_ratio("1 - sum(sent)::float8 / nullif(sum(expected), 0)", 2)} AS "not sent"
            FROM grafana_pair_minute WHERE {PAIR_FILTER} AND {_TIME_FILTER} GROUP BY 1 ORDER BY 1
            """,
            series=True,
        ),
    )
    panel.unit(RATIO).interval("1m").axis_soft_max(0.01).decimals(2)
    panel.override_by_name("not sent", [colour_prop(GREY), panels.line_style_prop("dash")])
    return panel.override_by_name("lost", [colour_prop(PURPLE)])


def _build_delay_variation() -> timeseries.Panel:
    panel = panels.build_chart(
        "Delay variation (p95 - min of each minute)",
        "Round-trip delay variation: p95 minus minimum of each minute; median and highest of each step. Dashed: limits "
        "of the profile on delay variation, if it has any.",
        (12, 8),
        Query(
            f"""
            SELECT {_TIME_BIN}, percentile_disc(0.5) WITHIN GROUP (ORDER BY pdv_us) AS median, max(pdv_us) AS highest
            FROM grafana_pair_minute WHERE {PAIR_FILTER} AND {_TIME_FILTER} GROUP BY 1 ORDER BY 1
            """,
            series=True,
        ),
        _build_level_query(_select_limit_levels("NOT bounds_rtt")),
    )
    panel.unit(MICROSECONDS).decimals(2).interval("1m")
    panel.override_by_name("median", [colour_prop(BLUE), prop("custom.lineWidth", 2)]).override_by_name(
        "highest", [colour_prop(GREY)]
    )
    return panel.override_by_regexp(
        "/limit .*/", [colour_prop(VERMILION), panels.line_style_prop("dash"), prop("custom.spanNulls", True)]
    )


def _build_coverage() -> timeseries.Panel:
    counts = {
        "good": "good",
        "latency": "bad_latency",
        "loss": "bad_loss",
        "both": "bad - bad_latency - bad_loss",
        "outage": "unavailable",
        "unknown": "unknown",
    }
    columns = ", ".join(f"sum({count})::float8 / sum(due) AS {name}" for name, count in counts.items())
    panel = panels.build_chart(
        "Minutes by state and cause",
        "Share of good, bad, unavailable and unknown minutes in each step, bad ones by cause: late replies alone, lost "
        "probes alone, or only both together. All but grey is coverage. Steps are at "
        "least one hour. A step without a bar has no data.",
        (_FULL_WIDTH, 8),
        Query(
            f"""
            SELECT {_TIME_BIN}, {columns} FROM grafana_pair_hour
            WHERE {PAIR_FILTER} AND {PROFILE_FILTER} AND {_TIME_FILTER} AND due > 0 GROUP BY 1 ORDER BY 1
            """,
            series=True,
        ),
    )
    panel.unit(RATIO).decimals(3).max(1).interval("1h")
    for name, (text, colour) in TIMELINE_STYLES.items():
        panel.override_by_name(name, [colour_prop(colour), prop("displayName", text)])
    return panels.stack_bars(panel.draw_style(GraphDrawStyle.BARS))


def _select_episodes(columns: str) -> str:
    return f"""
        SELECT {columns} FROM grafana_episode
        WHERE {PAIR_FILTER} AND {PROFILE_FILTER} AND until_t > $__unixEpochFrom() AND t < $__unixEpochTo()
        ORDER BY t DESC LIMIT 500
        """


def _build_episode_annotation() -> build.AnnotationQuery:
    columns = (
        "time, time_end AS timeend, windows || ' min beyond the limits: ' || bad_latency || ' by latency, ' "
        "|| bad_loss || ' by loss, ' || bad_both || ' by both, ' || unavailable || ' unavailable' AS text, "
        "'episode' AS tags"
    )
    annotation = (
        build.AnnotationQuery().name("Episodes beyond the limits").datasource(build_datasource_ref()).enable(True)
    )
    return annotation.icon_color(VERMILION).target(Query(_select_episodes(columns), ref="Anno"))


def _build_episodes() -> table.Panel:
    panel = panels.configure_panel(
        table.Panel(),
        "Episodes beyond the limits",
        "Runs of bad or unavailable minutes, newest first, with the number of minutes by cause. Runs at most two "
        "minutes apart are one episode.",
        (12, 9),
        Query(
            _select_episodes(f"time, time_end, windows, bad_latency, bad_loss, bad_both, unavailable, {name_data()}")
        ),
    )
    panel.override_by_name("time", [prop("displayName", "from (UTC)")])
    panel.override_by_name("time_end", [prop("displayName", "to (UTC)")])
    panel.override_by_name("windows", [prop("displayName", "minutes"), prop("unit", "none")])
    for cause in CAUSE_STYLES:
        panel.override_by_name(f"bad_{cause}", [prop("displayName", cause), prop("unit", "none")])
    return panel.override_by_name("unavailable", [prop("displayName", "unavailable"), prop("unit", "none")])


def _build_limits() -> table.Panel:
    panel = panels.configure_panel(
        table.Panel(),
        "Limits of the profile",
        "Published limits that each minute must meet, all of them. Click an id to open its source. Reservations: "
        "superseded, not read in a source of the vendor, or not a requirement.",
        (12, 9),
        Query(
            f"""
            SELECT vendor, product, limit_us, rule, reservations, limit_id, source_url FROM grafana_limit
            WHERE {PROFILE_FILTER} ORDER BY place
            """
        ),
    )
    panel.override_by_name("limit_us", [prop("displayName", "limit"), prop("unit", MICROSECONDS)])
    panel.override_by_name("source_url", [prop("custom.hidden", True)])
    source = DashboardLink(
        title="Open the source",
        type_val=DashboardLinkType.LINK,
        url="${__data.fields.source_url}",
        target_blank=True,
    )
    return panel.override_by_name("limit_id", [prop("displayName", "source"), prop("links", [source])])
