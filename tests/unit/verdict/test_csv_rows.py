"""The CSV exchange file is consistent or refused with the line of its first error."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import cache

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.errors import ConfigError
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import DeclaredOutages
from leadline.model import Site
from leadline_verdict import csv_exchange
from leadline_verdict.csv_exchange import ExportedWindows
from leadline_verdict.decision import VerdictRule
from leadline_verdict.report import ReportParams, build_report
from leadline_verdict.requirements import LimitOverrides, build_requirements
from leadline_verdict.rule_edition import RuleEdition
from leadline_verdict.series import COLUMNS
from tests.support.window_factories import DAY, START_S, add_delay, build_columns, build_pair, drop_minutes, lose_probes

SITES = (
    Site(name="fra", latitude_deg=50.0, longitude_deg=8.0, time_zone="Europe/Berlin"),
    Site(name="ams", latitude_deg=52.0, longitude_deg=5.0),
)
LIMIT = build_requirements(
    load_catalogue(), None, LimitOverrides(values={}, declared_values={}, custom_limits=("p95 <= 5 ms", "pdv <= 1 ms"))
)
#: First row of the file, a complete window.
FIRST = f"fra,ams,fra1,ams1,{START_S},60,60,60,3900,4000,4000,4050,4080,4090,150,20,"
KEY = f"fra,ams,fra1,ams1,{START_S}"
OUTAGES = DeclaredOutages(outages_per_year=1.5, longest_outage_s=43_200, declared_on=date(2026, 9, 1))


@cache
def write_file() -> bytes:
    """Write one day of two directions: two paths, missing windows, losses, ambiguous minutes, declared outages."""
    first, second = build_columns(1), build_columns(1)
    add_delay(first, range(100, 130))
    lose_probes(first, range(500, 510), lost=20)
    lose_probes(first, range(900, 905))
    first["received"][600:700] -= 2
    first["p99_us"][600:700] = -1
    # The windows after them were stored before the column existed.
    first["latency_p95_us"][600:650] = first["p95_us"][600:650] - 10
    first["error_p99_us"][200:300] = -1
    drop_minutes(second, range(30, DAY))
    forward, backward = build_pair(first, second), replace(build_pair(second), source="ams", destination="fra")
    ambiguous = forward.ambiguous_minutes.copy()
    ambiguous[900:905] = True
    file = io.StringIO()
    forward = replace(forward, ambiguous_minutes=ambiguous, declared_outages=OUTAGES)
    csv_exchange.write_windows(file, [forward, backward], SITES)
    return file.getvalue().encode()


def get_rows(data: bytes) -> bytes:
    """Return the lines after the header as they were written."""
    return data.replace(b"\r\n", b"\n").partition(b"\n")[2]


def update_digest(data: bytes) -> bytes:
    """Return a file whose header has the digest of its rows, so that only the other checks can refuse it."""
    digest = hashlib.sha256(get_rows(data)).hexdigest().encode()
    return re.sub(rb'"sha256":"[^"]*"', b'"sha256":"' + digest + b'"', data, count=1)


def to_first_format(data: bytes) -> bytes:
    """Return the file as the previous version wrote it."""
    header, *rows = data.splitlines()
    fields = json.loads(header[2:])
    for name in ("rule", "sha256", "catalogue"):
        del fields[name]
    for site in fields["sites"]:
        del site["time_zone"]
    for pair in fields["pairs"]:
        del pair["outages"], pair["measured_since_s"]
    fields["format"] = "leadline windows 1"
    lines = [b"# " + json.dumps(fields, separators=(",", ":")).encode(), *(row.rpartition(b",")[0] for row in rows)]
    return b"\n".join(lines) + b"\n"


def read(data: bytes) -> ExportedWindows:
    """Read bytes the way the command does."""
    return csv_exchange.read_windows(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline=""))


def evaluate(windows: ExportedWindows) -> bytes:
    """Return the document without the search for segments, which is slow and has no input but the columns."""
    params = ReportParams(
        start_s=windows.start_s,
        end_s=windows.end_s,
        rule=VerdictRule(),
        profiles=[LIMIT],
        catalogue_digest="",
        mesh_version=None,
    )
    return msgspec.json.encode(build_report(params, ((pair, [LIMIT]) for pair in windows.pairs)))


def refuse(data: bytes) -> str:
    """Return the error of a file."""
    with pytest.raises(ConfigError) as caught:
        read(data)
    return str(caught.value)


def replace_first(old: str, new: str) -> bytes:
    """Return the file with one text replaced."""
    data = write_file()
    assert old.encode() in data, old
    return data.replace(old.encode(), new.encode(), 1)


@pytest.mark.parametrize(
    ("tail", "problem"),
    [
        ("61,60,60,3900,4000,4000,4050,4080,4090,150,20,", "expected 61 is not a number of probes in a minute"),
        ("0,0,0,,,,,,,,20,", "expected 0 is not a number of probes in a minute"),
        ("6001,60,60,3900,4000,4000,4050,4080,4090,150,20,", "expected is out of range: expected 6001"),
        ("60,,60,3900,4000,4000,4050,4080,4090,150,20,", "sent empty; a count is required"),
        ("60,75,60,3900,4000,,,,4090,,20,", "sent 75 is above expected 60"),
        ("60,50,60,3900,4000,4000,4050,4080,4090,150,20,", "received 60 is above sent 50"),
        ("60,60,60,,4000,4000,4050,4080,4090,150,20,", "min_us empty with received 60 of sent 60: a value is"),
        ("60,60,60,3900,4000,4000,,4080,4090,,20,", "p95_us empty with received 60 of sent 60: a value is"),
        (
            "60,60,60,3900,4000,4000,4050,4080,4090,,20,",
            "pdv_us empty with received 60 of sent 60: a value is",
        ),
        ("60,60,0,3900,,,,,,,20,", "min_us 3900 with received 0 of sent 60: the field must be empty"),
        ("60,0,0,,,,,,4090,,20,", "max_us 4090 with received 0 of sent 0: the field must be empty"),
        ("60,60,56,3900,4000,4000,4050,,4090,150,20,", "p95_us 4050 with received 56 of sent 60: the field must be"),
        ("60,60,29,3900,4000,4000,,,4090,,20,", "p50_us 4000 with received 29 of sent 60: the field must be empty"),
        ("60,60,60,4001,4001,4000,4050,4080,4090,49,20,", "min_us 4001 is above p50_us 4000"),
        ("60,60,60,3900,4000,4060,4050,4080,4090,150,20,", "p50_us 4060 is above p95_us 4050"),
        ("60,60,60,3900,4000,4000,4085,4080,4090,185,20,", "p95_us 4085 is above p99_us 4080"),
        ("60,60,60,3900,4000,4000,4050,4091,4090,150,20,", "p99_us 4091 is above max_us 4090"),
        ("60,60,57,3900,4000,4000,4100,,4090,200,20,", "p95_us 4100 is above max_us 4090"),
        ("60,60,60,3900,3899,4000,4050,4080,4090,150,20,", "min_us 3900 is above mean_us 3899"),
        ("60,60,60,3900,4091,4000,4050,4080,4090,150,20,", "mean_us 4091 is above max_us 4090"),
        (
            "60,60,60,3900,4000,4000,4050,4080,4090,149,20,",
            "pdv_us 149 is not the difference of p95_us 4050 and",
        ),
        (
            "60,60,60,3900,4000,4000,4050,4080,4090,150,20,4050",
            "latency_p95_us 4050 with received 60 of sent 60: the",
        ),
        ("60,60,56,3900,4000,4000,,,4090,,20,4050", "latency_p95_us 4050 with received 56 of sent 60: the field must"),
        ("60,60,57,3900,4000,4000,4050,,4090,150,20,4060", "latency_p95_us 4060 is above p95_us 4050"),
        ("60,60,57,3900,4000,4000,4050,,4090,150,20,3990", "p50_us 4000 is above latency_p95_us 3990"),
        ("60,60,57,3900,4000,4000,4050,,4090,150,20,4,0", "the row has 18 fields instead of 17"),
        ("60,60,57,3900,4000,4000,4050,,4090,150,20,4050.0", "invalid literal for a whole number: latency_p95_us is"),
        ("60,60,60,3900,4000,4000,4050,4080,60000001,150,20,", "max_us is out of range: max_us 60000001"),
        ("60,60,60,3900,4000,4000,4050,4080,4090,150,99999999999999999999,", "error_p99_us is out of range: 9999"),
        ("60,60,60,3900,4000,4000,4050,4080,4090,150,9223372036854775808,", "error_p99_us is out of range: 9223372"),
        ("60,60,60,3900,nan,4000,4050,4080,4090,150,20,", "invalid literal for a whole number: mean_us is 'nan'"),
        ("60,60,60,3900,inf,4000,4050,4080,4090,150,20,", "invalid literal for a whole number: mean_us is 'inf'"),
        ("60,60,60,3900,4e3,4000,4050,4080,4090,150,20,", "invalid literal for a whole number: mean_us is '4e3'"),
        ("60,60,60,3900,4_000,4000,4050,4080,4090,150,20,", "invalid literal for a whole number: mean_us is '4_000'"),
        ("60,60,60,3900, 4000,4000,4050,4080,4090,150,20,", "invalid literal for a whole number: mean_us is ' 4000'"),
        ("60,60,60,3900,-1,4000,4050,4080,4090,150,20,", "mean_us is out of range: -1"),
        ("60,60,60,3900,4\0,4000,4050,4080,4090,150,20,", r"invalid literal for a whole number: mean_us is '4\x00'"),
        ("60,60,60,3900,\u0664,4000,4050,4080,4090,150,20,", "invalid literal for a whole number: mean_us is '\u0664'"),
        ("60,60,60,3900," + "4" * 1_000 + ",4000,4050,4080,4090,150,20,", "mean_us is out of range: 4444"),
        ("60,60,60,3900,4000,4000,4050,4080,4090,150,20,,7", "the row has 18 fields instead of 17"),
        ("60,60,60,3900,4000,4000,4050,4080,4090,150,20", "the row has 16 fields instead of 17"),
    ],
)
def test_inconsistent_rows_are_refused(tail: str, problem: str) -> None:
    """The error has the line, the column and the value, and says what to do."""
    error = refuse(replace_first(FIRST, f"{KEY},{tail}"))

    assert error.startswith(f"line 3: {problem}")
    assert len(error) < 300
    assert "export it again" in error


def test_the_first_error_of_the_file_is_reported() -> None:
    """A later check does not hide an earlier line; an earlier error is reported although a later row has no fields."""
    lines = write_file().split(b"\n")
    lines[8] = lines[8].replace(b",150,", b",151,")
    lines[20] = lines[20].replace(b",60,60,", b",60,61,")
    lines[40] = b""
    assert refuse(b"\n".join(lines)).startswith("line 9: pdv_us 151")
    lines[4] = lines[3]
    assert refuse(b"\n".join(lines)).startswith("line 5: duplicate window at")


def test_lines_are_counted_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is read in blocks; rows and duplicates are found in all of them."""
    monkeypatch.setattr("leadline_verdict.csv_rows._BLOCK_BYTES", 1_000)
    lines = write_file().split(b"\n")
    assert evaluate(read(write_file())) == evaluate(read(write_file().replace(b"\n", b"\r\n")))
    assert refuse(b"\n".join([*lines[:1_000], b"x", *lines[1_000:]])).startswith("line 1001: the row has 1 fields")
    assert refuse(b"\n".join([*lines[:1_000], lines[2], *lines[1_000:]])).startswith("line 1001: duplicate window at")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"start_s":1788739200', '"start_s":-86400', "-86400 to 1788825600 is not a period of whole UTC days"),
        ('"start_s":1788739200', '"start_s":NaN', ""),
        ('"start_s":1788739200', '"start_s":' + "9" * 400, ""),
        ('"end_s":1788825600', '"end_s":1788739200', "1788739200 to 1788739200 is not a period of whole UTC days"),
        ('"latitude_deg":50.0', '"latitude_deg":90.5', "latitude 90.5 is outside -90..90"),
        ('"latitude_deg":50.0', '"latitude_deg":1e999', ""),
        ('"longitude_deg":8.0', '"longitude_deg":-200', "longitude -200.0 is outside -180..180"),
        ('"uncertainty_km":1.0', '"uncertainty_km":-1', "uncertainty_km -1.0 is outside 0..1000"),
        ('{"name":"ams"', '{"name":"fra"', "duplicate site: fra"),
        ('{"name":"ams"', '{"name":"Amsterdam!"', "site 'Amsterdam!' is not a valid name"),
        ('"destination":"ams"', '"destination":"fra"', "source and destination of a pair are both 'fra'"),
        ('"source":"fra"', '"source":"FRA"', "site 'FRA' is not a valid name"),
        ('"source":"ams","destination":"fra"', '"source":"fra","destination":"ams"', "duplicate pair: fra -> ams"),
        ('"agent":"fra1"', '"agent":"fra,1"', "agent 'fra,1' is not a valid name"),
        ('"target":"ams1"', '"target":""', "target '' is not a valid name"),
        ('"agent":"fra2"', '"agent":"fra1"', "duplicate path of fra -> ams: fra1 ams1"),
        ('"agent":"fra2"', '"agent":"fra3"', "fra ams fra2 ams1 is not a path of the header"),
        ("[[900,905]]", "[[-5,905]]", "ambiguous minutes -5 to 905 of fra -> ams are not a range after minute 0"),
        ("[[900,905]]", "[[900,1441]]", "ambiguous minutes 900 to 1441 of fra -> ams are not a range"),
        ("[[900,905]]", "[[905,900]]", "ambiguous minutes 905 to 900 of fra -> ams are not a range"),
        ("[[900,905]]", "[[900,905],[904,910]]", "ambiguous minutes 904 to 910 of fra -> ams are not a range"),
        ('"pairs":[', '"note":"x","pairs":[', "Object contains unknown field `note`"),
        (
            '"format":"leadline windows 2"',
            '"format":"leadline windows 3"',
            "reads 'leadline windows 1' and",
        ),
        ('"format":"leadline windows 2"', '"format":"leadline windows 1"', "Object contains unknown field `rule`"),
        ('"format":"leadline windows 2",', "", "Object missing required field `format`"),
        ('"rule":"leadline-2026-2",', "", "Object missing required field `rule`"),
        (
            "leadline-2026-2",
            "leadline-2099-1",
            "the decision rule is 'leadline-2099-1'; this version knows leadline-2026-1 and leadline-2026-2; use the "
            "version that wrote it",
        ),
        ('"sha256":"', '"sha256":"0', "Expected `str` matching regex"),
        ('"sha256":"', '"sha256":null,"x":"', "Object contains unknown field `x`"),
        ('"catalogue":"', '"catalogue":"A', "Expected `str` matching regex"),
        (
            '"time_zone":"Europe/Berlin"',
            '"time_zone":"Europe/Nowhere"',
            "'Europe/Nowhere' of site fra is not known",
        ),
        (
            '"time_zone":"Europe/Berlin"',
            '"time_zone":"../../etc"',
            "'../../etc' of site fra is not known",
        ),
        ('"time_zone":"Europe/Berlin"', '"time_zone":""', "the time zone '' of site fra is not known"),
        ('"time_zone":"Europe/Berlin"', '"time_zone":"\\u0000"', "of site fra is not known"),
        ('"time_zone":"Europe/Berlin"', f'"time_zone":"{"x" * 5_000}"', "of site fra is not known"),
        (',"time_zone":"Europe/Berlin"', "", "Object missing required field `time_zone`"),
        (
            '"outages_per_year":1.5',
            '"outages_per_year":-1.5',
            "fra -> ams: outages_per_year = -1.5 is not a",
        ),
        ('"outages_per_year":1.5', '"outages_per_year":1e999', ""),
        (
            '"longest_outage_s":43200',
            '"longest_outage_s":59',
            "fra -> ams: longest_outage = 59s is not from 1m",
        ),
        ('"longest_outage_s":43200', '"longest_outage_s":1' + "0" * 400, ""),
        ('"declared_on":"2026-09-01"', '"declared_on":"2026-09-31"', "Invalid RFC3339"),
        (',"outages":null', "", "Object missing required field `outages`"),
        ('"measured_since_s":null', f'"measured_since_s":{START_S + 86_460}', "or the pair has paths"),
        ('"pairs":[', '"pairs":' + "[" * 100_000, ""),
        ("source,destination", "source,source,destination", "the columns are not source"),
        ("mean_us,p50_us", "p50_us,mean_us", "the columns are not source"),
    ],
)
def test_invalid_headers_are_refused(old: str, new: str, problem: str) -> None:
    """The error has the line and the value."""
    error = refuse(replace_first(old, new))

    assert problem in error
    assert error.startswith("line ")


