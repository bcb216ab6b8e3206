"""Header of the CSV exchange file: one line of JSON that is consistent or refused.

Format 2 adds the rule, the digest of the rows, the digest of the limit catalogue, time zones and declared outages.
Format 1 is read as well: it was judged by the first edition of the rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec

from leadline.errors import ConfigError
from leadline.mesh.model import DeclaredOutages
from leadline.model import WINDOW_S, Pair, Site, check_name
from leadline.wire.batch import IMPORT_PREFIX
from leadline_verdict.rule_edition import RuleEdition

FILE_FORMAT = "leadline windows 2"
FIRST_FILE_FORMAT = "leadline windows 1"
#: Longest period; the collector has the same limit.
DAYS_MAX = 400
_DAY_S = 86_400
#: Most minutes of all paths: 50 bytes of memory each. 300 pairs over 230 days fit.
_PATH_MINUTES_MAX = 100_000_000
#: 2286; t has ten digits.
_END_S_MAX = 10**10

#: [first, last) in minutes from the start of the period.
MinuteRange = tuple[int, int]
_Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class _HeaderStruct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the header."""


class PathHeader(_HeaderStruct, frozen=True, kw_only=True):
    """A path of a pair."""

    agent: str
    target: str
    simulated: bool


class OutagesHeader(_HeaderStruct, frozen=True, kw_only=True):
    """See ``DeclaredOutages``."""

    outages_per_year: float
    longest_outage_s: int
    declared_on: date


class _FirstPairHeader(_HeaderStruct, frozen=True, kw_only=True):
    source: str
    destination: str
    paths: list[PathHeader]
    #: See ``PairWindows``.
    ambiguous: list[MinuteRange]
    explained: list[MinuteRange]


class PairHeader(_FirstPairHeader, frozen=True, kw_only=True):
    """A directed pair; see ``PairWindows``."""

    outages: OutagesHeader | None
    #: Start of the first window, in the day after the period, of a pair without windows in the period; None otherwise.
    measured_since_s: int | None

    @property
    def declared_outages(self) -> DeclaredOutages | None:
        """Outages that the operator declares; ValueError for numbers that cannot be true."""
        return None if self.outages is None else DeclaredOutages(**msgspec.structs.asdict(self.outages))


class _FirstSiteHeader(_HeaderStruct, frozen=True, kw_only=True):
    name: str
    latitude_deg: float
    longitude_deg: float
    uncertainty_km: float


class SiteHeader(_FirstSiteHeader, frozen=True, kw_only=True):
    """A site with coordinates."""

    time_zone: str

    @property
    def site(self) -> Site:
        """Site of these coordinates; ValueError if they are invalid."""
        return Site(**msgspec.structs.asdict(self))


class _FirstFileHeader(_HeaderStruct, frozen=True, kw_only=True):
    format: str
    start_s: int
    end_s: int
    sites: list[_FirstSiteHeader]
    pairs: list[_FirstPairHeader]


class FileHeader(_HeaderStruct, frozen=True, kw_only=True):
    """The header; a file of format 1 has the first rule, no digests, UTC and no declared outages."""

    format: str
    #: Id of the decision rule that judges the file unless another one is chosen.
    rule: str
    #: Digest of the lines after the header with LF ends; None in format 1.
    sha256: _Sha256 | None
    #: Digest of the data file of the limit catalogue; None in format 1.
    catalogue: _Sha256 | None
    start_s: int
    end_s: int
    sites: list[SiteHeader]
    pairs: list[PairHeader]


class _AnyHeader(msgspec.Struct, frozen=True):
    """The field that all formats have."""

    format: str


def line_error(
    line: int, problem: str, remedy: str = "the file is damaged or was edited: export it again"
) -> ConfigError:
    """Return the error of a line."""
    return ConfigError(f"line {line}", f"{problem}; {remedy}")


def decode_header(line: bytes) -> FileHeader:
    """Decode and check the JSON of the header; raise ConfigError if a value is invalid, repeated or unknown."""
    try:
        header = _decode_format(line, msgspec.json.decode(line, type=_AnyHeader).format)
        _check_header(header)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise line_error(1, str(error)) from error
    return header


