"""Panels, variables and links as all three dashboards have them. No panel without a description."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.common import LineStyle, ReduceDataOptions, StackingConfig, VizLegendOptions
from grafana_foundation_sdk.builders.common import VizTooltipOptions as Tooltip
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    LineInterpolation,
    StackingMode,
    TableCellBackgroundDisplayMode,
    TableColoredBackgroundCellOptions,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataTransformerConfig,
    DynamicConfigValue,
    Panel,
    VariableRefresh,
    VariableSort,
)

from leadline_dashboards.generate.queries import Query, build_datasource_ref
from leadline_dashboards.generate.style import build_state_mappings

OVERVIEW_UID, PAIR_UID, FLEET_UID = "leadline-overview", "leadline-pair", "leadline-fleet"
DASHBOARD_WIDTH = 24

_PanelT = TypeVar("_PanelT", table.Panel, stat.Panel, timeseries.Panel, statetimeline.Panel)


def configure_panel(panel: _PanelT, title: str, description: str, size: tuple[int, int], *queries: Query) -> _PanelT:
    """What every panel has: a title, a description, (width, height), and queries."""
    panel.title(title).description(description).datasource(build_datasource_ref()).span(size[0]).height(size[1])
    for query in queries:
        panel.with_target(query)
    return panel


def build_dashboard(uid: str, title: str, description: str, since: str) -> build.Dashboard:
    """An empty dashboard over the time from ``since`` to now, in UTC."""
    made = (
        build.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["leadline"])
        .timezone("utc")
        .time(since, "now")
        .refresh("1m")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            build.DashboardLink("leadline")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["leadline"])
            .include_vars(True)
            .keep_time(True)
        )
    )
    return made.readonly()


def build_variable(name: str, label: str, description: str, sql: str, *, multiple: bool = False) -> build.QueryVariable:
    """A choice out of what a query says; ``several`` may be chosen at once, and all are at first."""
    query = Query(sql, ref=f"variable-{name}")
    made = (
        build.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(build_datasource_ref())
        .query(query.sql)
        .definition(query.sql)
        .refresh(VariableRefresh.ON_DASHBOARD_LOAD)
        .sort(VariableSort.DISABLED)
        .allow_custom_value(False)
    )
    return made.multi(True).include_all(True) if multiple else made


def build_profile_variable() -> build.QueryVariable:
    """The profiles that windows are counted by."""
    return build_variable(
        "profile",
        "Profile",
        "The published limits that windows are judged by. Only profiles the mesh gives to some pair are counted.",
        "SELECT title AS __text, profile AS __value FROM grafana_profile ORDER BY 1",
    )


def build_pair_link(source: str, destination: str) -> build.DashboardLink:
    """To the dashboard of a pair, with the profile and the time range as they are."""
    url = (
        f"/d/{PAIR_UID}?var-source={source}&var-destination={destination}&${{profile:queryparam}}&${{__url_time_range}}"
    )
    return build.DashboardLink("Show this pair").url(url).type(DashboardLinkType.LINK)


ROW_LINK_FIELDS = ("${__data.fields.source}", "${__data.fields.destination}")
#: In a matrix the row is the first field and the column is the name of the field.
CELL_LINK_FIELDS = ("${__data.fields[0]}", "${__field.name}")


def build_matrix(title: str, description: str, query: Query, value: str) -> table.Panel:
    """Sites by sites: rows are sources, columns destinations, a cell leads to its pair."""
    made = configure_panel(table.Panel(), title, description, (12, 12), query)
    options = {"columnField": "destination", "rowField": "source", "valueField": value, "emptyValue": "empty"}
    made.with_transformation(DataTransformerConfig(id_val="groupingToMatrix", options=options))
    made.cell_options(TableColoredBackgroundCellOptions(mode=TableCellBackgroundDisplayMode.BASIC))
    made.data_links([build_pair_link(*CELL_LINK_FIELDS)]).no_value("")
    # The first column has the sources' names: no colour and no link.
    made.override_by_name(
        "source\\destination",
        [
            DynamicConfigValue(id_val="displayName", value="from \\ to"),
            DynamicConfigValue(id_val="custom.cellOptions", value={"type": "auto"}),
            DynamicConfigValue(id_val="links", value=[]),
        ],
    )
    return made


def map_states(panel: _PanelT) -> _PanelT:
    """With states as words, shapes and colours."""
    panel.mappings(build_state_mappings())
    return panel


def build_stat_panel(title: str, description: str, size: tuple[int, int], query: Query) -> stat.Panel:
    """The columns of one row, as large numbers."""
    made = configure_panel(stat.Panel(), title, description, size, query)
    made.reduce_options(ReduceDataOptions().values(False).calcs(["lastNotNull"]).fields("/.*/"))
    made.graph_mode(BigValueGraphMode.NONE).color_mode(BigValueColorMode.VALUE)
    return made.text_mode(BigValueTextMode.VALUE_AND_NAME).no_value("none")


def build_chart(title: str, description: str, size: tuple[int, int], *queries: Query) -> timeseries.Panel:
    """Lines as they were measured: from zero, not smoothed, and interrupted where nothing is known."""
    made = configure_panel(timeseries.Panel(), title, description, size, *queries)
    made.min(0).line_interpolation(LineInterpolation.LINEAR).line_width(1).fill_opacity(0)
    made.show_points(VisibilityMode.AUTO).span_nulls(False)
    made.tooltip(Tooltip().mode(TooltipDisplayMode.MULTI))
    return made.legend(build_legend())


def build_legend(*calcs: str) -> VizLegendOptions:
    """Below the chart; with figures it is a table."""
    made = VizLegendOptions().show_legend(True).placement(LegendPlacement.BOTTOM)
    return made.display_mode(LegendDisplayMode.TABLE if calcs else LegendDisplayMode.LIST).calcs(list(calcs))


def stack_bars(panel: timeseries.Panel) -> timeseries.Panel:
    """Parts of a whole over time."""
    panel.draw_style(GraphDrawStyle.BARS).stacking(StackingConfig().mode(StackingMode.NORMAL).group("A"))
    return panel.fill_opacity(90).line_width(0).show_points(VisibilityMode.NEVER)


def line_style_prop(fill: str) -> DynamicConfigValue:
    """The property that draws a line dashed or dotted."""
    style = LineStyle().fill("dash" if fill == "dash" else "dot").dash([8, 6] if fill == "dash" else [2, 4]).build()
    return DynamicConfigValue(id_val="custom.lineStyle", value=style)


def add_panels(dashboard: build.Dashboard, panels: Sequence[Builder[Panel]]) -> build.Dashboard:
    """The panels in order, numbered from 1."""
    for number, one in enumerate(panels, 1):
        one.build().id_val = number
        dashboard.with_panel(one)
    return dashboard
