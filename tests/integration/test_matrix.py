"""The matrix and the windows behind it, against a slow reference that judges row by row."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from leadline import evaluation
from leadline.limits.catalogue import load_catalogue
from leadline.model import Failure, Window
from leadline.statistics import compute_window_stats
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import store as mesh_store
from leadline_collector.windows import store as window_store
from leadline_collector.windows.rows import build_window_row
from tests.integration.conftest import Client
from tests.support.clock import FakeClock
from tests.support.documents import MESH, NOW_S, build_batch, build_steady_window, build_window

PROFILE = "vcf9-stretched-cluster"
MATRIX = f"/api/v1/matrix?profile={PROFILE}"
#: One hour from NOW_S; the clock of the tests stands at its end.
HOUR = f"&from={NOW_S}&to={NOW_S + 3_600 - 60}"


def cell(document: Any, source: str = "fra", destination: str = "ams") -> Any:
    """One pair of a matrix."""
    (found,) = [pair for pair in document["pairs"] if (pair["source"], pair["destination"]) == (source, destination)]
    return found


def anything(rng: random.Random, start_s: int) -> Window:
    """A window of any state: fast, slow, lossy, half measured, not measured."""
    level = rng.choice([3_000, 4_990, 5_000, 5_010, 9_000])
    lost, unsent = rng.choice([0, 0, 2, 4, 13]), rng.choice([0, 0, 0, 12, 13, 60])
    missing = set(rng.sample(range(60), max(lost, unsent)))
    rtts = [None if slot in missing else level + rng.randint(0, 20) for slot in range(60)]
    return build_window(rtts, start_s, Failure.NOT_SENT if unsent > lost else Failure.TIMEOUT)


def reference(windows: dict[int, list[Window]], profile: str, period: int) -> Counter[str]:
    """States of a period of so many windows, judged one by one."""
    criteria = evaluation.plan_evaluation(
        load_catalogue().get_required_limits(load_catalogue().get_profile(profile))
    ).criteria
    counts: Counter[str] = Counter()
    for paths in windows.values():
        readings = [evaluation.evaluate_profile(compute_window_stats(one), criteria) for one in paths]
        counts[evaluation.combine_paths(readings).worst_case.value] += 1
    counts["unknown"] += period - len(windows)
    return counts


@pytest.mark.parametrize("profile", [PROFILE, "vsan-stretched", "vsphere-long-distance-vmotion"])
@pytest.mark.parametrize("agents", [("fra1",), ("fra1", "fra2")])
def test_the_counts_are_those_of_a_slow_reference(
    client: Client, fra1: str, profile: str, agents: tuple[str, ...]
) -> None:
    """Forty random minutes of a pair with one path or two, nineteen without a row: every state is counted right."""
    rng = random.Random(f"{profile}{agents}")
    keys = {"fra1": fra1, "fra2": client.key("fra2", "fra")}
    windows: dict[int, list[Window]] = {}
    for agent in agents:
        sent = [anything(rng, NOW_S + 60 * n) for n in sorted(rng.sample(range(59), 40))]
        client.post(build_batch(*(("ams1", one) for one in sent), agent=agent), keys[agent])
        for one in sent:
            windows.setdefault(one.start_s, []).append(one)

    found = cell(client.get(f"/api/v1/matrix?profile={profile}{HOUR}"))

    expected = reference(windows, profile, 59)
    assert {state: found["pessimistic"][state] for state in ("good", "bad", "unavailable", "unknown")} == {
        state: expected[state] for state in ("good", "bad", "unavailable", "unknown")
    }
    known = 59 - expected["unknown"]
    assert found["pessimistic"]["good_ratio"] == pytest.approx(expected["good"] / known)
    assert found["pessimistic"]["coverage_ratio"] == pytest.approx(known / 59)
    assert (found["windows_expected"], found["paths"]) == (59, len(agents))


def test_the_latest_window_gives_the_state(client: Client, fra1: str) -> None:
    """State, its time and its numbers are those of the last window; the minimum is of the whole period."""
    client.post(
        build_batch(("ams1", build_steady_window(2_000, NOW_S)), ("ams1", build_steady_window(90_000, NOW_S + 120))),
        fra1,
    )

    found = cell(client.get(f"{MATRIX}&from={NOW_S}&to={NOW_S + 300}"))

    assert (found["state"], found["state_at"], found["state_at_iso"]) == ("bad", NOW_S + 120, "2026-11-22T06:02:00Z")
    assert found["rtt_us"] == {"min": 2_000, "p50": 90_000, "p95": 90_000}


def test_an_old_window_is_no_state(client: Client, fra1: str) -> None:
    """A pair that fell silent four minutes before the end is unknown, and its last time is told."""
    client.post(build_batch(("ams1", build_steady_window(2_000, NOW_S))), fra1)

    assert cell(client.get(f"{MATRIX}&from={NOW_S}&to={NOW_S + 180}"))["state"] == "good"
    late = cell(client.get(f"{MATRIX}&from={NOW_S}&to={NOW_S + 240}"))
    assert (late["state"], late["state_at"]) == ("unknown", NOW_S)


def test_directions_are_apart(client: Client, fra1: str) -> None:
    """What Frankfurt measured says nothing of the way from Amsterdam."""
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

    found = cell(client.get(f"{MATRIX}&from={NOW_S}&to={NOW_S + 60}"))

    assert (found["pessimistic"]["good"], found["windows_expected"]) == (1, 1)


def test_time_zones_are_the_same_instant(client: Client, fra1: str) -> None:
    """Epoch, UTC, local time with its offset (the plus escaped or not) and relative time mean one period."""
    client.post(build_batch(("ams1", build_steady_window(2_000, NOW_S))), fra1)
    written = [
        f"&from={NOW_S}&to={NOW_S + 60}",
        "&from=2026-11-22T06:00:00Z&to=2026-11-22T06:01:00Z",
        "&from=2026-11-22T07:00:00%2B01:00&to=2026-11-22T07:01:00+01:00",
        "&from=2026-11-21T22:00:00-08:00&to=2026-11-21T22:01:30-08:00",
        "&from=-59m&to=-58m",
    ]

    answers = [client.get(MATRIX + period) for period in written]

    assert all(answer == answers[0] for answer in answers)
    assert (answers[0]["from"], answers[0]["to_iso"]) == (NOW_S, "2026-11-22T06:01:00Z")


def test_the_default_is_the_last_day(client: Client, fra1: str) -> None:
    """24 hours, to the last minute that has had time to arrive."""
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
        ("&group=nobody", "group"),
    ],
)
def test_a_wrong_question_is_named(client: Client, fra1: str, query: str, path: str) -> None:
    """422 with the parameter."""
    answer = client.send("GET", MATRIX + query)

    assert (answer.status, answer.json()["path"]) == (422, path)


def test_a_profile_tells_its_limits_with_sources(client: Client) -> None:
    """Judged ones carry their rule, the others a reason; all a source."""
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
    """A second group of one direction: asking for it leaves the other out."""
    client.apply(MESH + '[[group]]\nname = "storage"\nkind = "pairs"\npairs = [["ams", "fra"]]\n')

    answer = client.get(f"{MATRIX}&group=storage")

    assert [(pair["source"], pair["groups"]) for pair in answer["pairs"]] == [("ams", ["metro", "storage"])]


SIMULATED = MESH.replace("longitude = 4.9", "longitude = 4.9\nsimulated = true").replace(
    "longitude = 8.7", "longitude = 8.7\nsimulated = true"
)


def test_simulated_sites_are_marked(client: Client) -> None:
    """Without any data already."""
    client.apply(SIMULATED)

    answer = client.get(MATRIX)

    assert answer["simulated"] is True
    assert [pair["simulated"] for pair in answer["pairs"]] == [True, True]


def test_rows_no_agent_sent_are_marked_whatever_the_mesh_says(client: Client, store: Store, fra1: str) -> None:
    """A mesh file cannot turn generated windows into measured ones."""
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
    """Each minute lists its paths with statistics, failures, state, and the batch they came from."""
    fra2 = client.key("fra2", "fra")
    client.post(
        build_batch(
            ("ams1", build_steady_window(2_000, NOW_S)), ("ams1", build_steady_window(90_000, NOW_S + 60)), seq=5
        ),
        fra1,
    )
    client.post(build_batch(("ams1", build_window([3_000] * 58 + [None] * 2, NOW_S)), agent="fra2"), fra2)

    answer = client.get(f"/api/v1/pairs/fra/ams/windows?from={NOW_S}&profile={PROFILE}")

    assert [(one["t"], one["state"], len(one["paths"])) for one in answer["windows"]] == [
        (NOW_S, "good", 2),
        (NOW_S + 60, "bad", 1),
    ]
    first, second = answer["windows"][0]["paths"]
    assert (first["agent"], first["target"], first["p95_us"], first["seq"]) == ("fra1", "ams1", 2_000, 5)
    assert (second["failures"], second["received"], second["state"]) == ({"timeout": 2}, 58, "good")
    assert (answer["simulated"], answer["next_from"]) == (False, None)


def test_windows_come_in_pages(client: Client, fra1: str) -> None:
    """A limit cuts after whole minutes and says where to go on; the pages together are everything, once."""
    client.post(build_batch(*(("ams1", build_steady_window(2_000, NOW_S + 60 * n)) for n in range(5))), fra1)
    path, pages = "/api/v1/pairs/fra/ams/windows", []

    start: int | None = NOW_S
    while start is not None:
        page = client.get(f"{path}?from={start}&limit=2")
        pages.append([one["t"] for one in page["windows"]])
        start = page["next_from"]

    assert pages == [[NOW_S, NOW_S + 60], [NOW_S + 120, NOW_S + 180], [NOW_S + 240]]


@pytest.mark.parametrize("pair", ["fra/lon", "lon/fra", "fra/fra"])
def test_a_pair_nobody_has_is_not_found(client: Client, fra1: str, pair: str) -> None:
    """404."""
    assert client.send("GET", f"/api/v1/pairs/{pair}/windows").status == 404


def test_a_period_follows_the_clock(client: Client, fra1: str, clock: FakeClock) -> None:
    """The end of the default period moves with time."""
    before = client.get(MATRIX)["to"]

    clock.advance(600 * 1_000_000_000)

    assert client.get(MATRIX)["to"] == before + 600
