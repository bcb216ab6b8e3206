"""A pair: round trip, states, loss, variation and episodes over the chosen time, and what limits it."""

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
)
from leadline_dashboards.generate.style import (
    BLUE,
    GREY,
    KM,
    MICROSECONDS,
    PURPLE,
    RATIO,
    SIMULATED_SUFFIX,
    SKY,
    STATE_STYLES,
    VERMILION,
    build_severity_mappings,
    colour_prop,
    prop,
)

_FULL_WIDTH = panels.DASHBOARD_WIDTH
_TIME_BIN = "$__unixEpochGroupAlias(t, $__interval, NULL)"
_TIME_FILTER = "t >= $__unixEpochFrom() AND t < $__unixEpochTo()"
#: A limit or floor further off than this many times the highest p95 would squeeze the data; the table names it.
_LEVEL_RATIO_MAX = 4


def build_pair() -> build.Dashboard:
    """The dashboard."""
    made = panels.build_dashboard(
        panels.PAIR_UID,
        "leadline pair",
        "One directed pair of sites: what was measured, by which limits it is judged, and what came of it.",
        "now-24h",
    )
    made.with_variable(
        panels.build_variable(
            "source", "From", "The site that measures.", "SELECT DISTINCT source FROM grafana_pair ORDER BY 1"
        )
    )
    made.with_variable(
        panels.build_variable(
            "destination",
            "To",
            "The site that is measured.",
            "SELECT destination FROM grafana_pair WHERE source = ${source:sqlstring} ORDER BY 1",
        )
    )
    made.with_variable(panels.build_profile_variable()).annotation(_build_episode_annotation())
    return panels.add_panels(
        made,
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
    made = panels.build_stat_panel(
        "${source} → ${destination} now",
        "The state of the newest minute, the p95 of the newest minute that is known (none if more than 3 of 60 probes "
        "were lost), and how long light takes there and back in a straight glass fibre: no route can be faster.",
        (12, 4),
        Query(
            f"""
            SELECT n.state_now || CASE WHEN n.simulated THEN '{SIMULATED_SUFFIX}' ELSE '' END AS state, n.p95_us, p.glass_us,
                p.distance_km
            FROM grafana_pair_now n JOIN grafana_pair p ON p.source = n.source AND p.destination = n.destination
            WHERE {_qualify_columns("n", PAIR_FILTER)} AND n.{PROFILE_FILTER}
            """
        ),
    )
    made.override_by_name("p95_us", [prop("displayName", "p95"), prop("unit", MICROSECONDS), prop("decimals", 2)])
    made.override_by_name(
        "glass_us", [prop("displayName", "light in glass"), prop("unit", MICROSECONDS), prop("decimals", 2)]
    )
    made.override_by_name("distance_km", [prop("displayName", "distance"), prop("unit", KM), prop("decimals", 0)])
    return panels.map_states(made)


def _build_share() -> stat.Panel:
    made = panels.build_stat_panel(
        "Over the whole hours of the time range",
        "Share of minutes within the limits: observed, of those known; pessimistic, with unknown ones as bad; "
        "optimistic, with unknown ones as good and the agent's own delay taken off. Coverage is known over all.",
        (12, 4),
        Query(
            f"SELECT observed, pessimistic, optimistic, coverage, windows AS minutes FROM {SHARE_FUNCTION} WHERE {PAIR_FILTER}"
        ),
    )
    made.unit(RATIO).decimals(3)
    return made.override_by_name("minutes", [prop("unit", "none"), prop("decimals", 0)])


def _build_rtt() -> timeseries.Panel:
    made = panels.build_chart(
        "Round trip",
        "Minimum, median of the minutes' p50, highest p95 and maximum of each step; the band is from p50 to p95. Of "
        "several paths the worst counts. Dashed: limits of the profile; dotted: light in glass and in a vacuum. One "
        f"more than {_LEVEL_RATIO_MAX} times the highest p95 is only in the table below. Gaps were not measured.",
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
    made.unit(MICROSECONDS).decimals(2).interval("1m").axis_label("round trip")
    made.override_by_name("p95", [colour_prop(BLUE), prop("custom.fillBelowTo", "p50"), prop("custom.fillOpacity", 25)])
    made.override_by_name("p50", [colour_prop(BLUE), prop("custom.lineWidth", 2)])
    made.override_by_name("min", [colour_prop(SKY)]).override_by_name("max", [colour_prop(GREY)])
    never = prop("custom.showPoints", VisibilityMode.NEVER)
    made.override_by_regexp(
        "/limit .*/", [colour_prop(VERMILION), panels.line_style_prop("dash"), prop("custom.spanNulls", True), never]
    )
    return made.override_by_regexp(
        "/light in .*/", [colour_prop(GREY), panels.line_style_prop("dot"), prop("custom.spanNulls", True), never]
    )


def _build_level_query(levels: str) -> Query:
    """Level lines from end to end of the range, unless they would squeeze what was measured.

    That is asked only if there is a level at all: it reads every minute of the range.
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
    made = panels.configure_panel(
        statetimeline.Panel(),
        "State of every minute, both directions",
        "Each minute judged by the profile in the reading least favourable to the path: good, bad, unavailable (20 % "
        "or more lost) or unknown (too little measured). Counted every 5 minutes, so the newest minutes come late.",
        (_FULL_WIDTH, 6),
        _build_state_query("A", PAIR_FILTER, "${source:raw} → ${destination:raw}"),
        _build_state_query("B", REVERSE_PAIR_FILTER, "${destination:raw} → ${source:raw}"),
    )
    made.mappings(build_severity_mappings()).merge_values(True).show_value(VisibilityMode.NEVER).row_height(0.8)
    made.tooltip(Tooltip().mode(TooltipDisplayMode.SINGLE)).legend(panels.build_legend())
    return made.span_nulls(True)


def _build_state_query(ref: str, pair: str, name: str) -> Query:
    """Changes of the state; an hour of which nobody counted anything is unknown."""
    unknown = list(STATE_STYLES).index("unknown")
    return Query(
        f"""
        SELECT t AS "time", severity AS "{name}" FROM grafana_state
        WHERE {pair} AND {PROFILE_FILTER} AND hour_t >= $__unixEpochFrom() / 3600 * 3600 AND hour_t < $__unixEpochTo()
        UNION ALL
        SELECT hour.t, {unknown} FROM generate_series(
            $__unixEpochFrom() / 3600 * 3600,
            LEAST($__unixEpochTo(), extract(epoch FROM now())::bigint - 3960) - 1, 3600
        ) AS hour (t)
        WHERE NOT EXISTS (
            SELECT 1 FROM grafana_pair_hour h WHERE {_qualify_columns("h", pair)} AND h.{PROFILE_FILTER} AND h.t = hour.t
        )
        ORDER BY 1
        """,
        ref=ref,
        series=True,
    )


def _qualify_columns(alias: str, condition: str) -> str:
    return " AND ".join(f"{alias}.{one}" for one in condition.split(" AND "))


def _build_loss() -> timeseries.Panel:
    made = panels.build_chart(
        "Lost, and not sent",
        "Lost: probes that were sent and had no reply in time, over those sent. Not sent: those the agent did not send "
        "though it ran, over those expected; nothing is known of the path then. A gap is a time without any minute.",
        (12, 8),
        Query(
            f"""
            SELECT {_TIME_BIN}, 1 - sum(received)::float8 / nullif(sum(sent), 0) AS lost,
                1 - sum(sent)::float8 / nullif(sum(expected), 0) AS "not sent"
            FROM grafana_pair_minute WHERE {PAIR_FILTER} AND {_TIME_FILTER} GROUP BY 1 ORDER BY 1
            """,
            series=True,
        ),
    )
    made.unit(RATIO).interval("1m").axis_soft_max(0.01).decimals(2)
    made.override_by_name("not sent", [colour_prop(GREY), panels.line_style_prop("dash")])
    return made.override_by_name("lost", [colour_prop(PURPLE)])


def _build_delay_variation() -> timeseries.Panel:
    made = panels.build_chart(
        "Variation of the round trip (p95 − min of a minute)",
        "Round-trip delay variation: of each minute p95 less minimum, both directions together; the median and the "
        "highest of each step. Dashed: limits of the profile on variation, if it has any.",
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
    made.unit(MICROSECONDS).decimals(2).interval("1m")
    made.override_by_name("median", [colour_prop(BLUE), prop("custom.lineWidth", 2)]).override_by_name(
        "highest", [colour_prop(GREY)]
    )
    return made.override_by_regexp(
        "/limit .*/", [colour_prop(VERMILION), panels.line_style_prop("dash"), prop("custom.spanNulls", True)]
    )


def _build_coverage() -> timeseries.Panel:
    columns = ", ".join(f"sum({state})::float8 / sum(due) AS {state}" for state in STATE_STYLES)
    made = panels.build_chart(
        "Minutes by state, and coverage",
        "Of the minutes of each step the share that was good, bad, unavailable or unknown: what is not grey is known. "
        "Steps are whole hours at least; one without a bar has nothing at all.",
        (_FULL_WIDTH, 8),
        Query(
            f"""
            SELECT {_TIME_BIN}, {columns} FROM grafana_pair_hour
            WHERE {PAIR_FILTER} AND {PROFILE_FILTER} AND {_TIME_FILTER} AND due > 0 GROUP BY 1 ORDER BY 1
            """,
            series=True,
        ),
    )
    made.unit(RATIO).decimals(1).max(1).interval("1h")
    for state, (shape, colour) in STATE_STYLES.items():
        made.override_by_name(state, [colour_prop(colour), prop("displayName", f"{shape} {state}")])
    return panels.stack_bars(made.draw_style(GraphDrawStyle.BARS))


def _select_episodes(columns: str) -> str:
    return f"""
        SELECT {columns} FROM grafana_episode
        WHERE {PAIR_FILTER} AND {PROFILE_FILTER} AND until_t > $__unixEpochFrom() AND t < $__unixEpochTo()
        ORDER BY t DESC LIMIT 500
        """


def _build_episode_annotation() -> build.AnnotationQuery:
    columns = (
        "time, time_end AS timeend, windows || ' min beyond the limits, ' || unavailable || ' of them unavailable' "
        "AS text, 'episode' AS tags"
    )
    made = build.AnnotationQuery().name("Episodes beyond the limits").datasource(build_datasource_ref()).enable(True)
    return made.icon_color(VERMILION).target(Query(_select_episodes(columns), ref="Anno"))


def _build_episodes() -> table.Panel:
    made = panels.configure_panel(
        table.Panel(),
        "Episodes beyond the limits",
        "Runs of bad or unavailable minutes; two that are at most two minutes apart are one. The newest first.",
        (12, 9),
        Query(_select_episodes("time, time_end, windows, unavailable, simulated")),
    )
    made.override_by_name("time", [prop("displayName", "from (UTC)")])
    made.override_by_name("time_end", [prop("displayName", "to (UTC)")])
    made.override_by_name("windows", [prop("displayName", "minutes"), prop("unit", "none")])
    return made.override_by_name("unavailable", [prop("displayName", "unavailable"), prop("unit", "none")])


def _build_limits() -> table.Panel:
    made = panels.configure_panel(
        table.Panel(),
        "Limits of the profile",
        "What each minute is held against, as the vendor publishes it. All must hold. Click an id for its source.",
        (12, 9),
        Query(
            f"""
            SELECT vendor, product, limit_us, rule, limit_id, source_url FROM grafana_limit
            WHERE {PROFILE_FILTER} ORDER BY place
            """
        ),
    )
    made.override_by_name("limit_us", [prop("displayName", "limit"), prop("unit", MICROSECONDS)])
    made.override_by_name("source_url", [prop("custom.hidden", True)])
    source = DashboardLink(
        title="Where it is published",
        type_val=DashboardLinkType.LINK,
        url="${__data.fields.source_url}",
        target_blank=True,
    )
    return made.override_by_name("limit_id", [prop("displayName", "source"), prop("links", [source])])
