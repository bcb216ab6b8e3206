"""A pair: round trip, states, loss, variation and episodes over the chosen time, and what limits it."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.common import VizTooltipOptions as Tooltip
from grafana_foundation_sdk.models.common import GraphDrawStyle, TooltipDisplayMode, VisibilityMode
from grafana_foundation_sdk.models.dashboard import DashboardLink, DashboardLinkType

from leadline_dashboards.generate import panels
from leadline_dashboards.generate.queries import OF_BACK, OF_PAIR, OF_PROFILE, SHARE, Query, datasource
from leadline_dashboards.generate.style import (
    BLUE,
    GREY,
    KM,
    MICROSECONDS,
    PURPLE,
    RATIO,
    SIMULATED,
    SKY,
    STATES,
    VERMILION,
    fixed,
    prop,
    severity_mappings,
)

_WIDE = panels.WIDTH
_BIN = "$__unixEpochGroupAlias(t, $__interval, NULL)"
_IN_RANGE = "t >= $__unixEpochFrom() AND t < $__unixEpochTo()"
#: A limit or floor further off than this many times the highest p95 would squeeze the data; the table names it.
_DRAWN_UP_TO = 4


def pair() -> build.Dashboard:
    """The dashboard."""
    made = panels.dashboard(
        panels.PAIR_UID,
        "leadline pair",
        "One directed pair of sites: what was measured, by which limits it is judged, and what came of it.",
        "now-24h",
    )
    made.with_variable(
        panels.variable(
            "source", "From", "The site that measures.", "SELECT DISTINCT source FROM grafana_pair ORDER BY 1"
        )
    )
    made.with_variable(
        panels.variable(
            "destination",
            "To",
            "The site that is measured.",
            "SELECT destination FROM grafana_pair WHERE source = ${source:sqlstring} ORDER BY 1",
        )
    )
    made.with_variable(panels.profile_variable()).annotation(_episode_marks())
    return panels.placed(
        made, [_now(), _share(), _rtt(), _timeline(), _loss(), _variation(), _coverage(), _episodes(), _limits()]
    )


def _now() -> stat.Panel:
    made = panels.figures(
        "${source} → ${destination} now",
        "The state of the newest minute, the p95 of the newest minute that is known (none if more than 3 of 60 probes "
        "were lost), and how long light takes there and back in a straight glass fibre: no route can be faster.",
        (12, 4),
        Query(
            f"""
            SELECT n.state_now || CASE WHEN n.simulated THEN '{SIMULATED}' ELSE '' END AS state, n.p95_us, p.glass_us,
                p.distance_km
            FROM grafana_pair_now n JOIN grafana_pair p ON p.source = n.source AND p.destination = n.destination
            WHERE {_of("n", OF_PAIR)} AND n.{OF_PROFILE}
            """
        ),
    )
    made.override_by_name("p95_us", [prop("displayName", "p95"), prop("unit", MICROSECONDS), prop("decimals", 2)])
    made.override_by_name(
        "glass_us", [prop("displayName", "light in glass"), prop("unit", MICROSECONDS), prop("decimals", 2)]
    )
    made.override_by_name("distance_km", [prop("displayName", "distance"), prop("unit", KM), prop("decimals", 0)])
    return panels.states(made)


def _share() -> stat.Panel:
    made = panels.figures(
        "Over the whole hours of the time range",
        "Share of minutes within the limits: observed, of those known; pessimistic, with unknown ones as bad; "
        "optimistic, with unknown ones as good and the agent's own delay taken off. Coverage is known over all.",
        (12, 4),
        Query(f"SELECT observed, pessimistic, optimistic, coverage, windows AS minutes FROM {SHARE} WHERE {OF_PAIR}"),
    )
    made.unit(RATIO).decimals(3)
    return made.override_by_name("minutes", [prop("unit", "none"), prop("decimals", 0)])


def _rtt() -> timeseries.Panel:
    made = panels.chart(
        "Round trip",
        "Minimum, median of the minutes' p50, highest p95 and maximum of each step; the band is from p50 to p95. Of "
        "several paths the worst counts. Dashed: limits of the profile; dotted: light in glass and in a vacuum. One "
        f"more than {_DRAWN_UP_TO} times the highest p95 is only in the table below. Gaps were not measured.",
        (_WIDE, 11),
        Query(
            f"""
            SELECT {_BIN}, min(min_us) AS min, percentile_disc(0.5) WITHIN GROUP (ORDER BY p50_us) AS p50,
                max(p95_us) AS p95, max(max_us) AS max
            FROM grafana_pair_minute WHERE {OF_PAIR} AND {_IN_RANGE} GROUP BY 1 ORDER BY 1
            """,
            series=True,
        ),
        _lines(f"{_limits_as_levels('bounds_rtt')} UNION ALL {_light_as_levels()}"),
    )
    made.unit(MICROSECONDS).decimals(2).interval("1m").axis_label("round trip")
    made.override_by_name("p95", [fixed(BLUE), prop("custom.fillBelowTo", "p50"), prop("custom.fillOpacity", 25)])
    made.override_by_name("p50", [fixed(BLUE), prop("custom.lineWidth", 2)])
    made.override_by_name("min", [fixed(SKY)]).override_by_name("max", [fixed(GREY)])
    never = prop("custom.showPoints", VisibilityMode.NEVER)
    made.override_by_regexp(
        "/limit .*/", [fixed(VERMILION), panels.line("dash"), prop("custom.spanNulls", True), never]
    )
    return made.override_by_regexp(
        "/light in .*/", [fixed(GREY), panels.line("dot"), prop("custom.spanNulls", True), never]
    )


def _lines(levels: str) -> Query:
    """Level lines from end to end of the range, unless they would squeeze what was measured.

    That is asked only if there is a level at all: it reads every minute of the range.
    """
    return Query(
        f"""
        SELECT ends.time, level.metric, level.us::float8 AS value
        FROM (VALUES ($__timeFrom()::timestamptz), ($__timeTo()::timestamptz)) ends (time) CROSS JOIN ({levels}) level
        WHERE coalesce(level.us <= {_DRAWN_UP_TO} * (
            SELECT max(p95_us) FROM grafana_pair_minute WHERE {OF_PAIR} AND {_IN_RANGE}
        ), true)
        ORDER BY 1
        """,
        ref="B",
        series=True,
    )


def _limits_as_levels(bounds_rtt: str) -> str:
    name = "'limit ' || comparison || ' ' || trim_scale(limit_us / 1000.0) || ' ms, ' || limit_id"
    return f"SELECT {name} AS metric, limit_us AS us FROM grafana_limit WHERE {OF_PROFILE} AND {bounds_rtt}"


def _light_as_levels() -> str:
    media = {"glass": "glass_us", "a vacuum": "vacuum_us"}
    return " UNION ALL ".join(
        f"SELECT 'light in {medium}', {column} FROM grafana_pair WHERE {OF_PAIR}" for medium, column in media.items()
    )


def _timeline() -> statetimeline.Panel:
    made = panels.panel(
        statetimeline.Panel(),
        "State of every minute, both directions",
        "Each minute judged by the profile in the reading least favourable to the path: good, bad, unavailable (20 % "
        "or more lost) or unknown (too little measured). Counted every 5 minutes, so the newest minutes come late.",
        (_WIDE, 6),
        _states("A", OF_PAIR, "${source:raw} → ${destination:raw}"),
        _states("B", OF_BACK, "${destination:raw} → ${source:raw}"),
    )
    made.mappings(severity_mappings()).merge_values(True).show_value(VisibilityMode.NEVER).row_height(0.8)
    made.tooltip(Tooltip().mode(TooltipDisplayMode.SINGLE)).legend(panels.legend())
    return made.span_nulls(True)


def _states(ref: str, pair: str, name: str) -> Query:
    """Changes of the state; an hour of which nobody counted anything is unknown."""
    unknown = list(STATES).index("unknown")
    return Query(
        f"""
        SELECT t AS "time", severity AS "{name}" FROM grafana_state
        WHERE {pair} AND {OF_PROFILE} AND hour_t >= $__unixEpochFrom() / 3600 * 3600 AND hour_t < $__unixEpochTo()
        UNION ALL
        SELECT hour.t, {unknown} FROM generate_series(
            $__unixEpochFrom() / 3600 * 3600,
            LEAST($__unixEpochTo(), extract(epoch FROM now())::bigint - 3960) - 1, 3600
        ) AS hour (t)
        WHERE NOT EXISTS (
            SELECT 1 FROM grafana_pair_hour h WHERE {_of("h", pair)} AND h.{OF_PROFILE} AND h.t = hour.t
        )
        ORDER BY 1
        """,
        ref=ref,
        series=True,
    )


def _of(alias: str, condition: str) -> str:
    return " AND ".join(f"{alias}.{one}" for one in condition.split(" AND "))


def _loss() -> timeseries.Panel:
    made = panels.chart(
        "Lost, and not sent",
        "Lost: probes that were sent and had no reply in time, over those sent. Not sent: those the agent did not send "
        "though it ran, over those expected; nothing is known of the path then. A gap is a time without any minute.",
        (12, 8),
        Query(
            f"""
            SELECT {_BIN}, 1 - sum(received)::float8 / nullif(sum(sent), 0) AS lost,
                1 - sum(sent)::float8 / nullif(sum(expected), 0) AS "not sent"
            FROM grafana_pair_minute WHERE {OF_PAIR} AND {_IN_RANGE} GROUP BY 1 ORDER BY 1
            """,
            series=True,
        ),
    )
    made.unit(RATIO).interval("1m").axis_soft_max(0.01).decimals(2)
    made.override_by_name("not sent", [fixed(GREY), panels.line("dash")])
    return made.override_by_name("lost", [fixed(PURPLE)])


def _variation() -> timeseries.Panel:
    made = panels.chart(
        "Variation of the round trip (p95 − min of a minute)",  # noqa: RUF001
        "Round-trip delay variation: of each minute p95 less minimum, both directions together; the median and the "
        "highest of each step. Dashed: limits of the profile on variation, if it has any.",
        (12, 8),
        Query(
            f"""
            SELECT {_BIN}, percentile_disc(0.5) WITHIN GROUP (ORDER BY pdv_us) AS median, max(pdv_us) AS highest
            FROM grafana_pair_minute WHERE {OF_PAIR} AND {_IN_RANGE} GROUP BY 1 ORDER BY 1
            """,
            series=True,
        ),
        _lines(_limits_as_levels("NOT bounds_rtt")),
    )
    made.unit(MICROSECONDS).decimals(2).interval("1m")
    made.override_by_name("median", [fixed(BLUE), prop("custom.lineWidth", 2)]).override_by_name(
        "highest", [fixed(GREY)]
    )
    return made.override_by_regexp(
        "/limit .*/", [fixed(VERMILION), panels.line("dash"), prop("custom.spanNulls", True)]
    )


def _coverage() -> timeseries.Panel:
    columns = ", ".join(f"sum({state})::float8 / sum(due) AS {state}" for state in STATES)
    made = panels.chart(
        "Minutes by state, and coverage",
        "Of the minutes of each step the share that was good, bad, unavailable or unknown: what is not grey is known. "
        "Steps are whole hours at least; one without a bar has nothing at all.",
        (_WIDE, 8),
        Query(
            f"""
            SELECT {_BIN}, {columns} FROM grafana_pair_hour
            WHERE {OF_PAIR} AND {OF_PROFILE} AND {_IN_RANGE} AND due > 0 GROUP BY 1 ORDER BY 1
            """,
            series=True,
        ),
    )
    made.unit(RATIO).decimals(1).max(1).interval("1h")
    for state, (shape, colour) in STATES.items():
        made.override_by_name(state, [fixed(colour), prop("displayName", f"{shape} {state}")])
    return panels.stacked_bars(made.draw_style(GraphDrawStyle.BARS))


def _episode_sql(columns: str) -> str:
    return f"""
        SELECT {columns} FROM grafana_episode
        WHERE {OF_PAIR} AND {OF_PROFILE} AND until_t > $__unixEpochFrom() AND t < $__unixEpochTo()
        ORDER BY t DESC LIMIT 500
        """


def _episode_marks() -> build.AnnotationQuery:
    columns = (
        "time, time_end AS timeend, windows || ' min beyond the limits, ' || unavailable || ' of them unavailable' "
        "AS text, 'episode' AS tags"
    )
    made = build.AnnotationQuery().name("Episodes beyond the limits").datasource(datasource()).enable(True)
    return made.icon_color(VERMILION).target(Query(_episode_sql(columns), ref="Anno"))


def _episodes() -> table.Panel:
    made = panels.panel(
        table.Panel(),
        "Episodes beyond the limits",
        "Runs of bad or unavailable minutes; two that are at most two minutes apart are one. The newest first.",
        (12, 9),
        Query(_episode_sql("time, time_end, windows, unavailable, simulated")),
    )
    made.override_by_name("time", [prop("displayName", "from (UTC)")])
    made.override_by_name("time_end", [prop("displayName", "to (UTC)")])
    made.override_by_name("windows", [prop("displayName", "minutes"), prop("unit", "none")])
    return made.override_by_name("unavailable", [prop("displayName", "unavailable"), prop("unit", "none")])


def _limits() -> table.Panel:
    made = panels.panel(
        table.Panel(),
        "Limits of the profile",
        "What each minute is held against, as the vendor publishes it. All must hold. Click an id for its source.",
        (12, 9),
        Query(
            f"""
            SELECT vendor, product, limit_us, rule, limit_id, source_url FROM grafana_limit
            WHERE {OF_PROFILE} ORDER BY place
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
