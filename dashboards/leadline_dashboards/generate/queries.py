"""SQL as Grafana's PostgreSQL datasource takes it. It reads views and adds up; what is good or bad is in them."""

from __future__ import annotations

from textwrap import dedent

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import DataSourceRef

from leadline_dashboards import DATASOURCE_TYPE, DATASOURCE_UID

#: Where the period of a range begins and ends, for whatever is counted by hours.
SHARE_FUNCTION = "grafana_share(${profile:sqlstring}, $__unixEpochFrom(), $__unixEpochTo())"
#: The pair and the profile that were chosen.
PAIR_FILTER = "source = ${source:sqlstring} AND destination = ${destination:sqlstring}"
REVERSE_PAIR_FILTER = "source = ${destination:sqlstring} AND destination = ${source:sqlstring}"
PROFILE_FILTER = "profile = ${profile:sqlstring}"


def build_datasource_ref() -> DataSourceRef:
    """The one datasource, by its fixed uid."""
    return DataSourceRef(type_val=DATASOURCE_TYPE, uid=DATASOURCE_UID)


class Query(Dataquery, Builder[Dataquery]):
    """A query in SQL. The SDK has no types for this datasource: these are the keys its own editor writes."""

    def __init__(self, sql: str, *, ref: str = "A", series: bool = False) -> None:
        self.sql, self.ref, self.format = dedent(sql).strip(), ref, "time_series" if series else "table"

    def build(self) -> Dataquery:
        """Itself."""
        return self

    def to_json(self) -> dict[str, object]:
        """As it stands in a dashboard."""
        return {
            "refId": self.ref,
            "datasource": build_datasource_ref().to_json(),
            "editorMode": "code",
            "format": self.format,
            "rawQuery": True,
            "rawSql": self.sql,
        }
