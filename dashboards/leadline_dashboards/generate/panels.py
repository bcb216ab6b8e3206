"""Panels, variables and links shared by the three dashboards. Every panel has a description."""

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
    """Set the common properties of a panel; ``size`` is (width, height)."""
    panel.title(title).description(description).datasource(build_datasource_ref()).span(size[0]).height(size[1])
    for query in queries:
        panel.with_target(query)
    return panel


def build_dashboard(uid: str, title: str, description: str, since: str) -> build.Dashboard:
    """Create an empty dashboard from ``since`` to now, in UTC."""
    dashboard = (
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
    return dashboard.readonly()


def build_variable(name: str, label: str, description: str, sql: str, *, multiple: bool = False) -> build.QueryVariable:
    """Create a variable with the values of a query; ``multiple`` allows several, by default all."""
    query = Query(sql, ref=f"variable-{name}")
    variable = (
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
    return variable.multi(True).include_all(True) if multiple else variable


def build_profile_variable() -> build.QueryVariable:
    """Create the variable for the profile."""
    return build_variable(
        "profile",
        "Profile",
        "Published limits to evaluate against. Only profiles that the mesh assigns to a pair are available.",
        "SELECT title AS __text, profile AS __value FROM grafana_profile ORDER BY 1",
    )


def build_pair_link(source: str, destination: str) -> build.DashboardLink:
    """Create a link to the dashboard of a pair with the same profile and time range."""
    url = (
        f"/d/{PAIR_UID}?var-source={source}&var-destination={destination}&${{profile:queryparam}}&${{__url_time_range}}"
    )
    return build.DashboardLink("Show this pair").url(url).type(DashboardLinkType.LINK)


ROW_LINK_FIELDS = ("${__data.fields.source}", "${__data.fields.destination}")
#: In a matrix, the first field is the row and the name of the field is the column.
CELL_LINK_FIELDS = ("${__data.fields[0]}", "${__field.name}")


def build_matrix(title: str, description: str, query: Query, value: str) -> table.Panel:
    """Create a matrix of sites: rows are sources, columns destinations. Each cell links to its pair."""
    panel = configure_panel(table.Panel(), title, description, (12, 12), query)
    options = {"columnField": "destination", "rowField": "source", "valueField": value, "emptyValue": "empty"}
    panel.with_transformation(DataTransformerConfig(id_val="groupingToMatrix", options=options))
    panel.cell_options(TableColoredBackgroundCellOptions(mode=TableCellBackgroundDisplayMode.BASIC))
    panel.data_links([build_pair_link(*CELL_LINK_FIELDS)]).no_value("")
    # The first column contains the names of the sources, without colour and link.
    panel.override_by_name(
        "source\\destination",
        [
            DynamicConfigValue(id_val="displayName", value="from \\ to"),
            DynamicConfigValue(id_val="custom.cellOptions", value={"type": "auto"}),
            DynamicConfigValue(id_val="links", value=[]),
        ],
    )
    return panel


def map_states(panel: _PanelT) -> _PanelT:
    """Show states as text with shape and colour."""
    panel.mappings(build_state_mappings())
    return panel


def build_stat_panel(title: str, description: str, size: tuple[int, int], query: Query) -> stat.Panel:
    """Create a panel with the columns of one row as large numbers."""
    panel = configure_panel(stat.Panel(), title, description, size, query)
    panel.reduce_options(ReduceDataOptions().values(False).calcs(["lastNotNull"]).fields("/.*/"))
    panel.graph_mode(BigValueGraphMode.NONE).color_mode(BigValueColorMode.VALUE)
    return panel.text_mode(BigValueTextMode.VALUE_AND_NAME).no_value("none")


def build_chart(title: str, description: str, size: tuple[int, int], *queries: Query) -> timeseries.Panel:
    """Create a line chart: starts at zero, without smoothing, with gaps for missing data."""
    chart = configure_panel(timeseries.Panel(), title, description, size, *queries)
    chart.min(0).line_interpolation(LineInterpolation.LINEAR).line_width(1).fill_opacity(0)
    chart.show_points(VisibilityMode.AUTO).span_nulls(False)
    chart.tooltip(Tooltip().mode(TooltipDisplayMode.MULTI))
    return chart.legend(build_legend())


def build_legend(*calcs: str) -> VizLegendOptions:
    """Create a legend below the chart; a table if ``calcs`` are given."""
    legend = VizLegendOptions().show_legend(True).placement(LegendPlacement.BOTTOM)
    return legend.display_mode(LegendDisplayMode.TABLE if calcs else LegendDisplayMode.LIST).calcs(list(calcs))


def stack_bars(panel: timeseries.Panel) -> timeseries.Panel:
    """Draw the series as stacked bars."""
    panel.draw_style(GraphDrawStyle.BARS).stacking(StackingConfig().mode(StackingMode.NORMAL).group("A"))
    return panel.fill_opacity(90).line_width(0).show_points(VisibilityMode.NEVER)


def line_style_prop(fill: str) -> DynamicConfigValue:
    """Return the property for a dashed or dotted line."""
    style = LineStyle().fill("dash" if fill == "dash" else "dot").dash([8, 6] if fill == "dash" else [2, 4]).build()
    return DynamicConfigValue(id_val="custom.lineStyle", value=style)


def add_panels(dashboard: build.Dashboard, panels: Sequence[Builder[Panel]]) -> build.Dashboard:
    """Add the panels in order, with ids from 1."""
    for number, panel in enumerate(panels, 1):
        panel.build().id_val = number
        dashboard.with_panel(panel)
    return dashboard