def test_a_period_without_end_is_refused() -> None:
    """Times have ten digits: a later period cannot be printed as a date."""
    data = write_file().replace(
        b'"start_s":1788739200,"end_s":1788825600', b'"start_s":86400000000000,"end_s":86400000086400'
    )
    assert "is not a period before the year 2286" in refuse(data)


def test_a_header_that_needs_too_much_memory_is_refused() -> None:
    """The size of the columns depends on the header alone."""
    path = b'{"agent":"fra2","target":"ams1","simulated":false}'
    many = b",".join(path.replace(b"fra2", b"a%d" % number) for number in range(200))
    data = write_file().replace(path, many, 1).replace(b'"end_s":1788825600', b'"end_s":1823299200')
    assert "the paths have more than 100,000,000 minutes in total: export fewer pairs or days" in refuse(data)


def change_files() -> list[tuple[str, Callable[[bytes], bytes], str]]:
    """Damage to whole files, and the error."""
    return [
        ("empty", lambda data: b"", "line 1: not a file written by `leadline verdict --export`: it is empty"),
        ("only the header", lambda data: data[: data.index(b"\n") + 1], "line 2: the line is missing"),
        ("only the headers", lambda data: b"\n".join(data.split(b"\n")[:2]) + b"\n", "line 1: the path fra ams fra1"),
        ("cut in a line", lambda data: data[: data.index(b"4090") + 5_000], "line 69: the line has no end"),
        ("cut in the last line", lambda data: data[:-1], "the line has no end"),
        ("cut between paths", lambda data: data[: data.index(b"fra,ams,fra2,ams1")], "line 1: the path fra ams fra2"),
        ("gzip", gzip.compress, "line 1: the file is compressed with gzip; decompress it with gunzip first"),
        ("half a gzip", lambda data: gzip.compress(data)[:500], "line 1: the file is compressed with gzip"),
        ("UTF-16", lambda data: data.decode().encode("utf-16"), "line 1: not a file written by"),
        ("UTF-8 error", lambda data: data.replace(b"fra1,ams1,1", b"fra\xff,ams1,1", 1), "line 3: fra ams fra"),
        ("UTF-8 error in the header", lambda data: data.replace(b'"fra1"', b'"fr\xff"'), "line 1: "),
        ("NUL bytes", lambda data: data + b"\0" * 100 + b"\n", "the row has 1 fields instead of 17"),
        ("a row of 9 MB", lambda data: data.replace(b",60,", b"6" * 9_000_000, 1), "line 3: the row is longer than"),
        ("an empty line", lambda data: data + b"\n", "the row has 0 fields instead of 17"),
        ("a line end in a line", lambda data: data.replace(b",60,60,60,", b",60\r,60,60,", 1), r"expected is '60\r'"),
        ("a duplicate column", lambda data: data.replace(b",sent,", b",sent,sent,", 1), "line 2: the columns are not"),
        ("a header without end", lambda data: data.split(b"\n")[0], "line 1: the line has no end"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "problem"), [case[1:] for case in change_files()], ids=[c[0] for c in change_files()]
)
def test_damaged_files_are_refused(change: Callable[[bytes], bytes], problem: str) -> None:
    """Every error has a line."""
    error = refuse(change(write_file()))

    assert problem in error
    assert error.startswith("line ")