def _decode_format(line: bytes, file_format: str) -> FileHeader:
    if file_format == FIRST_FILE_FORMAT:
        return _complete_first_header(msgspec.json.decode(line, type=_FirstFileHeader))
    if file_format != FILE_FORMAT:
        raise line_error(
            1,
            f"the format is {file_format!r}; this version reads {FIRST_FILE_FORMAT!r} and {FILE_FORMAT!r}",
            "use the version that wrote it",
        )
    header = msgspec.json.decode(line, type=FileHeader)
    if header.sha256 is None or header.catalogue is None:
        raise ValueError("sha256 and catalogue must be digests of 64 hexadecimal digits, not null")
    if header.rule not in set(RuleEdition):
        raise line_error(
            1,
            f"the decision rule is {header.rule!r}; this version knows {' and '.join(RuleEdition)}",
            "use the version that wrote it",
        )
    return header


def _complete_first_header(header: _FirstFileHeader) -> FileHeader:
    return FileHeader(
        format=header.format,
        rule=RuleEdition.FIRST,
        sha256=None,
        catalogue=None,
        start_s=header.start_s,
        end_s=header.end_s,
        sites=[SiteHeader(**msgspec.structs.asdict(site), time_zone="UTC") for site in header.sites],
        pairs=[
            PairHeader(**msgspec.structs.asdict(pair), outages=None, measured_since_s=None) for pair in header.pairs
        ],
    )


def _check_header(header: FileHeader) -> None:
    """Raise ValueError if values of the header are invalid or repeated."""
    period = f"{header.start_s} to {header.end_s}"
    if header.start_s % _DAY_S or header.end_s % _DAY_S or not 0 <= header.start_s < header.end_s:
        raise ValueError(f"{period} is not a period of whole UTC days")
    if header.end_s - header.start_s > DAYS_MAX * _DAY_S:
        raise ValueError(f"{period} is more than {DAYS_MAX} days")
    if header.end_s > _END_S_MAX:
        raise ValueError(f"{period} is not a period before the year 2286")
    minutes = (header.end_s - header.start_s) // WINDOW_S
    if not header.pairs:
        raise ValueError("the header has no pair")
    if minutes * sum(max(1, len(pair.paths)) for pair in header.pairs) > _PATH_MINUTES_MAX:
        raise ValueError(f"the paths have more than {_PATH_MINUTES_MAX:,} minutes in total: export fewer pairs or days")
    for site in header.sites:
        _check_time_zone(site.site)
    _check_unique("site", [site.name for site in header.sites])
    _check_unique("pair", [f"{pair.source} -> {pair.destination}" for pair in header.pairs])
    for pair in header.pairs:
        _check_pair(pair, minutes)
        _check_first_window(pair, header.end_s)


def _check_time_zone(site: Site) -> None:
    try:
        ZoneInfo(site.time_zone)
    except (ValueError, KeyError, OSError) as error:
        raise line_error(
            1,
            f"the time zone {site.time_zone[:40]!r} of site {site.name} is not known on this machine",
            "install tzdata, or export the file again if it was edited",
        ) from error


def _check_pair(pair: PairHeader, minutes: int) -> None:
    check_name("site", pair.source)
    check_name("site", pair.destination)
    Pair(source=pair.source, destination=pair.destination)
    name = f"{pair.source} -> {pair.destination}"
    for path in pair.paths:
        check_name("agent", path.agent.removeprefix(IMPORT_PREFIX))
        check_name("target", path.target)
    _check_unique(f"path of {name}", [f"{path.agent} {path.target}" for path in pair.paths])
    for label, ranges in (("ambiguous", pair.ambiguous), ("explained", pair.explained)):
        previous = 0
        for first, last in ranges:
            if not previous <= first < last <= minutes:
                raise ValueError(
                    f"{label} minutes {first} to {last} of {name} are not a range after minute {previous} "
                    f"within the {minutes} minutes of the period"
                )
            previous = last
    try:
        _ = pair.declared_outages
    except (ValueError, OverflowError) as error:
        raise ValueError(f"outages of {name}: {error}") from error


def _check_first_window(pair: PairHeader, end_s: int) -> None:
    since_s = pair.measured_since_s
    if since_s is not None and (pair.paths or since_s % WINDOW_S or not end_s <= since_s < end_s + _DAY_S):
        raise ValueError(
            f"measured_since_s {since_s} of {pair.source} -> {pair.destination} is not a minute of the day after the "
            "period, or the pair has paths"
        )


def _check_unique(label: str, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        name = next(name for name, count in Counter(names).items() if count > 1)
        raise ValueError(f"duplicate {label}: {name}")
