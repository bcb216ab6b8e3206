"""Query parameters of the pages, and the URLs of the pages they link to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode

from leadline.model import Pair
from leadline_collector.time_range import TimeRange, parse_time_range

#: Periods offered as links: URL value and label.
PERIOD_LINKS = (("-1h", "1 h"), ("-24h", "24 h"), ("-7d", "7 d"), ("-28d", "28 d"), ("-90d", "90 d"))
#: Default period of the matrix and pair pages, the same as for verdicts.
PERIOD_DEFAULT = "-28d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One link of a selection."""

    name: str
    href: str
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PageParams:
    """Query parameters as in the URL; None if absent or empty."""

    profile: str | None = None
    group: str | None = None
    start: str | None = None
    end: str | None = None
    #: Order of the sites in the matrix: "worst" sorts by the lowest share; None is the order of the mesh file.
    sort: str | None = None

    def matrix_url(self) -> str:
        """Return the URL of the matrix with the same parameters."""
        return "/" + self._build_query()

    def pair_url(self, pair: Pair) -> str:
        """Return the URL of a pair's page with the same parameters. The group is for the link back to the matrix."""
        return f"/pairs/{_pair_path(pair)}" + self._build_query()

    def chart_url(self, pair: Pair, name: str) -> str:
        """Return the URL of a pair's chart as SVG, with the same parameters."""
        return f"/pairs/{_pair_path(pair)}/chart/{name}.svg" + self._build_query()

    def gaps_url(self, pair: Pair) -> str:
        """Return the URL of a pair's missing windows, with the same parameters."""
        return f"/pairs/{_pair_path(pair)}/gaps" + self._build_query()

    def verdicts_url(self) -> str:
        """Return the URL of the verdicts page with the same parameters."""
        return "/verdicts" + self._build_query()

    def parse_period(self, now_s: int) -> TimeRange:
        """Return the period of the matrix and pair pages: by default the last 28 days.

        Raises the errors of ``parse_time_range``.
        """
        return parse_time_range(self.start or (None if self.end else PERIOD_DEFAULT), self.end, now_s)

    def _build_query(self) -> str:
        params = {
            "group": self.group,
            "profile": self.profile,
            "from": self.start,
            "to": self.end,
            "sort": self.sort,
        }
        query = urlencode({name: value for name, value in params.items() if value})
        return f"?{query}" if query else ""

    def build_period_choices(self, pair: Pair | None = None) -> list[Choice]:
        """Return links to this page for the usual periods up to now: the pair page, or without ``pair`` the matrix."""
        choices = []
        for start, name in PERIOD_LINKS:
            params = replace(self, start=start, end=None)
            href = params.pair_url(pair) if pair else params.matrix_url()
            is_current = not self.end and (self.start or PERIOD_DEFAULT) == start
            choices.append(Choice(name=name, href=href, is_current=is_current))
        return choices


def windows_json_url(pair: Pair, period: TimeRange, profile: str | None) -> str:
    """Return the API URL of a pair's windows in exactly this period."""
    query = {"from": period.start_s, "to": period.end_s} | ({"profile": profile} if profile else {})
    return f"/api/v1/pairs/{_pair_path(pair)}/windows?{urlencode(query)}"


def verdict_csv_url(pair: Pair, days: TimeRange) -> str:
    """Return the API URL of the windows behind the verdict on both directions; ``days`` are whole days."""
    query = {"pair": f"{pair.source},{pair.destination}", "from": days.start_s, "to": days.end_s}
    return f"/api/v1/verdicts/windows?{urlencode(query)}"


def matrix_json_url(profile: str, period: TimeRange, group: str | None) -> str:
    """Return the API URL of the matrix in exactly this period."""
    query = {"profile": profile, "from": period.start_s, "to": period.end_s} | ({"group": group} if group else {})
    return f"/api/v1/matrix?{urlencode(query)}"


def _pair_path(pair: Pair) -> str:
    return f"{quote(pair.source, safe='')}/{quote(pair.destination, safe='')}"