@pytest.mark.parametrize(
    "change",
    [lambda data: b"\xef\xbb\xbf" + data, lambda data: data.replace(b"\n", b"\r\n")],
    ids=["byte order mark", "CRLF"],
)
def test_files_saved_on_windows_are_read(change: Callable[[bytes], bytes]) -> None:
    """A byte order mark and CRLF do not change the windows."""
    before, after = read(write_file()), read(change(write_file()))
    assert evaluate(before) == evaluate(after)


def test_the_order_of_rows_has_a_meaning_for_the_digest_only() -> None:
    """Format 1 reads rows in any order; format 2 refuses another order than the exported one."""
    lines = write_file().decode().splitlines()
    rows = np.random.default_rng(1).permutation(lines[2:]).tolist()
    data = ("\n".join([*lines[:2], *rows]) + "\n").encode()

    assert "line 1: the rows were changed after the export" in refuse(data)
    assert evaluate(read(update_digest(data))) == evaluate(read(write_file()))
    assert evaluate(read(to_first_format(data))) == evaluate(read(to_first_format(write_file())))


def test_a_consistent_change_of_a_value_is_refused() -> None:
    """The digest shows what no other check can; the error has both digests and the remedy."""
    changed = replace_first(f"{KEY},60,60,60,3900,4000,", f"{KEY},60,60,60,3900,4001,")
    before, after = (hashlib.sha256(get_rows(data)).hexdigest() for data in (write_file(), changed))

    assert refuse(changed) == (
        f"line 1: the rows were changed after the export: the header says sha256 {before}, the rows give {after}; "
        "export it again"
    )
    assert read(update_digest(changed)).pairs[0].series[0].mean_us[0] == 4_001


