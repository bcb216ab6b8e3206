"""Export of single probes: each slot once, as the statistics were computed, whether its hour is compacted or not."""

from __future__ import annotations

import csv
import io
import json
import random
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from leadline.model import WINDOW_S, ErrorBound, Failure, Miss, Pair, Window
from leadline.statistics import compute_window_stats
from leadline.wire import codec
from leadline.wire.probes import PROBE_COLUMNS
from leadline_cli.__main__ import main
from leadline_collector.analysis import probe_export
from leadline_collector.analysis.probe_encoding import CsvEncoder
from leadline_collector.config import Retention
from leadline_collector.db import tables
from leadline_collector.db.engine import StoreUnavailableError
from leadline_collector.db.transactions import ReadTransaction, Store
from leadline_collector.demo.simulation import simulate_windows
from leadline_collector.errors import NotFoundError
from leadline_collector.ingest.imports import ImportOrigin, store_import
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh.store import ActiveTargetCache
from leadline_collector.rollup import probe_reader
from leadline_collector.rollup.retention import apply_retention
from leadline_collector.rollup.worker import run_compaction
from leadline_collector.time_range import TimeRange
from tests.integration.conftest import Client
from tests.support.clock import FakeClock
from tests.support.documents import MESH, NOW_S, build_batch, build_steady_window, build_window
from tests.support.rollup_data import DAY_S, RollupFixture, make_random_windows, read_table

HOUR_S = 3_600
NS_PER_S = 1_000_000_000
FRA_AMS = Pair(source="fra", destination="ams")
NO_RETENTION = Retention(journal_s=None, windows_s=None, raw_s=None, rollups_s=None)
SHORT_S = 3 * DAY_S
#: Path and start of a window.
WindowPlace = tuple[str, str, int]


@pytest.fixture(name="late_clock")
def _late_clock() -> FakeClock:
    """Two hours and five minutes after ``NOW_S``."""
    return FakeClock(wall_ns=(NOW_S + 2 * HOUR_S + 300) * NS_PER_S)


@pytest.fixture(name="site")
def _site(store: Store, late_clock: FakeClock) -> RollupFixture:
    return RollupFixture(store, late_clock)


def export_rows(
    store: Store, start_s: int = NOW_S - 400 * DAY_S, end_s: int = NOW_S + DAY_S, pair: Pair = FRA_AMS
) -> list[dict[str, str]]:
    """Return the rows of an export."""
    export = probe_export.open_probe_export(store, pair, TimeRange(start_s=start_s, end_s=end_s), Retention())
    text = "".join(probe_export.iter_rows(export, CsvEncoder()))
    return list(csv.DictReader(io.StringIO(text)))


