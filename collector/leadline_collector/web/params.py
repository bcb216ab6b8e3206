"""What a page is asked for: the parameters of its address, and the addresses of the pages it links to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode

from leadline.model import Pair
from leadline_collector.time_range import TimeRange, parse_time_range

#: What the links offer: as written in an address, and as read.
PERIOD_LINKS = (("-1h", "1 h"), ("-24h", "24 h"), ("-7d", "7 d"), ("-28d", "28 d"), ("-90d", "90 d"))
#: Of matrix and pair: what a verdict is about.
PERIOD_DEFAULT = "-28d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of several links."""

    name: str
    href: str
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PageParams:
    """The parameters as they were written; None where absent or empty."""

    profile: str | None = None
    group: str | None = None
    start: str | None = None
    end: str | None = None
    #: Of the sites of the matrix: "worst" puts those with the lowest shares first; None is the mesh file's order.
    sort: str | None = None

    def matrix_url(self) -> str:
        """The matrix for the same parameters."""
        return "/" + self._build_query()

    def pair_url(self, pair: Pair) -> str:
        """The page of a pair for the same parameters; the group is for the way back."""
        return f"/pairs/{_pair_path(pair)}" + self._build_query()

    def chart_url(self, pair: Pair, name: str) -> str:
        """A chart of the page of a pair as a picture, for the same parameters."""
        return f"/pairs/{_pair_path(pair)}/chart/{name}.svg" + self._build_query()

    def gaps_url(self, pair: Pair) -> str:
        """What is missing of the windows of a pair, for the same parameters."""
        return f"/pairs/{_pair_path(pair)}/gaps" + self._build_query()

    def verdicts_url(self) -> str:
        """The verdicts of the matrix for the same parameters."""
        return "/verdicts" + self._build_query()

    def parse_period(self, now_s: int) -> TimeRange:
        """What matrix and pair show: the last 28 days unless something is asked for; the errors of ``period_of``."""
        return parse_time_range(self.start or (None if self.end else PERIOD_DEFAULT), self.end, now_s)

    def _build_query(self) -> str:
        asked = {"group": self.group, "profile": self.profile, "from": self.start, "to": self.end}
        written = asked | {"sort": self.sort}
        given = {name: value for name, value in written.items() if value}
        return "?" + urlencode(given) if given else ""

    def build_period_choices(self, pair: Pair | None = None) -> list[Choice]:
        """The usual periods up to now, of this page."""
        choices = []
        for start, name in PERIOD_LINKS:
            other = replace(self, start=start, end=None)
            current = not self.end and (self.start or PERIOD_DEFAULT) == start
            choices.append(
                Choice(name=name, href=other.pair_url(pair) if pair else other.matrix_url(), is_current=current)
            )
        return choices


def windows_json_url(pair: Pair, period: TimeRange, profile: str | None) -> str:
    """The API's answer about a pair for exactly this period."""
    query = {"from": period.start_s, "to": period.end_s} | ({"profile": profile} if profile else {})
    return f"/api/v1/pairs/{_pair_path(pair)}/windows?{urlencode(query)}"


def verdict_csv_url(pair: Pair, days: TimeRange) -> str:
    """The windows behind the verdict on both directions, whole days."""
    query = {"pair": f"{pair.source},{pair.destination}", "from": days.start_s, "to": days.end_s}
    return f"/api/v1/verdicts/windows?{urlencode(query)}"


def matrix_json_url(profile: str, period: TimeRange, group: str | None) -> str:
    """The API's answer about all pairs for exactly this period."""
    query = {"profile": profile, "from": period.start_s, "to": period.end_s} | ({"group": group} if group else {})
    return f"/api/v1/matrix?{urlencode(query)}"


def _pair_path(pair: Pair) -> str:
    return f"{quote(pair.source, safe='')}/{quote(pair.destination, safe='')}"
