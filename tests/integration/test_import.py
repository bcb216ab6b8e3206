"""Import of files: stored in the agents' journal, marked as imported, and never over an agent's data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from leadline.wire import batch as wire
from leadline.wire import codec
from leadline_cli.__main__ import main
from leadline_cli.importers import windowing
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import store as mesh_store
from tests.integration.conftest import Client
from tests.support.documents import EPOCH, MESH, NOW_S, build_batch, build_steady_window, encode_body

HOST = """
[[host]]
name = "ams-ups"
site = "ams"
address = "192.0.2.9"
"""
FILE_SHA256 = "ab" * 32


def csv(path: Path, first: int, count: int, rtt_ms: float = 4.9) -> Path:
    """Write a CSV with one probe a second from second ``first`` after NOW_S."""
    path.write_text(
        "t,rtt_ms\n" + "".join(f"{NOW_S + number},{rtt_ms:.3f}\n" for number in range(first, first + count))
    )
    return path


@pytest.fixture(name="key_file")
def _key_file(client: Client, tmp_path: Path) -> Path:
    """The administrator's key in a file."""
    path = tmp_path / "the.key"
    path.write_text(client.admin_key)
    return path


def run(client: Client, key_file: Path, *words: str | Path) -> int:
    """Run ``leadline import`` against the collector; return its exit status."""
    access = ("--collector", client.url, "--admin-key-file", str(key_file))
    return main(["import", *map(str, words), *access])


def windows(client: Client, source: str = "fra", destination: str = "ams") -> Any:
    """Return the windows of a pair in the hour of the tests."""
    return client.get(f"/api/v1/pairs/{source}/{destination}/windows?from={NOW_S}&to={NOW_S + 3_600}")


def audited(client: Client) -> list[dict[str, Any]]:
    """Return the audit entries of imports, newest first."""
    entries = client.get("/api/v1/audit", Authorization=f"Bearer {client.admin_key}")["entries"]
    return [entry for entry in entries if entry["what"] == "data imported"]


def imported(*series: tuple[str, Any], source: str = "fra1", **members: Any) -> bytes:
    """Return the body of an imported batch."""
    return codec.encode(build_batch(*series, agent=f"import:{source}", mesh_version=0, **members))


def post(client: Client, data: bytes, source: str = "fra1", query: str = "", key: str | None = None) -> Any:
    """Post an imported batch."""
    path = f"/api/v1/imports/{source}?file=a.log&sha256={FILE_SHA256}&format=ping{query}"
    return client.send("POST", path, data, key or client.admin_key)


