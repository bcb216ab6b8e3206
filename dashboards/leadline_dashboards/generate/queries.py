"""SQL queries for Grafana's PostgreSQL datasource. They read and sum up views; the views contain the states."""

from __future__ import annotations

from textwrap import dedent

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import DataSourceRef

from leadline_dashboards import DATASOURCE_TYPE, DATASOURCE_UID

#: Shares over the whole hours of the time range.
SHARE_FUNCTION = "grafana_share(${profile:sqlstring}, $__unixEpochFrom(), $__unixEpochTo())"
#: Filters for the selected pair and profile.
PAIR_FILTER = "source = ${source:sqlstring} AND destination = ${destination:sqlstring}"
REVERSE_PAIR_FILTER = "source = ${destination:sqlstring} AND destination = ${source:sqlstring}"
PROFILE_FILTER = "profile = ${profile:sqlstring}"


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
