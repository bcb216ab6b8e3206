"""What a page is asked for: the parameters of its address, and the addresses of the pages it links to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode

from leadline.model import Pair
from leadline_collector.period import PERIOD_S_DEFAULT, Period

#: What the links offer: as written in an address, and as read.
PERIODS = (("-1h", "1 h"), ("-24h", "24 h"), ("-7d", "7 d"), ("-28d", "28 d"))


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

    def matrix(self) -> str:
        """The matrix for the same parameters."""
        return "/" + self._query()

    def pair(self, pair: Pair) -> str:
        """The page of a pair for the same parameters; the group is for the way back."""
        return f"/pairs/{_path(pair)}" + self._query()

    def _query(self) -> str:
        written = {"group": self.group, "profile": self.profile, "from": self.start, "to": self.end}
        given = {name: value for name, value in written.items() if value}
        return "?" + urlencode(given) if given else ""

    def periods(self, pair: Pair | None = None) -> list[Choice]:
        """The usual periods up to now, of this page."""
        choices = []
        for start, name in PERIODS:
            other = replace(self, start=start, end=None)
            current = not self.end and (self.start or f"-{PERIOD_S_DEFAULT // 3_600}h") == start
            choices.append(Choice(name=name, href=other.pair(pair) if pair else other.matrix(), current=current))
        return choices


def windows_json(pair: Pair, period: Period, profile: str | None) -> str:
    """The API's answer about a pair for exactly this period."""
    query = {"from": period.start_s, "to": period.end_s} | ({"profile": profile} if profile else {})
    return f"/api/v1/pairs/{_path(pair)}/windows?{urlencode(query)}"


def matrix_json(profile: str, period: Period, group: str | None) -> str:
    """The API's answer about all pairs for exactly this period."""
    query = {"profile": profile, "from": period.start_s, "to": period.end_s} | ({"group": group} if group else {})
    return f"/api/v1/matrix?{urlencode(query)}"


def _path(pair: Pair) -> str:
    return f"{quote(pair.source, safe='')}/{quote(pair.destination, safe='')}"
