"""The matrix and the windows of its pairs, compared with a slow reference that evaluates row by row."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from leadline import evaluation
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.parser import parse_mesh
from leadline.model import Failure, Window
from leadline.propagation import compute_propagation_delay
from leadline.statistics import compute_window_stats
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import store as mesh_store
from leadline_collector.windows import store as window_store
from leadline_collector.windows.rows import build_window_row
from tests.integration.conftest import Client
from tests.support.clock import FakeClock
from tests.support.documents import MESH, NOW_S, build_batch, build_steady_window, build_window

PROFILE = "vcf9-stretched-cluster"
#: A limit of this profile is superseded.
WEAK_PROFILE = "netapp-metrocluster-ip"
MATRIX = f"/api/v1/matrix?profile={PROFILE}"
#: The hour from NOW_S, without the last minute; the tests' clock is at the end of the hour.
HOUR = f"&from={NOW_S}&to={NOW_S + 3_600 - 60}"


def cell(document: Any, source: str = "fra", destination: str = "ams") -> Any:
    """Return one pair of a matrix."""
    (pair,) = [pair for pair in document["pairs"] if (pair["source"], pair["destination"]) == (source, destination)]
    return pair


def make_random_window(rng: random.Random, start_s: int) -> Window:
    """Return a window of any state: fast, slow, lossy, half measured, not measured."""
    level = rng.choice([3_000, 4_990, 5_000, 5_010, 9_000])
    lost, unsent = rng.choice([0, 0, 2, 4, 13]), rng.choice([0, 0, 0, 12, 13, 60])
    missing = set(rng.sample(range(60), max(lost, unsent)))
    rtts = [None if slot in missing else level + rng.randint(0, 20) for slot in range(60)]
    return build_window(rtts, start_s, Failure.NOT_SENT if unsent > lost else Failure.TIMEOUT)


def reference(windows: dict[int, list[Window]], profile: str, period: int) -> Counter[str]:
    """Return the state counts of a period of ``period`` windows, evaluated one by one."""
    criteria = evaluation.plan_evaluation(
        load_catalogue().get_required_limits(load_catalogue().get_profile(profile))
    ).criteria
    counts: Counter[str] = Counter()
    for paths in windows.values():
        states = [evaluation.evaluate_profile(compute_window_stats(window), criteria) for window in paths]
        counts[evaluation.combine_paths(states).worst_case.value] += 1
    counts["unknown"] += period - len(windows)
    return counts


@pytest.mark.parametrize("profile", [PROFILE, "vsan-stretched", "vsphere-long-distance-vmotion"])
@pytest.mark.parametrize("agents", [("fra1",), ("fra1", "fra2")])
def test_the_counts_are_those_of_a_slow_reference(
    client: Client, fra1: str, profile: str, agents: tuple[str, ...]
) -> None:
    """Forty random minutes of a pair with one or two paths, and nineteen minutes without a row."""
    rng = random.Random(f"{profile}{agents}")
    keys = {"fra1": fra1, "fra2": client.key("fra2", "fra")}
    windows: dict[int, list[Window]] = {}
    for agent in agents:
        sent = [make_random_window(rng, NOW_S + 60 * n) for n in sorted(rng.sample(range(59), 40))]
        client.post(build_batch(*(("ams1", window) for window in sent), agent=agent), keys[agent])
        for window in sent:
            windows.setdefault(window.start_s, []).append(window)

    pair = cell(client.get(f"/api/v1/matrix?profile={profile}{HOUR}"))

    expected = reference(windows, profile, 59)
    assert {state: pair["pessimistic"][state] for state in ("good", "bad", "unavailable", "unknown")} == {
        state: expected[state] for state in ("good", "bad", "unavailable", "unknown")
    }
    known_count = 59 - expected["unknown"]
    assert pair["pessimistic"]["good_ratio"] == pytest.approx(expected["good"] / known_count)
    assert pair["pessimistic"]["coverage_ratio"] == pytest.approx(known_count / 59)
    assert (pair["windows_expected"], pair["paths"]) == (59, len(agents))


def test_the_latest_window_gives_the_state(client: Client, fra1: str) -> None:
    """State, time and percentiles are those of the latest window; the minimum is of the whole period."""
    client.post(
        build_batch(("ams1", build_steady_window(2_000, NOW_S)), ("ams1", build_steady_window(90_000, NOW_S + 120))),
        fra1,
    )

    pair = cell(client.get(f"{MATRIX}&from={NOW_S}&to={NOW_S + 300}"))

    assert (pair["state"], pair["state_at"], pair["state_at_iso"]) == ("bad", NOW_S + 120, "2026-11-22T06:02:00Z")
    assert pair["rtt_us"] == {"min": 2_000, "p50": 90_000, "p95": 90_000}


def test_an_old_window_is_no_state(client: Client, fra1: str) -> None:
    """A pair with its latest window four minutes before the end is unknown; the matrix has the time of that window."""
    client.post(build_batch(("ams1", build_steady_window(2_000, NOW_S))), fra1)

    assert cell(client.get(f"{MATRIX}&from={NOW_S}&to={NOW_S + 180}"))["state"] == "good"
    late = cell(client.get(f"{MATRIX}&from={NOW_S}&to={NOW_S + 240}"))
    assert (late["state"], late["state_at"]) == ("unknown", NOW_S)


def test_directions_are_separate(client: Client, fra1: str) -> None:
    """Windows from Frankfurt do not count for the direction from Amsterdam."""
    client.post(build_batch(("ams1", build_steady_window(2_000, NOW_S))), fra1)

    other = cell(client.get(MATRIX + HOUR), "ams", "fra")

    assert (other["state"], other["state_at"], other["paths"]) == ("unknown", None, 0)
    assert other["pessimistic"]["good_ratio"] is None
    assert other["rtt_us"] == {"min": None, "p50": None, "p95": None}


def test_a_period_is_half_open(client: Client, fra1: str) -> None:
    """The window at ``from`` counts, the one at ``to`` does not."""
    client.post(
        build_batch(("ams1", build_steady_window(2_000, NOW_S)), ("ams1", build_steady_window(2_000, NOW_S + 60))), fra1
    )

    pair = cell(client.get(f"{MATRIX}&from={NOW_S}&to={NOW_S + 60}"))

    assert (pair["pessimistic"]["good"], pair["windows_expected"]) == (1, 1)


def test_time_zones_are_the_same_instant(client: Client, fra1: str) -> None:
    """Epoch, UTC, local time with an offset (the plus escaped or not) and relative time give the same period."""
    client.post(build_batch(("ams1", build_steady_window(2_000, NOW_S))), fra1)
    periods = [
        f"&from={NOW_S}&to={NOW_S + 60}",
        "&from=2026-11-22T06:00:00Z&to=2026-11-22T06:01:00Z",
        "&from=2026-11-22T07:00:00%2B01:00&to=2026-11-22T07:01:00+01:00",
        "&from=2026-11-21T22:00:00-08:00&to=2026-11-21T22:01:30-08:00",
        "&from=-59m&to=-58m",
    ]

    answers = [client.get(MATRIX + period) for period in periods]

    assert all(answer == answers[0] for answer in answers)
    assert (answers[0]["from"], answers[0]["to_iso"]) == (NOW_S, "2026-11-22T06:01:00Z")


def test_the_default_is_the_last_day(client: Client, fra1: str) -> None:
    """24 hours up to the last minute whose windows have had time to arrive."""
    answer = client.get(MATRIX)

    assert answer["to"] == NOW_S + 3_600 - 60
    assert answer["to"] - answer["from"] == 86_400


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("&from=yesterday", "from"),
        ("&from=2026-11-22T06:00:00", "from"),
        ("&to=-1", "to"),
        (f"&from={NOW_S}&to={NOW_S}", "from"),
        (f"&from={NOW_S + 7_200}", "from"),
        ("&from=0", "from"),
        ("&from=99999999999", "from"),
        ("&group=unknown", "group"),
    ],
)
def test_an_invalid_parameter_is_named(client: Client, fra1: str, query: str, path: str) -> None:
    """422 with the parameter."""
    answer = client.send("GET", MATRIX + query)

    assert (answer.status, answer.json()["path"]) == (422, path)


def test_a_profile_has_its_limits_with_sources(client: Client) -> None:
    """Evaluated limits have a rule, the others a reason; all have a source."""
    profile = client.get(MATRIX)["profile"]

    assert profile["id"] == PROFILE
    for limit in profile["limits"]:
        assert limit["source"]["title"]
        assert (limit["rule"] is None) != (limit["reason"] is None)
        assert limit["judged"] == (limit["limit_us"] is not None)
    assert any(limit["judged"] for limit in profile["limits"])


def test_the_catalogue_is_listed(client: Client) -> None:
    """Every profile of the catalogue, with the digest of its file."""
    answer = client.get("/api/v1/profiles")

    assert [profile["id"] for profile in answer["profiles"]] == list(load_catalogue().profiles)
    assert answer["catalogue"] == load_catalogue().digest


def test_only_the_pairs_of_a_group(client: Client, fra1: str) -> None:
    """A request for a group of one direction omits the other direction."""
    client.apply(MESH + '[[group]]\nname = "storage"\nkind = "pairs"\npairs = [["ams", "fra"]]\n')

    answer = client.get(f"{MATRIX}&group=storage")

    assert [(pair["source"], pair["groups"]) for pair in answer["pairs"]] == [("ams", ["metro", "storage"])]


SIMULATED = MESH.replace("longitude = 4.9", "longitude = 4.9\nsimulated = true").replace(
    "longitude = 8.7", "longitude = 8.7\nsimulated = true"
)


def test_simulated_sites_are_marked(client: Client) -> None:
    """The mark applies also without data."""
    client.apply(SIMULATED)

    answer = client.get(MATRIX)

    assert answer["simulated"] is True
    assert [pair["simulated"] for pair in answer["pairs"]] == [True, True]


def test_rows_without_a_batch_are_marked_as_simulated(client: Client, store: Store, fra1: str) -> None:
    """The mark does not depend on the mesh."""
    with store.read() as reader:
        src_id, dst_id = (
            mesh_store.load_agent_ids(reader.connection, ["fra1"])["fra1"],
            mesh_store.load_target_ids(reader.connection, ["ams1"])["ams1"],
        )
    stats = compute_window_stats(build_steady_window(2_000))
    store.ensure_partitions([NOW_S])
    with store.write() as writer:
        window_store.add_windows(
            writer.connection,
            src_id,
            [build_window_row(src_id, dst_id, NOW_S, 1_000, stats, mesh_version=1, batch=None)],
        )

    answer = client.get(MATRIX + HOUR)

    assert (answer["simulated"], cell(answer)["simulated"], cell(answer, "ams", "fra")["simulated"]) == (
        True, True, False,
    )  # fmt: skip
    assert client.get(f"/api/v1/pairs/fra/ams/windows?from={NOW_S}")["simulated"] is True


def test_windows_of_a_pair_name_path_and_batch(client: Client, fra1: str) -> None:
    """Each minute has its paths with statistics, failures, state and batch."""
    fra2 = client.key("fra2", "fra")
    client.post(
        build_batch(
            ("ams1", build_steady_window(2_000, NOW_S)), ("ams1", build_steady_window(90_000, NOW_S + 60)), seq=5
        ),
        fra1,
    )
    client.post(build_batch(("ams1", build_window([3_000] * 58 + [None] * 2, NOW_S)), agent="fra2"), fra2)

    answer = client.get(f"/api/v1/pairs/fra/ams/windows?from={NOW_S}&profile={PROFILE}")

    assert [(window["t"], window["state"], len(window["paths"])) for window in answer["windows"]] == [
        (NOW_S, "good", 2),
        (NOW_S + 60, "bad", 1),
    ]
    first, second = answer["windows"][0]["paths"]
    assert (first["agent"], first["target"], first["p95_us"], first["seq"]) == ("fra1", "ams1", 2_000, 5)
    assert (second["failures"], second["received"], second["state"]) == ({"timeout": 2}, 58, "good")
    assert (answer["simulated"], answer["next_from"]) == (False, None)


def test_windows_come_in_pages(client: Client, fra1: str) -> None:
    """A page has whole minutes and the start of the next page; all pages together have every minute once."""
    client.post(build_batch(*(("ams1", build_steady_window(2_000, NOW_S + 60 * n)) for n in range(5))), fra1)
    path, pages = "/api/v1/pairs/fra/ams/windows", []

    start: int | None = NOW_S
    while start is not None:
        page = client.get(f"{path}?from={start}&limit=2")
        pages.append([window["t"] for window in page["windows"]])
        start = page["next_from"]

    assert pages == [[NOW_S, NOW_S + 60], [NOW_S + 120, NOW_S + 180], [NOW_S + 240]]


@pytest.mark.parametrize("pair", ["fra/lon", "lon/fra", "fra/fra"])
def test_an_unknown_pair_is_not_found(client: Client, fra1: str, pair: str) -> None:
    """404 for unknown sites, and for a site with itself."""
    assert client.send("GET", f"/api/v1/pairs/{pair}/windows").status == 404


def test_a_period_follows_the_clock(client: Client, fra1: str, clock: FakeClock) -> None:
    """The end of the default period follows the clock."""
    before = client.get(MATRIX)["to"]

    clock.advance(600 * 1_000_000_000)

    assert client.get(MATRIX)["to"] == before + 600


def post_steady(client: Client, key: str, *windows: Window) -> None:
    """Send windows of fra1 to ams1 as an agent does."""
    assert client.post(build_batch(*(("ams1", window) for window in windows)), key).status == 200


def test_a_pair_names_the_origin_of_its_windows(client: Client, fra1: str) -> None:
    """A measured pair says so; a pair without a window has no origin and no unknown minutes."""
    slow_agent = Window(start_s=NOW_S + 60, interval_ms=2_000, rtt_us=(4_000,) * 30, misses=())
    post_steady(client, fra1, build_steady_window(4_000), slow_agent)

    answer = client.get(f"{MATRIX}&from={NOW_S}&to={NOW_S + 300}")

    pair, other = cell(answer), cell(answer, "ams", "fra")
    assert (pair["data"], pair["probes_per_window"], pair["unknown_minutes"]) == (["measured"], 30, 3)
    assert (pair["measured_since"], pair["measured_since_iso"]) == (None, None)
    assert (other["data"], other["probes_per_window"], other["unknown_minutes"]) == ([], None, 0)


def test_a_young_pair_names_its_first_window(client: Client, fra1: str) -> None:
    """Only the minutes since its first window can be unknown; a gap of less than an hour is no time before it."""
    post_steady(client, fra1, build_steady_window(4_000), build_steady_window(4_000, NOW_S + 120))

    day = cell(client.get(f"{MATRIX}&from={NOW_S - 86_400}&to={NOW_S + 180}"))
    short = cell(client.get(f"{MATRIX}&from={NOW_S - 3_540}&to={NOW_S + 180}"))

    assert (day["measured_since"], day["measured_since_iso"]) == (NOW_S, "2026-11-22T06:00:00Z")
    assert (day["unknown_minutes"], day["pessimistic"]["unknown"]) == (1, 1_441)
    assert (short["measured_since"], short["unknown_minutes"]) == (None, 60)


def test_a_pair_with_windows_before_the_period_is_not_young(client: Client, fra1: str) -> None:
    """A gap at the start of the period is not the time before the first window."""
    post_steady(client, fra1, build_steady_window(4_000, NOW_S - 86_400 + 1_800), build_steady_window(4_000))

    gap = cell(client.get(f"{MATRIX}&from={NOW_S - 43_200}&to={NOW_S + 60}"))
    young = cell(client.get(f"{MATRIX}&from={NOW_S - 2 * 86_400}&to={NOW_S + 60}"))

    assert (gap["measured_since"], gap["unknown_minutes"]) == (None, 720)
    assert young["measured_since"] == NOW_S - 86_400 + 1_800


def test_the_matrix_names_the_weak_limits_of_the_profile(client: Client) -> None:
    """A verdict names the same ones; a profile without any has none."""
    client.apply()

    weak = [
        (profile, client.get(f"/api/v1/matrix?profile={profile}")["weak_limits"])
        for profile in (WEAK_PROFILE, "vsan-stretched")
    ]

    assert weak[0][1]
    assert all(": " in text for text in weak[0][1])
    assert weak[1][1] == []


def test_a_pair_faster_than_light_is_invalid(client: Client, fra1: str) -> None:
    """One reply is enough, and the state stays as measured. The bound is the distance less both uncertainties."""
    floor_us = -(-find_vacuum_ns() // 1_000)
    post_steady(client, fra1, build_steady_window(floor_us, NOW_S), build_steady_window(floor_us, NOW_S + 60))
    assert cell(client.get(f"{MATRIX}&from={NOW_S}&to={NOW_S + 120}"))["invalid"] is False

    fast = build_window([floor_us] * 59 + [floor_us - 1], NOW_S + 120)
    assert client.post(build_batch(("ams1", fast), seq=2), fra1).status == 200

    pair = cell(client.get(f"{MATRIX}&from={NOW_S}&to={NOW_S + 180}"))
    assert (pair["invalid"], pair["state"]) == (True, "good")


def find_vacuum_ns() -> int:
    """Return the propagation delay in a vacuum between the sites of the mesh, less the uncertainties."""
    mesh = parse_mesh(MESH)
    return compute_propagation_delay(mesh.get_site("fra"), mesh.get_site("ams")).vacuum_ns
