"""What a page is asked for: the parameters of its address, and the addresses of the pages it links to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode

from leadline.model import Pair
from leadline_collector.time_range import Period, period_of

#: What the links offer: as written in an address, and as read.
PERIODS = (("-1h", "1 h"), ("-24h", "24 h"), ("-7d", "7 d"), ("-28d", "28 d"), ("-90d", "90 d"))
#: Of matrix and pair: what a verdict is about.
PERIOD_DEFAULT = "-28d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of several links."""

    name: str
    href: str
    current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The parameters as they were written; None where absent or empty."""

    profile: str | None = None
    group: str | None = None
    start: str | None = None
    end: str | None = None
    #: Of the sites of the matrix: "worst" puts those with the lowest shares first; None is the mesh file's order.
    sort: str | None = None

    def matrix(self) -> str:
        """The matrix for the same parameters."""
        return "/" + self._query()

    def pair(self, pair: Pair) -> str:
        """The page of a pair for the same parameters; the group is for the way back."""
        return f"/pairs/{_path(pair)}" + self._query()

    def chart(self, pair: Pair, name: str) -> str:
        """A chart of the page of a pair as a picture, for the same parameters."""
        return f"/pairs/{_path(pair)}/chart/{name}.svg" + self._query()

    def gaps(self, pair: Pair) -> str:
        """What is missing of the windows of a pair, for the same parameters."""
        return f"/pairs/{_path(pair)}/gaps" + self._query()

    def verdicts(self) -> str:
        """The verdicts of the matrix for the same parameters."""
        return "/verdicts" + self._query()

    def period(self, now_s: int) -> Period:
        """What matrix and pair show: the last 28 days unless something is asked for; the errors of ``period_of``."""
        return period_of(self.start or (None if self.end else PERIOD_DEFAULT), self.end, now_s)

    def _query(self) -> str:
        asked = {"group": self.group, "profile": self.profile, "from": self.start, "to": self.end}
        written = asked | {"sort": self.sort}
        given = {name: value for name, value in written.items() if value}
        return "?" + urlencode(given) if given else ""

    def periods(self, pair: Pair | None = None) -> list[Choice]:
        """The usual periods up to now, of this page."""
        choices = []
        for start, name in PERIODS:
            other = replace(self, start=start, end=None)
            current = not self.end and (self.start or PERIOD_DEFAULT) == start
            choices.append(Choice(name=name, href=other.pair(pair) if pair else other.matrix(), current=current))
        return choices


def windows_json(pair: Pair, period: Period, profile: str | None) -> str:
    """The API's answer about a pair for exactly this period."""
    query = {"from": period.start_s, "to": period.end_s} | ({"profile": profile} if profile else {})
    return f"/api/v1/pairs/{_path(pair)}/windows?{urlencode(query)}"


def verdict_csv(pair: Pair, days: Period) -> str:
    """The windows behind the verdict on both directions, whole days."""
    query = {"pair": f"{pair.source},{pair.destination}", "from": days.start_s, "to": days.end_s}
    return f"/api/v1/verdicts/windows?{urlencode(query)}"


def matrix_json(profile: str, period: Period, group: str | None) -> str:
    """The API's answer about all pairs for exactly this period."""
    query = {"profile": profile, "from": period.start_s, "to": period.end_s} | ({"group": group} if group else {})
    return f"/api/v1/matrix?{urlencode(query)}"


def _path(pair: Pair) -> str:
    return f"{quote(pair.source, safe='')}/{quote(pair.destination, safe='')}"
