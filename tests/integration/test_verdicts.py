"""Verdicts over days: the collector's document, the exported file, and invalid requests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from leadline.model import ErrorBound
from leadline.statistics import WindowStats
from leadline_collector.db.transactions import Store
from leadline_collector.journal.store import BatchKey
from leadline_collector.mesh import store as mesh_store
from leadline_collector.windows import store as window_store
from leadline_collector.windows.rows import build_window_row
from leadline_verdict.rule_edition import RuleEdition
from tests.integration.conftest import Client
from tests.support.documents import NOW_S

DAY_S = 86_400
#: Midnight at the start of the day of NOW_S.
END_S = NOW_S // DAY_S * DAY_S
PROFILE = "vcf9-stretched-cluster"


def whole(p95_us: int, lost: int = 0) -> WindowStats:
    """Return the statistics of a window of 60 probes with ``lost`` lost probes."""
    received = 60 - lost
    return WindowStats(
        expected=60, sent=60, received=received,
        min_us=p95_us - 200 if received else None, mean_us=p95_us - 100 if received else None,
        p50_us=p95_us - 100 if received >= 30 else None, p95_us=p95_us if lost <= 3 else None,
        p99_us=p95_us + 50 if not lost else None, max_us=p95_us + 60 if received else None,
        pdv_us=200 if lost <= 3 else None, mean_step_us=None, failures={},
    )  # fmt: skip


def measured(store: Store, source: str, target: str, days: int, at: Mapping[int, WindowStats | None]) -> None:
    """Store ``days`` days of a path up to END_S: good except for the minutes in ``at``, counted from the start."""
    with store.read() as reader:
        src, dst = (
            mesh_store.load_agent_ids(reader.connection, [source])[source],
            mesh_store.load_target_ids(reader.connection, [target])[target],
        )
    start_s = END_S - days * DAY_S
    store.ensure_partitions(range(start_s, END_S, DAY_S))
    good = whole(5_000)
    key = BatchKey(epoch=bytes(16), seq=0)
    with store.write() as writer:
        window_store.add_windows(writer.connection,
            src,
            [
                build_window_row(
                    src, dst, start_s + 60 * minute, 1_000, stats,
                    mesh_version=1, batch=key, error_bound=ErrorBound(p50_us=5, p99_us=20),
                )
                for minute in range(days * 1_440)
                if (stats := at.get(minute, good)) is not None
            ]
        )  # fmt: skip


def ask(client: Client, **query: Any) -> Any:
    parameters = {"pair": "fra,ams", "profile": PROFILE, "from": END_S - 28 * DAY_S, "to": END_S} | query
    return client.get("/api/v1/verdicts?" + urlencode(parameters, doseq=True))


def direction(document: Any, source: str) -> Any:
    (pair,) = [pair for pair in document["pairs"] if pair["source"] == source]
    return pair


def codes(pair: Any) -> list[str]:
    return [reason["code"] for reason in pair["reasons"]]


def test_four_good_weeks_are_within_provisionally(client: Client, fra1: str, store: Store) -> None:
    """28 days without a bad minute demonstrate 99.777 %; the other direction is not measured, and sites need both."""
    measured(store, "fra1", "ams1", 28, {})

    document = ask(client)

    pair = direction(document, "fra")
    assert (pair["verdict"], codes(pair)) == (
        "within_provisional",
        ["causes", "tipping_point", "share_demonstrated", "share_when_up", "observed_outages"],
    )
    assert pair["within"]["tipping_point_minutes"] == 67
    assert (pair["provenance"]["data"], pair["coverage"], pair["simulated"]) == (["measured"], 1.0, False)
    assert codes(direction(document, "ams")) == ["not_measured"]
    assert [(both["sites"], both["verdict"]) for both in document["site_pairs"]] == [
        (["ams", "fra"], "insufficient_data")
    ]


def test_an_hour_a_day_out_of_limit_is_beyond(client: Client, fra1: str, store: Store) -> None:
    """4 % of the minutes each day: even the best case does not reach 99.5 %, and the document has the hours."""
    bad = {day * 1_440 + 600 + minute: whole(11_000) for day in range(28) for minute in range(60)}
    measured(store, "fra1", "ams1", 28, bad)

    pair = direction(ask(client), "fra")

    assert (pair["verdict"], codes(pair)) == ("beyond", ["causes", "share_below_target"])
    assert pair["episodes_total"] == 28
    assert pair["episodes"][0]["minutes"] == 60
    assert {(hour["hour"], hour["good"]) for hour in pair["hours"] if hour["good"] < hour["known"]} == {(10, 0)}
    # The vendor prints < and <= for this limit, so equality is not good in the worst case.
    assert pair["flips"][0]["numbers"]["reached_us"] == 11_001
    rows = {(row["what"], row["value"]): row["verdict"] for row in pair["sensitivity"]}
    assert rows["limit", "+10%"] == "marginal"
    assert rows["limit", "as published"] == "beyond"


def test_28_days_are_needed_for_within_and_14_for_an_answer(client: Client, fra1: str, store: Store) -> None:
    """14 days have each hour of the week twice, 28 days four times; the reasons have the dates."""
    measured(store, "fra1", "ams1", 28, {})

    fortnight = direction(ask(client, **{"from": END_S - 14 * DAY_S}), "fra")
    week = direction(ask(client, **{"from": END_S - 7 * DAY_S}), "fra")

    assert (fortnight["verdict"], codes(fortnight)) == ("marginal", ["causes", "undecided", "dates"])
    assert (week["verdict"], codes(week)) == ("insufficient_data", ["too_short", "dates", "causes"])
    assert [milestone["verdict"] for milestone in week["milestones"]] == [
        "beyond", "marginal", "within_provisional", "within",
    ]  # fmt: skip


def test_a_reboot_of_the_peer_is_no_loss_and_a_disconnection_is(client: Client, fra1: str, store: Store) -> None:
    """Ten hours without replies: the best case excuses them if the peer's own agent ran before and after only."""
    cut = {minute: whole(5_000, lost=60) for minute in range(20_000, 20_600)}
    measured(store, "fra1", "ams1", 28, cut)
    alone = direction(ask(client), "fra")

    measured(store, "ams1", "fra1", 28, dict.fromkeys(range(20000, 20600)))
    silent = direction(ask(client), "fra")

    assert alone["shares"]["optimistic"]["states"]["unavailable"] == 600
    assert silent["shares"]["optimistic"]["states"]["unavailable"] == 0
    assert silent["shares"]["pessimistic"]["states"]["unavailable"] == 600
    measured_again = {minute: None for minute in range(40_320) if not 20_000 <= minute < 20_600}
    measured(store, "ams1", "fra2", 28, measured_again)
    assert direction(ask(client), "fra")["shares"]["optimistic"]["states"]["unavailable"] == 600


