"""SQL queries for Grafana's PostgreSQL datasource. They read and sum up views; the views contain the states."""

from __future__ import annotations

from textwrap import dedent

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import DataSourceRef

from leadline_dashboards import DATASOURCE_TYPE, DATASOURCE_UID
from leadline_dashboards.generate.style import CAUSE_STYLES, IMPORTED_SUFFIX, SIMULATED_SUFFIX

#: Shares over the whole hours of the time range.
SHARE_FUNCTION = "grafana_share(${profile:sqlstring}, $__unixEpochFrom(), $__unixEpochTo())"
#: Filters for the selected pair and profile.
PAIR_FILTER = "source = ${source:sqlstring} AND destination = ${destination:sqlstring}"
REVERSE_PAIR_FILTER = "source = ${destination:sqlstring} AND destination = ${source:sqlstring}"
PROFILE_FILTER = "profile = ${profile:sqlstring}"
#: Limits of the selected profile with reservations, as one text; NULL without any.
WEAK_LIMITS = (
    "(SELECT string_agg(limit_id || ': ' || reservations, '; ' ORDER BY place) "
    f"FROM grafana_limit WHERE {PROFILE_FILTER} AND reservations IS NOT NULL)"
)


def name_state_now(prefix: str = "") -> str:
    """Return SQL for the current state with the cause of a bad one and a mark if simulated or imported."""
    causes = " ".join(f"WHEN '{cause}' THEN '{name}'" for cause, (name, _) in CAUSE_STYLES.items())
    return (
        f"CASE {prefix}cause_now {causes} ELSE {prefix}state_now END || "
        f"CASE WHEN {prefix}simulated THEN '{SIMULATED_SUFFIX}' WHEN {prefix}imported THEN '{IMPORTED_SUFFIX}' "
        "ELSE '' END"
    )


def name_data(simulated: str = "simulated", imported: str = "imported") -> str:
    """Return SQL for the origin of minutes: simulated or imported if some of them are, else measured."""
    return f"CASE WHEN {simulated} THEN 'simulated' WHEN {imported} THEN 'imported' ELSE 'measured' END AS data"


def truncate_ratio(expression: str, percent_decimals: int) -> str:
    """Return SQL that rounds a ratio down to the decimals of a panel, because Grafana rounds to the nearest.

    A ratio below 1 never shows as 100 %, and one above 0 never as 0 %: it is the smallest number of the panel.
    """
    decimals = percent_decimals + 2
    return (
        f"CASE WHEN {expression} > 0 THEN greatest(trunc(({expression})::numeric, {decimals}), 1e-{decimals})::float8 "
        f"ELSE {expression} END"
    )


def build_datasource_ref() -> DataSourceRef:
    """Return the reference to the datasource by its fixed uid."""
    return DataSourceRef(type_val=DATASOURCE_TYPE, uid=DATASOURCE_UID)


class Query(Dataquery, Builder[Dataquery]):
    """An SQL query. The SDK has no types for this datasource; the keys are those of Grafana's own editor."""

    def __init__(self, sql: str, *, ref: str = "A", series: bool = False) -> None:
        self.sql, self.ref, self.format = dedent(sql).strip(), ref, "time_series" if series else "table"

    def build(self) -> Dataquery:
        """Return the query itself."""
        return self

    def to_json(self) -> dict[str, object]:
        """Return the query in the format of a dashboard."""
        return {
            "refId": self.ref,
            "datasource": build_datasource_ref().to_json(),
            "editorMode": "code",
            "format": self.format,
            "rawQuery": True,
            "rawSql": self.sql,
        }