def test_a_file_is_imported_once(
    client: Client, fra1: str, key_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The windows are marked, the audit has the file, and the second import changes nothing."""
    file = csv(tmp_path / "old.csv", 30, 120)

    assert run(client, key_file, "csv", file, "--src", "fra1", "--dst", "ams", "--json") == 0
    first, before = json.loads(capsys.readouterr().out), windows(client)
    assert run(client, key_file, "csv", file, "--src", "fra1", "--dst", "ams", "--json") == 0
    second = json.loads(capsys.readouterr().out)

    assert before["imported"] is True
    assert [(window["t"] - NOW_S, window["paths"][0]["received"]) for window in before["windows"]] == [
        (0, 30),
        (60, 60),
        (120, 30),
    ]
    path = before["windows"][1]["paths"][0]
    assert (path["agent"], path["target"], path["imported"], path["simulated"]) == ("import:fra1", "ams1", True, False)
    assert (path["p95_us"], path["error_p99_us"], path["mesh_version"]) == (4_900, 1, 0)
    assert windows(client) == before
    assert (first["stored"]["duplicates"], second["stored"]["duplicates"]) == (0, 1)
    (entry,) = audited(client)
    assert (entry["subject"], entry["detail"]["file"], entry["detail"]["file_sha256"]) == (
        "import:fra1",
        "old.csv",
        first["sha256"],
    )


def test_the_import_is_the_same_under_another_mesh(client: Client, fra1: str, key_file: Path, tmp_path: Path) -> None:
    """The batch contains nothing from the mesh."""
    file = csv(tmp_path / "old.csv", 0, 60)
    assert run(client, key_file, "csv", file, "--src", "fra", "--dst", "ams1") == 0

    assert client.apply(MESH.replace("192.0.2.3", "192.0.2.33") + HOST).status == 200

    assert run(client, key_file, "csv", file, "--src", "fra", "--dst", "ams1") == 0
    assert len(audited(client)) == 1


def test_the_matrix_and_the_pages_show_imported_data(client: Client, fra1: str, key_file: Path, tmp_path: Path) -> None:
    """The direction with imported windows is marked, the other is not."""
    assert run(client, key_file, "csv", csv(tmp_path / "a.csv", 0, 3_600), "--src", "fra", "--dst", "ams") == 0

    matrix = client.get("/api/v1/matrix?profile=vcf9-stretched-cluster&from=-2h")
    pages = [client.send("GET", path).body.decode() for path in ("/?from=-2h", "/pairs/fra/ams?from=-2h")]
    reverse = client.send("GET", "/pairs/ams/fra?from=-2h").body.decode()

    assert matrix["imported"] is True
    assert {(pair["source"], pair["imported"]) for pair in matrix["pairs"]} == {("fra", True), ("ams", False)}
    assert {pair["source"]: pair["data"] for pair in matrix["pairs"]} == {"fra": ["imported"], "ams": []}
    assert all("IMPORTED DATA" in page for page in pages)
    assert '<abbr class="mark" title="imported from files of other programs">I</abbr>' in pages[0]
    assert 'title="imported, since ' in pages[0]
    assert "IMPORTED DATA</strong> in fra → ams:" in reverse


def test_an_import_does_not_overwrite_an_agents_data(
    client: Client, fra1: str, key_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the first conflicting minute; nothing of the file is stored, the agent's window is unchanged."""
    assert client.post(build_batch(("ams1", build_steady_window(5_100, NOW_S + 120))), fra1).status == 200
    before = windows(client)

    for source in ("fra1", "fra"):
        assert run(client, key_file, "csv", csv(tmp_path / "a.csv", 0, 240), "--src", source, "--dst", "ams1") == 2
        assert "'fra1' already measured the minute of 2026-11-22T06:02:00Z" in capsys.readouterr().err

    assert windows(client) == before
    assert audited(client) == []


def test_another_host_of_the_site_may_have_measured_at_the_same_time(
    client: Client, fra1: str, key_file: Path, tmp_path: Path
) -> None:
    """An import for fra2 is a separate path."""
    assert client.post(build_batch(("ams1", build_steady_window(5_100))), fra1).status == 200

    assert run(client, key_file, "csv", csv(tmp_path / "a.csv", 0, 60), "--src", "fra2", "--dst", "ams1") == 0

    assert [path["agent"] for path in windows(client)["windows"][0]["paths"]] == ["fra1", "import:fra2"]


def test_a_rotated_log_is_merged_in_the_minute_of_the_rotation(
    client: Client, fra1: str, key_file: Path, tmp_path: Path
) -> None:
    """Two files that complete each other give one complete window, and both can be imported again."""
    files = [csv(tmp_path / "a.csv", 0, 100), csv(tmp_path / "b.csv", 100, 20)]

    for file in (*files, *files):
        assert run(client, key_file, "csv", file, "--src", "fra", "--dst", "ams1") == 0

    assert [window["paths"][0]["received"] for window in windows(client)["windows"]] == [60, 60]
    assert len(audited(client)) == 2


def test_two_files_that_disagree_are_not_merged(
    client: Client, fra1: str, key_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A different RTT for an imported second is refused, and so is the same file with other options."""
    assert run(client, key_file, "csv", csv(tmp_path / "a.csv", 0, 100), "--src", "fra", "--dst", "ams1") == 0
    before = windows(client)

    better = csv(tmp_path / "b.csv", 90, 90, rtt_ms=0.1)
    assert run(client, key_file, "csv", better, "--src", "fra", "--dst", "ams1") == 2
    assert "the minute of 2026-11-22T06:01:00Z was already imported" in capsys.readouterr().err
    assert run(client, key_file, "csv", tmp_path / "a.csv", "--src", "fra", "--dst", "ams1", "--interval", "500ms") == 2

    assert windows(client) == before
    assert len(audited(client)) == 1


def test_a_file_of_several_batches_is_all_or_nothing(
    client: Client, fra1: str, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a conflict in the last batch no batch is stored; without it all are."""
    monkeypatch.setattr(wire, "SERIES_MAX", 10)
    assert client.post(build_batch(("ams1", build_steady_window(5_100, NOW_S + 40 * 60))), fra1).status == 200

    assert run(client, key_file, "csv", csv(tmp_path / "a.csv", 0, 2_460), "--src", "fra1", "--dst", "ams1") == 2
    assert len(windows(client)["windows"]) == 1

    assert run(client, key_file, "csv", csv(tmp_path / "a.csv", 0, 2_400), "--src", "fra1", "--dst", "ams1") == 0
    assert len(windows(client)["windows"]) == 41
    assert [entry["detail"]["seq"] for entry in audited(client)] == [3, 2, 1, 0]


def test_a_check_changes_nothing(client: Client, fra1: str, store: Store) -> None:
    """A check does not even add the source."""
    answer = post(client, imported(("ams1", build_steady_window(4_900))), query="&check=true")

    assert (answer.status, answer.json()["duplicate"]) == (200, False)
    assert windows(client)["windows"] == []
    with store.read() as reader:
        assert [agent.name for agent in mesh_store.load_agents(reader.connection)] == ["fra1", "fra2", "ams1"]


def test_an_import_source_is_not_an_agent(client: Client, fra1: str) -> None:
    """It is not in the list of agents and has neither metrics nor gaps."""
    assert post(client, imported(("ams1", build_steady_window(4_900)))).status == 200

    agents = client.get("/api/v1/agents", Authorization=f"Bearer {client.admin_key}")["agents"]

    assert sorted(agent["name"] for agent in agents) == ["ams1", "fra1", "fra2"]
    assert b"import:" not in client.send("GET", "/metrics").body
    assert client.send("GET", "/api/v1/agents/import:fra1/gaps").status == 404


def test_an_agent_cannot_import(client: Client, fra1: str) -> None:
    """Its key is refused by the route, and its batches cannot have an import source."""
    assert post(client, imported(("ams1", build_steady_window(4_900))), key=fra1).status == 401
    answer = client.post(build_batch(("ams1", build_steady_window(4_900)), agent="import:fra1"), fra1)

    assert answer.status == 403
    assert windows(client)["windows"] == []


def test_an_import_must_have_its_own_source(client: Client, fra1: str) -> None:
    """The batch must have the source of the path, with the prefix import:."""
    assert post(client, codec.encode(build_batch(("ams1", build_steady_window(4_900))))).status == 403
    assert post(client, imported(("ams1", build_steady_window(4_900)), source="fra2")).status == 403


@pytest.mark.parametrize(
    ("series", "source", "status", "problem"),
    [
        (
            [("ams1", build_steady_window(4_900))],
            "mars",
            422,
            "no mesh has a site or agent 'mars'; there are ams, ams1, fra, fra1",
        ),
        ([("nowhere", build_steady_window(4_900))], "fra", 422, "no mesh ever had a target 'nowhere'"),
        ([("fra2", build_steady_window(4_900))], "fra", 422, "'fra2' is also at site 'fra'"),
        (
            [("ams1", build_steady_window(4_900, 946_684_800))],
            "fra",
            422,
            "2000-01-01T00:00:00Z is before 2020 or in the future",
        ),
        ([("ams1", build_steady_window(4_900, NOW_S + 400 * 86_400))], "fra", 422, "in the future"),
        ([("ams1", build_steady_window(4_900))], "x" * 57, 422, "source"),
    ],
)
def test_an_invalid_import_is_refused(
    client: Client, fra1: str, series: Sequence[Any], source: str, status: int, problem: str
) -> None:
    """An unknown name, a pair within a site or an implausible time is refused with the reason; nothing is stored."""
    answer = post(client, imported(*series, source=source), source=source)

    assert (answer.status, problem in answer.json()["detail"]) == (status, True), answer.body
    assert audited(client) == []


def test_the_same_batch_key_with_other_bytes_is_a_conflict(client: Client, fra1: str) -> None:
    """409 for the same epoch and number with other bytes, as for agents."""
    assert post(client, imported(("ams1", build_steady_window(4_900)))).status == 200

    answer = post(client, imported(("ams1", build_steady_window(1_000))))

    assert (answer.status, answer.json()["epoch"]) == (409, EPOCH)


def test_a_window_has_the_rounding_of_its_file_as_error(
    client: Client, fra1: str, key_file: Path, tmp_path: Path
) -> None:
    """A minute with RTTs of two magnitudes has the coarser error, the other minute that of its own."""
    ping = tmp_path / "ping.log"
    ping.write_text(
        "PING 192.0.2.3 (192.0.2.3) 56(84) bytes of data.\n"
        + "".join(
            f"[{NOW_S + at}.5] 64 bytes from 192.0.2.3: icmp_seq={at + 1} ttl=64 time={rtt} ms\n"
            for at, rtt in enumerate(["4.91"] * 70 + ["12.3"] + ["4.91"] * 49)
        )
    )

    assert run(client, key_file, "ping", ping, "--src", "fra1", "--dst", "ams1") == 0

    paths = [window["paths"][0] for window in windows(client)["windows"]]
    assert [(path["max_us"], path["p95_us"]) for path in paths] == [(4_920, 4_920), (12_400, 4_920)]
    assert [(path["error_p50_us"], path["error_p99_us"]) for path in paths] == [(16, 16), (16, 151)]


def test_a_file_that_an_earlier_version_read_differently_is_refused(
    client: Client, fra1: str, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The earlier version stored no error bound. Its windows stay, nothing is doubled, and the error has the reason."""
    file = csv(tmp_path / "a.csv", 0, 120)
    with monkeypatch.context() as earlier:
        earlier.setattr(windowing, "_compute_error_bound", lambda samples: None)
        assert run(client, key_file, "csv", file, "--src", "fra", "--dst", "ams1") == 0
    before = windows(client)

    assert run(client, key_file, "csv", file, "--src", "fra", "--dst", "ams1") == 2

    assert "the file was already imported by another version of leadline" in capsys.readouterr().err
    assert windows(client) == before
    assert len(audited(client)) == 1


def test_a_file_is_imported_while_an_agent_delivers(client: Client, fra1: str) -> None:
    """Late windows of the agent and imported windows are separate paths; neither changes the other."""
    assert post(client, imported(("ams1", build_steady_window(4_900)))).status == 200

    assert client.post_bytes(encode_body(build_batch(("ams1", build_steady_window(5_100)))), fra1).status == 200

    assert [(path["agent"], path["p95_us"]) for path in windows(client)["windows"][0]["paths"]] == [
        ("fra1", 5_100),
        ("import:fra1", 4_900),
    ]


def test_no_mesh_no_import(client: Client, key_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the command that applies a mesh."""
    assert run(client, key_file, "csv", csv(tmp_path / "a.csv", 0, 60), "--src", "fra", "--dst", "ams") == 2
    assert "leadline mesh apply" in capsys.readouterr().err


def test_a_site_with_several_targets_needs_one_named(
    client: Client, fra1: str, key_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The target is not required if the file has its address."""
    assert client.apply(MESH + HOST).status == 200
    ping = tmp_path / "ping.log"
    ping.write_text(
        f"PING 192.0.2.9 (192.0.2.9) 56(84) bytes of data.\n[{NOW_S}.5] 64 bytes from 192.0.2.9: icmp_seq=1 ttl=64 "
        f"time=4.90 ms\n[{NOW_S + 1}.5] 64 bytes from 192.0.2.9: icmp_seq=2 ttl=64 time=4.90 ms\n"
    )

    assert run(client, key_file, "csv", csv(tmp_path / "a.csv", 60, 60), "--src", "fra", "--dst", "ams") == 2
    assert "pass one of ams1 (192.0.2.3), ams-ups (192.0.2.9)" in capsys.readouterr().err
    assert run(client, key_file, "ping", ping, "--src", "fra", "--dst", "ams") == 0
    assert windows(client)["windows"][0]["paths"][0]["target"] == "ams-ups"
    assert audited(client)[0]["detail"]["resolution_us"] == 10
    assert run(client, key_file, "ping", ping, "--src", "fra", "--dst", "venus") == 2
    assert "no site, agent or host 'venus'" in capsys.readouterr().err