def test_user_values_are_marked_as_such(client: Client, fra1: str, store: Store) -> None:
    """An override with the original value, a custom limit, and a declared value."""
    measured(store, "fra1", "ams1", 28, {})
    limit_id = "vmware-vsphere-8.0-long-distance-vmotion-rtt"

    document = ask(
        client,
        profile="vsphere-long-distance-vmotion",
        override=f"{limit_id}=4.9",
        limit="loss < 0.1 %",
        declare="vmware-vsphere-6.5-vmotion-bandwidth=1000",
    )

    (profile,) = document["profiles"]
    assert [(item["id"], item["origin"], item["was"], item["holds"]) for item in profile["requirements"]] == [
        (limit_id, "overridden", "<= 150 ms", None),
        ("vmware-vsphere-6.5-vmotion-bandwidth", "catalogue", None, True),
        ("loss < 0.1 %", "user", None, None),
    ]
    assert direction(document, "fra")["verdict"] == "beyond"
    assert direction(document, "fra")["labels"] == ["never", "outside_more_than_half"]


def test_an_undeclared_limit_keeps_the_verdict_provisional(client: Client, fra1: str, store: Store) -> None:
    """A missing bandwidth is never passed; a declared bandwidth that is too small is beyond."""
    measured(store, "fra1", "ams1", 28, {})
    query = {"profile": "vsphere-long-distance-vmotion"}
    bandwidth = "vmware-vsphere-6.5-vmotion-bandwidth"

    missing = direction(ask(client, **query), "fra")
    enough = direction(ask(client, **query, declare=f"{bandwidth}=250"), "fra")
    small = direction(ask(client, **query, declare=f"{bandwidth}=100"), "fra")

    assert (missing["verdict"], codes(missing)) == (
        "within_provisional",
        [
            "causes",
            "tipping_point",
            "share_demonstrated",
            "share_when_up",
            "observed_outages",
            "not_vouched_for",
            "weak_limits",
        ],
    )
    assert "not_vouched_for" not in codes(enough)
    assert (small["verdict"], codes(small)) == ("beyond", ["declared_unmet", "weak_limits"])


