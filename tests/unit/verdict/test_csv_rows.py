"""The CSV exchange file is consistent or refused with the line of its first error."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.errors import ConfigError
from leadline.limits.catalogue import load_catalogue
from leadline.model import Site
from leadline_verdict import csv_exchange
from leadline_verdict.csv_exchange import ExportedWindows
from leadline_verdict.decision import VerdictRule
from leadline_verdict.report import ReportParams, build_report
from leadline_verdict.requirements import LimitOverrides, build_requirements
from leadline_verdict.series import COLUMNS
from tests.support.window_factories import DAY, START_S, add_delay, build_columns, build_pair, drop_minutes, lose_probes

SITES = (
    Site(name="fra", latitude_deg=50.0, longitude_deg=8.0),
    Site(name="ams", latitude_deg=52.0, longitude_deg=5.0),
)
LIMIT = build_requirements(
    load_catalogue(), None, LimitOverrides(values={}, declared_values={}, custom_limits=("p95 <= 5 ms", "pdv <= 1 ms"))
)
#: First row of the file, a complete window.
FIRST = f"fra,ams,fra1,ams1,{START_S},60,60,60,3900,4000,4000,4050,4080,4090,150,20"
KEY = f"fra,ams,fra1,ams1,{START_S}"


@cache
def write_file() -> bytes:
    """Write one day of two directions: two paths, missing windows, losses, ambiguous and explained minutes."""
    first, second = build_columns(1), build_columns(1)
    add_delay(first, range(100, 130))
    lose_probes(first, range(500, 510), lost=20)
    lose_probes(first, range(900, 905))
    first["error_p99_us"][200:300] = -1
    drop_minutes(second, range(30, DAY))
    forward, backward = build_pair(first, second), replace(build_pair(second), source="ams", destination="fra")
    ambiguous = forward.ambiguous_minutes.copy()
    ambiguous[900:905] = True
    file = io.StringIO()
    csv_exchange.write_windows(file, [replace(forward, ambiguous_minutes=ambiguous), backward], SITES)
    return file.getvalue().encode()


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
        ("61,60,60,3900,4000,4000,4050,4080,4090,150,20", "expected 61 is not a number of probes in a minute"),
        ("0,0,0,,,,,,,,20", "expected 0 is not a number of probes in a minute"),
        ("6001,60,60,3900,4000,4000,4050,4080,4090,150,20", "expected is out of range: expected 6001"),
        ("60,,60,3900,4000,4000,4050,4080,4090,150,20", "sent empty; a count is required"),
        ("60,75,60,3900,4000,,,,4090,,20", "sent 75 is above expected 60"),
        ("60,50,60,3900,4000,4000,4050,4080,4090,150,20", "received 60 is above sent 50"),
        ("60,60,60,,4000,4000,4050,4080,4090,150,20", "min_us empty with received 60 of sent 60: a value is required"),
        ("60,60,60,3900,4000,4000,,4080,4090,,20", "p95_us empty with received 60 of sent 60: a value is required"),
        ("60,60,60,3900,4000,4000,4050,4080,4090,,20", "pdv_us empty with received 60 of sent 60: a value is required"),
        ("60,60,0,3900,,,,,,,20", "min_us 3900 with received 0 of sent 60: the field must be empty"),
        ("60,0,0,,,,,,4090,,20", "max_us 4090 with received 0 of sent 0: the field must be empty"),
        ("60,60,56,3900,4000,4000,4050,,4090,150,20", "p95_us 4050 with received 56 of sent 60: the field must be"),
        ("60,60,29,3900,4000,4000,,,4090,,20", "p50_us 4000 with received 29 of sent 60: the field must be empty"),
        ("60,60,60,4001,4001,4000,4050,4080,4090,49,20", "min_us 4001 is above p50_us 4000"),
        ("60,60,60,3900,4000,4060,4050,4080,4090,150,20", "p50_us 4060 is above p95_us 4050"),
        ("60,60,60,3900,4000,4000,4085,4080,4090,185,20", "p95_us 4085 is above p99_us 4080"),
        ("60,60,60,3900,4000,4000,4050,4091,4090,150,20", "p99_us 4091 is above max_us 4090"),
        ("60,60,57,3900,4000,4000,4100,,4090,200,20", "p95_us 4100 is above max_us 4090"),
        ("60,60,60,3900,3899,4000,4050,4080,4090,150,20", "min_us 3900 is above mean_us 3899"),
        ("60,60,60,3900,4091,4000,4050,4080,4090,150,20", "mean_us 4091 is above max_us 4090"),
        ("60,60,60,3900,4000,4000,4050,4080,4090,149,20", "pdv_us 149 is not the difference of p95_us 4050 and min_us"),
        ("60,60,60,3900,4000,4000,4050,4080,60000001,150,20", "max_us is out of range: max_us 60000001"),
        ("60,60,60,3900,4000,4000,4050,4080,4090,150,99999999999999999999", "error_p99_us is out of range: 9999"),
        ("60,60,60,3900,4000,4000,4050,4080,4090,150,9223372036854775808", "error_p99_us is out of range: 9223372"),
        ("60,60,60,3900,nan,4000,4050,4080,4090,150,20", "invalid literal for a whole number: mean_us is 'nan'"),
        ("60,60,60,3900,inf,4000,4050,4080,4090,150,20", "invalid literal for a whole number: mean_us is 'inf'"),
        ("60,60,60,3900,4e3,4000,4050,4080,4090,150,20", "invalid literal for a whole number: mean_us is '4e3'"),
        ("60,60,60,3900,4_000,4000,4050,4080,4090,150,20", "invalid literal for a whole number: mean_us is '4_000'"),
        ("60,60,60,3900, 4000,4000,4050,4080,4090,150,20", "invalid literal for a whole number: mean_us is ' 4000'"),
        ("60,60,60,3900,-1,4000,4050,4080,4090,150,20", "mean_us is out of range: -1"),
        ("60,60,60,3900,4\0,4000,4050,4080,4090,150,20", r"invalid literal for a whole number: mean_us is '4\x00'"),
        ("60,60,60,3900,\u0664,4000,4050,4080,4090,150,20", "invalid literal for a whole number: mean_us is '\u0664'"),
        ("60,60,60,3900," + "4" * 1_000 + ",4000,4050,4080,4090,150,20", "mean_us is out of range: 4444"),
        ("60,60,60,3900,4000,4000,4050,4080,4090,150,20,7", "the row has 17 fields instead of 16"),
        ("60,60,60,3900,4000,4000,4050,4080,4090,150", "the row has 15 fields instead of 16"),
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
        ("cut in a line", lambda data: data[:5_000], "line 60: the line has no end"),
        ("cut in the last line", lambda data: data[:-1], "the line has no end"),
        ("cut between paths", lambda data: data[: data.index(b"fra,ams,fra2,ams1")], "line 1: the path fra ams fra2"),
        ("gzip", gzip.compress, "line 1: the file is compressed with gzip; decompress it with gunzip first"),
        ("half a gzip", lambda data: gzip.compress(data)[:500], "line 1: the file is compressed with gzip"),
        ("UTF-16", lambda data: data.decode().encode("utf-16"), "line 1: not a file written by"),
        ("UTF-8 error", lambda data: data.replace(b"fra1,ams1,1", b"fra\xff,ams1,1", 1), "line 3: fra ams fra"),
        ("UTF-8 error in the header", lambda data: data.replace(b'"fra1"', b'"fr\xff"'), "line 1: "),
        ("NUL bytes", lambda data: data + b"\0" * 100 + b"\n", "the row has 1 fields instead of 16"),
        ("a row of 9 MB", lambda data: data.replace(b",60,", b"6" * 9_000_000, 1), "line 3: the row is longer than"),
        ("an empty line", lambda data: data + b"\n", "the row has 0 fields instead of 16"),
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


def test_rows_in_any_order_are_read() -> None:
    """The order of rows has no meaning."""
    lines = write_file().decode().splitlines()
    rows = np.random.default_rng(1).permutation(lines[2:]).tolist()

    assert evaluate(read(("\n".join([*lines[:2], *rows]) + "\n").encode())) == evaluate(read(write_file()))


def test_imported_paths_are_read() -> None:
    """An import has the prefix of an import, which a mesh cannot contain."""
    windows = read(write_file().replace(b"fra1,", b"import:fra,").replace(b'"fra1"', b'"import:fra"'))
    assert windows.pairs[0].paths[0].agent == "import:fra"


def flip_byte(data: bytes, draw: st.DataObject) -> bytes:
    position = draw.draw(st.integers(0, len(data) - 1))
    return data[:position] + bytes([draw.draw(st.integers(0, 255))]) + data[position + 1 :]


def swap_lines(data: bytes, draw: st.DataObject) -> bytes:
    lines = data.split(b"\n")
    first, second = (draw.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


def delete_column(data: bytes, draw: st.DataObject) -> bytes:
    column = draw.draw(st.integers(0, 15))
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
    return b"\n".join([*lines[:2], *rows[:10], *rows[90:]]) + b"\n"


def test_the_small_file_is_valid() -> None:
    """The mutations start from a file that is read."""
    assert len(read(small_file()).pairs) == 2


def try_read(data: bytes) -> tuple[ExportedWindows | None, str]:
    """Return the windows, or the key of the error."""
    try:
        return read(data), ""
    except ConfigError as error:
        return None, error.key


@given(st.data(), st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_mutations_are_read_or_refused_with_the_line(
    draw: st.DataObject, mutations: list[Callable[..., bytes]]
) -> None:
    """A damaged file is a ConfigError with a line, or windows that can be evaluated; never another exception."""
    data = small_file()
    for mutation in mutations:
        data = mutation(data, draw) if data else data
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