def test_a_digest_of_null_is_refused() -> None:
    """Only format 1 has no digest."""
    assert "sha256 and catalogue must be digests" in refuse(re.sub(rb'"sha256":"\w*"', b'"sha256":null', write_file()))


def test_a_damaged_row_is_reported_before_the_digest() -> None:
    """The line of the damage is more useful than the digest; a missing path is too."""
    lines = write_file().split(b"\n")
    lines[-2] = lines[-2].replace(b",60,60,", b",60,61,", 1)

    assert refuse(b"\n".join(lines)).startswith(f"line {len(lines) - 1}: sent 61 is above expected 60")


def test_the_header_has_what_a_verdict_depends_on() -> None:
    """Rule, digests, time zones and declared outages; the rule is that of the export."""
    header = json.loads(write_file().split(b"\n")[0][2:])
    assert header["rule"] == "leadline-2026-2"
    assert header["sha256"] == hashlib.sha256(write_file().split(b"\n", 1)[1]).hexdigest()
    assert header["catalogue"] == load_catalogue().digest
    assert [site["time_zone"] for site in header["sites"]] == ["Europe/Berlin", "UTC"]
    assert [pair["outages"] for pair in header["pairs"]] == [
        {"outages_per_year": 1.5, "longest_outage_s": 43_200, "declared_on": "2026-09-01"},
        None,
    ]
    windows = read(write_file())
    assert [pair.declared_outages for pair in windows.pairs] == [OUTAGES, None]
    assert [pair.time_zone for pair in windows.pairs] == ["Europe/Berlin", "UTC"]
    assert (windows.rule_id, windows.catalogue_digest) == (RuleEdition.SECOND, load_catalogue().digest)

    file = io.StringIO()
    csv_exchange.write_windows(file, windows.pairs, SITES, edition=RuleEdition.FIRST)
    assert read(file.getvalue().encode()).rule_id is RuleEdition.FIRST