@pytest.mark.parametrize("edition", RuleEdition)
def test_the_file_gives_the_same_verdict_to_the_last_digit(
    client: Client, fra1: str, store: Store, tmp_path: Path, edition: RuleEdition
) -> None:
    """Exported windows, evaluated by the command without a collector, give the same document except for the mesh.

    The file names the edition of the rule of the export.
    """
    bad = {minute: whole(11_000) for minute in [*range(600, 660), *range(9_000, 9_020), *range(30_000, 30_045)]}
    gone = dict.fromkeys(range(15000, 15030))
    lost = {minute: whole(5_000, lost=20) for minute in range(20_000, 20_005)}
    measured(store, "fra1", "ams1", 28, {**bad, **gone, **lost})
    parameters = {"pair": "fra,ams", "profile": PROFILE, "from": END_S - 28 * DAY_S, "to": END_S, "rule": edition}
    query = urlencode(parameters)
    file = tmp_path / "windows.csv"
    file.write_bytes(client.send("GET", f"/api/v1/verdicts/windows?{query}").body)

    process = subprocess.run(
        [sys.executable, "-m", "leadline_cli", "verdict", "--input", str(file), "--profile", PROFILE, "--json"],
        capture_output=True, check=False,
    )  # fmt: skip

    assert process.stderr == b""
    assert process.returncode == 1
    assert json.loads(process.stdout) == ask(client, rule=edition) | {"mesh_version": None}


def test_a_file_names_the_rule_of_the_request(client: Client, fra1: str) -> None:
    """The second edition is the default."""
    query = urlencode({"pair": "fra,ams", "profile": PROFILE})

    for rule, named in (("", "leadline-2026-2"), ("&rule=leadline-2026-1", "leadline-2026-1")):
        file = client.send("GET", f"/api/v1/verdicts/windows?{query}{rule}").body
        header = json.loads(file.split(b"\n", 1)[0][2:])
        assert (header["format"], header["rule"]) == ("leadline windows 2", named)
        assert [site["time_zone"] for site in header["sites"]] == ["UTC", "UTC"]


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ({"pair": "fra"}, 422, "two different sites"),
        ({"pair": "fra,xyz"}, 404, "'xyz' is not a site of the mesh"),
        ({"profile": "nonsense"}, 422, "'nonsense' is not known"),
        ({"override": "nonsense=3"}, 422, "'nonsense' is not a limit of the profile"),
        ({"declare": "x"}, 422, "'x' is not ID=NUMBER"),
        ({"limit": "p95 <= 8"}, 422, "write one like"),
        ({"from": END_S, "to": END_S}, 422, "no whole UTC day"),
        ({"to": END_S + DAY_S}, 422, "is in the future"),
        ({"target_share": 0.4}, 422, "target_share"),
        ({"rule": "leadline-2099-1"}, 422, "'leadline-2026-1' or 'leadline-2026-2'"),
    ],
)
def test_an_invalid_request_is_refused(
    client: Client, fra1: str, query: dict[str, Any], status: int, detail: str
) -> None:
    """The error has the parameter, its value and the valid values."""
    parameters = {"pair": "fra,ams", "profile": PROFILE} | query

    answer = client.send("GET", "/api/v1/verdicts?" + urlencode(parameters))

    assert answer.status == status
    assert detail in answer.body.decode()