def group_windows(rows: Sequence[dict[str, str]]) -> dict[WindowPlace, Window]:
    """Return the windows of exported rows; fail if a slot is missing, repeated or out of order."""
    grouped: defaultdict[WindowPlace, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        grouped[row["agent"], row["target"], parse_minute(row)].append(row)
    assert list(grouped) == sorted(grouped, key=lambda place: (place[2], place[0], place[1]))
    return {place: build_exported_window(place[2], slots) for place, slots in grouped.items()}


def parse_minute(row: dict[str, str]) -> int:
    """Return the start of the window of a row."""
    return int(datetime.fromisoformat(row["time"]).timestamp()) // WINDOW_S * WINDOW_S


def build_exported_window(start_s: int, rows: list[dict[str, str]]) -> Window:
    """Build the window of the rows of a minute."""
    assert [int(row["slot"]) for row in rows] == list(range(len(rows)))
    return Window(
        start_s=start_s,
        interval_ms=WINDOW_S * 1_000 // len(rows),
        rtt_us=tuple(int(row["rtt_us"]) if row["rtt_us"] else None for row in rows),
        misses=tuple(
            Miss(int(row["slot"]), Failure(row["failure"]), int(row["detail"]) if row["detail"] else None)
            for row in rows
            if not row["rtt_us"]
        ),
    )


def assert_same_as_statistics(site: RollupFixture, store: Store) -> None:
    """Check that the export has exactly the stored windows, with the slots of their statistics."""
    windows = group_windows(export_rows(store))
    stored = {
        (agent, "ams1", row["t"]): row for agent in ("fra1", "fra2") for row in site.read_rows(site.find_path(agent))
    }
    assert windows.keys() == stored.keys()
    for place, window in windows.items():
        stats, row = compute_window_stats(window), stored[place]
        names = ("expected", "sent", "received", "min_us", "mean_us", "p50_us", "p95_us", "p99_us", "max_us", "pdv_us")
        assert {name: getattr(stats, name) for name in names} == {name: row[name] for name in names}
        for failure in Failure:
            assert stats.failures.get(failure, 0) == row[tables.FAILURE_COLUMNS[failure]]


@pytest.mark.parametrize("seed", range(2))
def test_every_slot_is_exported_once_before_and_after_compaction(
    site: RollupFixture, store: Store, late_clock: FakeClock, seed: int
) -> None:
    """Two paths; minutes in several batches; late data for compacted hours; an hour that is not over; gaps."""
    rng = random.Random(seed)
    for _ in range(3):
        for agent in ("fra1", "fra2"):
            site.store_windows(*make_random_windows(rng, NOW_S - HOUR_S, NOW_S + 2 * HOUR_S + 240, 0.3), agent=agent)
        assert_same_as_statistics(site, store)
        run_compaction(store, late_clock)
        assert_same_as_statistics(site, store)
    assert len(read_table(store, tables.chunk)) == 6


def test_two_batches_of_a_minute_and_both_halves_of_an_hour(
    site: RollupFixture, store: Store, late_clock: FakeClock
) -> None:
    """A restart within a minute gives one row for each slot; the hour gets its second half after compaction."""
    first = build_window([5_000] * 30 + [None] * 30, missing=Failure.NOT_SENT)
    second = build_window([None] * 31 + [6_000] * 28 + [None], missing=Failure.NOT_SENT)
    site.store_windows(first)
    site.store_windows(second)
    run_compaction(store, late_clock)
    site.store_windows(build_steady_window(7_000, NOW_S + 1_800))

    rows = export_rows(store)

    assert [row["rtt_us"] for row in rows] == ["5000"] * 30 + [""] + ["6000"] * 28 + [""] + ["7000"] * 60
    assert [row["failure"] for row in rows[30:31] + rows[59:60]] == ["not_sent", "not_sent"]
    assert (rows[59]["time"], rows[60]["time"]) == ("2026-11-22T06:00:59.000Z", "2026-11-22T06:30:00.000Z")


def test_a_period_within_an_hour(site: RollupFixture, store: Store, late_clock: FakeClock) -> None:
    """The ends of the period are minutes; the other direction has no probes."""
    site.store_windows(*(build_steady_window(5_000, NOW_S + 60 * minute) for minute in range(60)))
    run_compaction(store, late_clock)

    rows = export_rows(store, NOW_S + 600, NOW_S + 720)

    assert [rows[0]["time"], rows[-1]["time"], len(rows)] == [
        "2026-11-22T06:10:00.000Z",
        "2026-11-22T06:11:59.000Z",
        120,
    ]
    with pytest.raises(NotFoundError, match="nothing was measured"):
        export_rows(store, pair=Pair(source="ams", destination="fra"))
    with pytest.raises(NotFoundError, match="no mesh ever had an agent or host at a site 'xxx'"):
        export_rows(store, pair=Pair(source="fra", destination="xxx"))


def test_a_minute_without_windows_in_a_stored_hour_was_not_measured(
    site: RollupFixture, store: Store, late_clock: FakeClock
) -> None:
    """Neither a compacted nor a dirty hour with other minutes means that probes were deleted."""
    site.store_windows(build_steady_window(5_000), build_steady_window(5_000, NOW_S + 2 * HOUR_S))
    run_compaction(store, late_clock)

    for start_s in (NOW_S + 600, NOW_S + 2 * HOUR_S + 120):
        with pytest.raises(NotFoundError, match="nothing was measured"):
            export_rows(store, start_s, start_s + 60)


#: So old that a whole partition of PostgreSQL has expired.
OLD_S = NOW_S - 70 * DAY_S


@pytest.fixture(name="old_site")
def _old_site(site: RollupFixture, store: Store, late_clock: FakeClock) -> RollupFixture:
    """An hour of windows long ago and one just now, both compacted."""
    for start_s in (OLD_S, NOW_S):
        site.store_windows(*(build_steady_window(5_000, start_s + 60 * minute) for minute in range(60)))
    run_compaction(store, late_clock)
    return site


def test_a_period_of_deleted_probes_is_explained(old_site: RollupFixture, store: Store, late_clock: FakeClock) -> None:
    """The error names the retention and the oldest hour; an export that begins earlier reports where it begins."""
    retention = replace(NO_RETENTION, raw_s=SHORT_S, journal_s=SHORT_S)
    apply_retention(store, retention, late_clock.wall_ns() // NS_PER_S)
    deleted = TimeRange(start_s=OLD_S, end_s=OLD_S + HOUR_S)

    with pytest.raises(NotFoundError) as caught:
        probe_export.open_probe_export(store, FRA_AMS, deleted, retention)
    export = probe_export.open_probe_export(store, FRA_AMS, TimeRange(start_s=OLD_S, end_s=NOW_S + 60), retention)
    recent = probe_export.open_probe_export(store, FRA_AMS, TimeRange(start_s=NOW_S, end_s=NOW_S + 60), retention)

    assert "keeps single probes for 3 days (--keep-raw); the oldest is of 2026-11-22T06:00:00Z" in str(caught.value)
    assert (export.deleted_before_s, recent.deleted_before_s) == (NOW_S, None)
    assert len(list(export.hours)) == 1


def test_the_journal_replaces_deleted_chunks(old_site: RollupFixture, store: Store, late_clock: FakeClock) -> None:
    """The raw RTTs may have a shorter retention than the journal."""
    before = export_rows(store)
    apply_retention(store, replace(NO_RETENTION, raw_s=SHORT_S), late_clock.wall_ns() // NS_PER_S)

    assert len(read_table(store, tables.chunk)) == 1
    assert export_rows(store) == before


def test_chunks_replace_a_deleted_journal(old_site: RollupFixture, store: Store, late_clock: FakeClock) -> None:
    """A late batch makes the hour dirty again; the rest of it comes from the chunk."""
    apply_retention(store, replace(NO_RETENTION, journal_s=SHORT_S), late_clock.wall_ns() // NS_PER_S)
    late = build_window([None] * 59 + [9_000], OLD_S + 60, Failure.NOT_SENT)
    old_site.store_windows(late, build_steady_window(8_000, OLD_S + HOUR_S))

    rows = export_rows(store, OLD_S, OLD_S + 2 * HOUR_S)

    assert [row["rtt_us"] for row in rows] == ["5000"] * HOUR_S + ["8000"] * 60


def store_imported(store: Store, window: Window) -> None:
    """Import a window from a file of ``fra2``."""
    origin = ImportOrigin(source="import:fra2", file="a.log", sha256="0" * 64, format="csv")
    body = codec.encode(build_batch(("ams1", window), agent="import:fra2", mesh_version=0))
    store_import(store, ActiveTargetCache(), (NOW_S + HOUR_S) * 1_000_000, body, "", origin, check=False)


def test_imported_probes_are_marked(site: RollupFixture, store: Store, late_clock: FakeClock) -> None:
    """They are a path of the pair, and an unknown error is empty."""
    site.store_windows(build_steady_window(5_000))
    store_imported(store, build_steady_window(6_000))
    run_compaction(store, late_clock)

    rows = export_rows(store)

    assert [(row["agent"], row["rtt_us"], row["origin"]) for row in rows[::60]] == [
        ("fra1", "5000", "measured"),
        ("import:fra2", "6000", "imported"),
    ]
    assert rows[60]["error_p50_us"] == rows[60]["error_p99_us"] == ""


SIMULATED_MESH = MESH.replace('name = "ams"\n', 'name = "ams"\nsimulated = true\n', 1)


def test_simulated_windows_have_no_single_probes(store: Store, late_clock: FakeClock) -> None:
    """The error explains that; probes that an agent sent to a simulated site are marked."""
    site = RollupFixture(
        store, late_clock, SIMULATED_MESH.replace('name = "fra"\n', 'name = "fra"\nsimulated = true\n', 1)
    )
    with store.read() as reader:
        active_mesh = mesh_service.load_active_mesh(reader)
    assert active_mesh is not None
    simulate_windows(store, active_mesh[1], 1, NOW_S - HOUR_S, NOW_S, 1, lambda count: None)
    for _ in range(2):
        with pytest.raises(NotFoundError, match="simulated windows have no single probes"):
            export_rows(store, NOW_S - HOUR_S, NOW_S)
        run_compaction(store, late_clock)
    site.store_windows(build_steady_window(5_000, NOW_S))

    export = export_rows(store)

    assert {row["origin"] for row in export} == {"simulated"}
    assert len(export) == 60


def test_every_hour_is_a_transaction_of_its_own(
    old_site: RollupFixture, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No transaction is open between two hours, so a slow client keeps no snapshot open."""
    open_count, read = 0, store.read

    @contextmanager
    def count_read() -> Iterator[ReadTransaction]:
        nonlocal open_count
        open_count += 1
        with read() as reader:
            yield reader
        open_count -= 1

    monkeypatch.setattr(store, "read", count_read)
    period = TimeRange(start_s=OLD_S, end_s=NOW_S + HOUR_S)
    export = probe_export.open_probe_export(store, FRA_AMS, period, Retention())

    assert [open_count for _ in export.hours] == [0, 0]


# Over HTTP and with the command


@pytest.fixture(name="key_file")
def _key_file(client: Client, tmp_path: Path) -> Path:
    """The administrator's key in a file."""
    path = tmp_path / "the.key"
    path.write_text(client.admin_key)
    return path


def run(client: Client, key_file: Path, *words: str | Path) -> int:
    """Run a command against the collector; return its exit status."""
    return main([*map(str, words), "--collector", client.url, "--admin-key-file", str(key_file)])


PERIOD = f"from={NOW_S}&to={NOW_S + 1_800}"
PROBES = f"/api/v1/pairs/fra/ams/probes?{PERIOD}"
EXPORT = ("export", "rtts", "--pair", "fra,ams", "--from", str(NOW_S), "--to", str(NOW_S + 1_800))


def test_the_route_streams_both_formats(client: Client, fra1: str) -> None:
    """CSV is the default; both have the same rows."""
    lost = build_window([4_900] * 59 + [None])
    assert client.post(build_batch(("ams1", lost)), fra1).status == 200

    as_csv, as_jsonl = client.send("GET", PROBES), client.send("GET", f"{PROBES}&format=jsonl")

    assert (as_csv.status, as_csv.headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert as_csv.headers["Transfer-Encoding"] == "chunked"
    assert as_jsonl.headers["Content-Type"] == "application/x-ndjson"
    csv_rows = list(csv.DictReader(io.StringIO(as_csv.body.decode())))
    json_rows = [json.loads(line) for line in as_jsonl.body.splitlines()]
    assert tuple(csv_rows[0]) == tuple(json_rows[0]) == PROBE_COLUMNS
    assert csv_rows == [{name: "" if value is None else str(value) for name, value in row.items()} for row in json_rows]
    assert (csv_rows[-1]["rtt_us"], csv_rows[-1]["failure"]) == ("", "timeout")


@pytest.mark.parametrize(
    ("path", "status", "problem"),
    [
        (f"/api/v1/pairs/fra/xxx/probes?{PERIOD}", 404, "no mesh ever had an agent or host at a site 'xxx'"),
        (f"/api/v1/pairs/fra/fra/probes?{PERIOD}", 404, "a pair joins two sites"),
        (PROBES, 404, "nothing was measured"),
        (f"/api/v1/pairs/fra/ams/probes?from={NOW_S + 60}&to={NOW_S}", 422, "from: the period has no complete minute"),
        (f"/api/v1/pairs/fra/ams/probes?from={NOW_S + DAY_S}", 422, "from: the period has no complete minute"),
        (f"/api/v1/pairs/fra/ams/probes?from={NOW_S - 500 * DAY_S}", 422, "longer than 400 days"),
        (f"{PROBES}&format=parquet", 422, "query.format"),
    ],
)
def test_a_request_without_a_result_is_a_problem(
    client: Client, fra1: str, path: str, status: int, problem: str
) -> None:
    """The response has a status and a reason, and is not an empty file."""
    answer = client.send("GET", path)

    assert answer.status == status
    assert problem in answer.json()["detail"]


def test_an_export_is_imported_with_the_same_rtts_and_losses(
    client: Client, fra1: str, key_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The export of the import differs in its path and origin only."""
    rng, windows = random.Random(8), []
    for minute in (0, 1, 2, 5):
        (window,) = make_random_windows(rng, NOW_S + 60 * minute, NOW_S + 60 * minute + 60, 1.1)
        windows.append(("ams1", replace(window, error_bound=ErrorBound(p50_us=3, p99_us=17 + minute))))
    assert client.post(build_batch(*windows), fra1).status == 200
    file = tmp_path / "pings.csv"

    assert run(client, key_file, *EXPORT, "--output", file) == 0
    assert capsys.readouterr().err == f"240 probes in {file}\n"
    assert run(client, key_file, "import", "csv", file, "--src", "fra2", "--dst", "ams1") == 0
    assert "slot and origin of the export are not imported" in capsys.readouterr().out
    assert run(client, key_file, *EXPORT) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))

    by_agent = {
        agent: [
            {name: row[name] for name in PROBE_COLUMNS[2:9]} | {"time": row["time"]}
            for row in rows
            if row["agent"] == agent
        ]
        for agent in ("fra1", "import:fra2")
    }
    assert len(by_agent["fra1"]) == 240
    assert by_agent["fra1"] == by_agent["import:fra2"]


def test_one_path_of_several_is_imported(
    client: Client, fra1: str, key_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The importer asks for the path."""
    fra2 = client.key("fra2", "fra")
    assert client.post(build_batch(("ams1", build_steady_window(5_000))), fra1).status == 200
    assert client.post(build_batch(("ams1", build_steady_window(6_000)), agent="fra2"), fra2).status == 200
    file, names = tmp_path / "pings.csv", ("--src", "fra", "--dst", "ams1", "--dry-run")
    assert run(client, key_file, *EXPORT, "--output", file) == 0
    capsys.readouterr()

    assert run(client, key_file, "import", "csv", file, *names) == 2
    assert "--host: is required: the file has several paths: fra1,ams1; fra2,ams1" in capsys.readouterr().err
    assert run(client, key_file, "import", "csv", file, *names, "--host", "x,ams1") == 2
    assert "--host: the file has no path 'x,ams1'; it has fra1,ams1; fra2,ams1" in capsys.readouterr().err
    assert run(client, key_file, "import", "csv", file, *names, "--host", "fra2,ams1", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["sent"], document["rtt_us"]["max"]) == (60, 6_000)


def test_an_interrupted_download_leaves_no_file(
    client: Client,
    fra1: str,
    key_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The database fails after the first piece: the command fails, and a file that exists stays."""
    assert client.post(build_batch(("ams1", build_steady_window(5_000))), fra1).status == 200
    load, calls = probe_reader.load_hour_probes, 0

    def fail_later(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise StoreUnavailableError("the database failed")
        return load(*args)

    monkeypatch.setattr(probe_reader, "load_hour_probes", fail_later)
    monkeypatch.setattr(probe_reader, "load_hours", lambda *args: [NOW_S, NOW_S + HOUR_S])
    monkeypatch.setattr(probe_export, "PIECE_LENGTH", 1)
    file = tmp_path / "pings.csv"
    file.write_text("before")

    assert run(client, key_file, *EXPORT, "--output", file, "--force") == 2

    assert "ended early" in capsys.readouterr().err
    assert file.read_text() == "before"
    assert [path.name for path in tmp_path.glob("pings*")] == ["pings.csv"]


def test_a_file_is_replaced_only_with_force(
    client: Client, fra1: str, key_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also a problem of the collector leaves it as it is."""
    file = tmp_path / "pings.csv"
    file.write_text("before")

    assert run(client, key_file, *EXPORT, "--output", file) == 2
    assert f"--output: {file} exists" in capsys.readouterr().err
    assert run(client, key_file, *EXPORT, "--output", file, "--force") == 2
    assert "nothing was measured" in capsys.readouterr().err
    assert file.read_text() == "before"
    assert client.post(build_batch(("ams1", build_steady_window(5_000))), fra1).status == 200
    assert run(client, key_file, *EXPORT, "--output", file, "--force", "--format", "jsonl") == 0
    assert len(file.read_text().splitlines()) == 60


def test_progress_is_shown_on_a_terminal(
    client: Client,
    fra1: str,
    key_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The line has the number of probes and the time; it is erased at the end."""
    assert client.post(build_batch(("ams1", build_steady_window(5_000))), fra1).status == 200
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    file = tmp_path / "pings.jsonl"

    assert run(client, key_file, *EXPORT, "--format", "jsonl", "--output", file) == 0

    assert capsys.readouterr().err == f"\r\x1b[K60 probes, to 2026-11-22T06:00Z\r\x1b[K60 probes in {file}\n"


def test_a_closed_pipe_is_no_error_and_a_pipe_is_silent(client: Client, fra1: str, key_file: Path) -> None:
    """``| head -1`` ends the command with status 0; nothing goes to standard error."""
    windows = [("ams1", build_steady_window(5_000, NOW_S + 60 * minute)) for minute in range(30)]
    assert client.post(build_batch(*windows), fra1).status == 200
    words = [*EXPORT, "--collector", client.url, "--admin-key-file", str(key_file)]
    command = shlex.join([sys.executable, "-m", "leadline_cli", *words])

    for pipeline, line_count in ((f"{command} | head -1", 1), (command, 1_801)):
        result = subprocess.run(
            ["bash", "-o", "pipefail", "-c", pipeline], capture_output=True, text=True, timeout=60, check=False
        )

        assert (result.returncode, result.stderr) == (0, "")
        assert len(result.stdout.splitlines()) == line_count


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--pair", "fra"), "--pair: expected two different sites"),
        (("--pair", "fra,fra"), "--pair: expected two different sites"),
        (("--pair", "fra,ams", "--force"), "--force: needs --output"),
        (("--pair", "fra,ams", "--output", "/nonexistent/pings.csv"), "--output: cannot write"),
    ],
)
def test_a_wrong_option_is_named(
    client: Client, fra1: str, key_file: Path, words: Sequence[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, one line."""
    assert client.post(build_batch(("ams1", build_steady_window(5_000, NOW_S + 3_480))), fra1).status == 200

    assert run(client, key_file, "export", "rtts", *words) == 2

    assert problem in capsys.readouterr().err