@pytest.mark.parametrize("minute", [DAY, DAY + 7, 2 * DAY - 1])
def test_a_pair_that_was_first_measured_after_the_period_reads_back(minute: int) -> None:
    """The date of its first answer follows from the first window, which is not in the file."""
    file = io.StringIO()
    young = replace(build_pair(build_columns(1)), paths=(), measured_since_s=START_S + 60 * minute)
    csv_exchange.write_windows(file, [young], SITES)

    (pair,) = read(file.getvalue().encode()).pairs
    assert pair.measured_since_s == START_S + 60 * minute
    for since_s in (START_S + 60 * minute + 1, START_S + 60 * (DAY - 1), START_S + 120 * DAY):
        data = file.getvalue().replace(f'_since_s":{young.measured_since_s}', f'_since_s":{since_s}').encode()
        assert f"measured_since_s {since_s} of fra -> ams is not a minute of the day after" in refuse(data)


def test_rows_are_standard_csv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each window is one row, and an undefined value is an empty field; the rows do not depend on the block size."""
    windows = read(write_file())
    monkeypatch.setattr("leadline_verdict.csv_exchange._BLOCK_ROWS", 7)
    file = io.StringIO()
    assert csv_exchange.write_windows(file, windows.pairs, SITES) == DAY + 30 + 30
    assert file.getvalue().encode() == write_file()

    _, columns, *rows = csv.reader(file.getvalue().splitlines())
    assert len(rows) == DAY + 30 + 30
    series = windows.pairs[0].series[0]
    for minute in (0, 100, 505, 620, 660, 902):
        row = dict(zip(columns, rows[minute], strict=True))
        assert [row[name] for name in ("source", "agent", "t")] == ["fra", "fra1", str(START_S + 60 * minute)]
        values = [int(series.get_column(name)[minute]) for name in COLUMNS]
        assert [row[name] for name in COLUMNS] == ["" if value == -1 else str(value) for value in values]


def test_files_of_the_first_format_are_read() -> None:
    """They have no latency percentile, no digest, no declared outages, and the first edition of the rule."""
    first, second = read(to_first_format(write_file())), read(write_file())

    assert (first.rule_id, first.catalogue_digest) == (RuleEdition.FIRST, None)
    assert [pair.declared_outages for pair in first.pairs] == [None, None]
    for before, after in zip(first.pairs, second.pairs, strict=True):
        assert before.propagation_delay == after.propagation_delay
        assert (before.ambiguous_minutes == after.ambiguous_minutes).all()
        for old, new in zip(before.series, after.series, strict=True):
            assert (old.latency_p95_us == -1).all()
            names = [name for name in COLUMNS if name != "latency_p95_us"]
            assert all((old.get_column(name) == new.get_column(name)).all() for name in names)
    assert (second.pairs[0].series[0].latency_p95_us[600:700] != -1).sum() == 50


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"4090,150,20\n", b"4090,150,20,\n", "line 3: the row has 17 fields instead of 16"),
        (b"4090,150,20\n", b"4090,151,20\n", "line 3: pdv_us 151 is not the difference"),
        (b"error_p99_us\n", b"error_p99_us,latency_p95_us\n", "line 2: the columns are not source"),
        (b'"format"', b'"rule":"leadline-2026-1","format"', "line 1: Object contains unknown field `rule`"),
    ],
)
def test_damaged_files_of_the_first_format_are_refused(old: bytes, new: bytes, problem: str) -> None:
    """The checks are those of the format."""
    data = to_first_format(write_file())
    assert old in data
    assert refuse(data.replace(old, new, 1)).startswith(problem)


def test_imported_paths_are_read() -> None:
    """An import has the prefix of an import, which a mesh cannot contain."""
    data = write_file().replace(b"fra1,", b"import:fra,").replace(b'"fra1"', b'"import:fra"')
    assert read(update_digest(data)).pairs[0].paths[0].agent == "import:fra"


def flip_byte(data: bytes, draw: st.DataObject) -> bytes:
    position = draw.draw(st.integers(0, len(data) - 1))
    return data[:position] + bytes([draw.draw(st.integers(0, 255))]) + data[position + 1 :]


def swap_lines(data: bytes, draw: st.DataObject) -> bytes:
    lines = data.split(b"\n")
    first, second = (draw.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


def delete_column(data: bytes, draw: st.DataObject) -> bytes:
    column = draw.draw(st.integers(0, 16))
    first, *rows = data.split(b"\n")
    return b"\n".join([first, *(b",".join(row.split(b",")[:column] + row.split(b",")[column + 1 :]) for row in rows)])


def delete_bytes(data: bytes, draw: st.DataObject) -> bytes:
    first, last = sorted(draw.draw(st.integers(0, len(data))) for _ in range(2))
    return data[:first] + data[last:]


def repeat_line(data: bytes, draw: st.DataObject) -> bytes:
    lines = data.split(b"\n")
    lines.insert(draw.draw(st.integers(0, len(lines))), draw.draw(st.sampled_from(lines)))
    return b"\n".join(lines)


def replace_field(data: bytes, draw: st.DataObject) -> bytes:
    fields = data.split(b",")
    values = (b"", b"0", b"-1", b"60", b"4000", b"2147483648", b"1e9", b"NaN", b'"', b"\0", b"\r\n", b"[[[[")
    fields[draw.draw(st.integers(0, len(fields) - 1))] = draw.draw(st.sampled_from(values))
    return b",".join(fields)


MUTATIONS = (flip_byte, swap_lines, delete_column, delete_bytes, repeat_line, replace_field)


@cache
def small_file() -> bytes:
    """Return the file with few rows, so that a mutation often hits the header."""
    lines = write_file().split(b"\n")
    rows = [line for number, line in enumerate(lines) if number % 10 == 0 and number > 2]
    return update_digest(b"\n".join([*lines[:2], *rows[:10], *rows[60:70], *rows[90:]]) + b"\n")


def test_the_small_file_is_valid() -> None:
    """The mutations start from a file that is read."""
    assert len(read(small_file()).pairs) == 2


def try_read(data: bytes) -> tuple[ExportedWindows | None, str]:
    """Return the windows, or the key of the error."""
    try:
        return read(data), ""
    except ConfigError as error:
        return None, error.key


def mutate(data: bytes, mutations: list[Callable[..., bytes]], draw: st.DataObject) -> bytes:
    """Apply the mutations one after the other."""
    for mutation in mutations:
        data = mutation(data, draw) if data else data
    return data


SOME_MUTATIONS = st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=3)


@given(st.data(), SOME_MUTATIONS)
@settings(max_examples=200, deadline=None)
def test_mutated_rows_are_refused(draw: st.DataObject, mutations: list[Callable[..., bytes]]) -> None:
    """A file of format 2 is refused unless its rows are those that were exported."""
    data = mutate(small_file(), mutations, draw)
    windows, error_key = try_read(data)
    assert error_key.startswith("line ") is (windows is None)
    assert windows is None or get_rows(data) == get_rows(small_file())


@given(st.data(), SOME_MUTATIONS, st.booleans())
@settings(max_examples=300, deadline=None)
def test_mutations_are_read_or_refused_with_the_line(
    draw: st.DataObject, mutations: list[Callable[..., bytes]], is_first_format: bool
) -> None:
    """Without the help of the digest, a damaged file is a ConfigError with a line, or windows that can be evaluated."""
    if is_first_format:
        data = mutate(to_first_format(small_file()), mutations, draw)
    else:
        data = update_digest(mutate(small_file(), mutations, draw))
    windows, error_key = try_read(data)
    assert error_key.startswith("line ") is (windows is None)
    if windows is None:
        return
    for pair in windows.pairs:
        for series in pair.series:
            assert (series.received <= series.sent).all()
            assert (series.sent <= series.expected).all()
            assert all((series.get_column(name) >= -1).all() for name in COLUMNS)
    evaluate(windows)
