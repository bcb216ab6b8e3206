"""Keys after enrolment: rotation, revocation, expiry; revocation of tokens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from leadline_agent.delivery.collector_client import CollectorClient
from leadline_agent.identity.state_dir import Credential, StateDirectory
from leadline_cli.__main__ import main
from leadline_collector.auth.failure_limit import FAILURES_PER_PERIOD_MAX
from leadline_collector.config import CollectorConfig
from leadline_collector.db.transactions import Store
from leadline_collector.server.serve import serve_in_thread
from tests.integration.conftest import Client
from tests.support.clock import FakeClock
from tests.support.documents import build_batch, build_steady_window

SECOND = 1_000_000_000


def rotated(client: Client, key: str) -> str:
    """Rotate a key and return its successor."""
    answer = client.send("POST", "/api/v1/rotate", key=key)
    assert answer.status == 200, answer.body
    return str(answer.json()["key"])


def statuses(client: Client, *keys: str) -> list[int]:
    """Return the status of a plan request with each key."""
    return [client.send("GET", "/api/v1/plan", key=key).status for key in keys]


def test_the_old_key_is_valid_until_the_new_one_is_used(client: Client, fra1: str) -> None:
    """Not the rotation but the first use of the new key revokes the old key, from the next request on."""
    new = rotated(client, fra1)

    assert statuses(client, fra1, fra1) == [200, 200]
    assert statuses(client, new, fra1, new) == [200, 401, 200]


def test_a_lost_response_does_not_lock_the_agent_out(client: Client, fra1: str, clock: FakeClock) -> None:
    """After lost responses the agent's key still works, and at most one lost key besides."""
    lost = []
    for _ in range(3):
        clock.advance(SECOND)
        lost.append(rotated(client, fra1))

    assert statuses(client, fra1, lost[0], lost[1]) == [200, 401, 401]
    assert statuses(client, lost[2], fra1) == [200, 401]


def test_two_keys_are_live_after_rotations_within_one_second(client: Client, fra1: str) -> None:
    """Rotations within one second keep the key of the request."""
    new = [rotated(client, fra1) for _ in range(4)]

    assert statuses(client, fra1) == [200]
    assert sorted(statuses(client, *new)) == [200, 401, 401, 401]


def test_a_revoked_agent_is_refused_at_once_and_can_enrol_again(client: Client, fra1: str) -> None:
    """Both of its keys are revoked, those of other agents are not; a new token enrols it again."""
    second, other = rotated(client, fra1), client.key("fra2", "fra")

    answer = client.send("DELETE", "/api/v1/agents/fra1/keys", key=client.admin_key)

    assert (answer.status, answer.json()) == (200, {"revoked": 2})
    assert statuses(client, fra1, second, other) == [401, 401, 200]
    assert client.post(build_batch(("ams1", build_steady_window(4_900))), fra1).status == 401
    assert statuses(client, client.key("fra1", "fra")) == [200]


def test_an_unknown_agent_cannot_be_revoked(client: Client, fra1: str) -> None:
    """404 with its name."""
    answer = client.send("DELETE", "/api/v1/agents/nobody/keys", key=client.admin_key)

    assert (answer.status, "'nobody'" in answer.json()["detail"]) == (404, True)


def test_the_agents_are_listed_with_their_keys(client: Client, fra1: str, clock: FakeClock) -> None:
    """Name, site and live keys with their first use, also for an agent without keys; no secrets."""
    statuses(client, fra1)
    rotated(client, fra1)
    client.post(build_batch(("ams1", build_steady_window(4_900))), fra1)

    answer = client.send("GET", "/api/v1/agents", key=client.admin_key)
    agents = {entry["name"]: entry for entry in answer.json()["agents"]}

    now_s = clock.wall_ns() // SECOND
    assert sorted(agents) == ["ams1", "fra1", "fra2"]
    assert [key["used_at_s"] for key in agents["fra1"]["keys"]] == [now_s, None]
    assert (agents["ams1"]["keys"], agents["ams1"]["latest_s"], agents["fra1"]["site"]) == ([], None, "fra")
    assert agents["fra1"]["latest_s"] == now_s - 3_600 + 60
    assert fra1.encode() not in answer.body


@pytest.fixture(name="ending")
def _ending(config: CollectorConfig, store: Store, clock: FakeClock) -> Iterator[Client]:
    """A collector with a key lifetime of one hour."""
    with serve_in_thread(replace(config, key_ttl_s=3_600), store, clock) as url:
        client = Client(url=url, admin_key=(config.data_dir / "admin.key").read_text().strip())
        assert client.apply().status == 200
        yield client
        client.pool.clear()


def test_a_key_expires_unless_it_is_rotated(ending: Client, clock: FakeClock) -> None:
    """A key is valid until its last second, which is in the response; the next key has a full lifetime."""
    answer = ending.enrol(ending.token("ams")).json()
    assert answer["expires_at_s"] == clock.wall_ns() // SECOND + 3_600
    clock.advance(3_599 * SECOND)
    assert statuses(ending, answer["key"]) == [200]

    new = rotated(ending, answer["key"])
    clock.advance(SECOND)

    assert statuses(ending, answer["key"], new) == [401, 200]


def test_an_unused_token_can_be_revoked(client: Client) -> None:
    """An unused token is revoked by its id; then it cannot be used or revoked again."""
    client.apply()
    token = client.token("fra")
    (listed,) = client.send("GET", "/api/v1/tokens", key=client.admin_key).json()["tokens"]

    path = f"/api/v1/tokens/{listed['id']}"
    assert client.send("DELETE", path, key=client.admin_key).json() == {"revoked": 1}

    assert client.enrol(token, "fra1").status == 401
    assert client.send("DELETE", path, key=client.admin_key).status == 404
    (listed,) = client.send("GET", "/api/v1/tokens", key=client.admin_key).json()["tokens"]
    assert listed["revoked_at_s"] is not None
    assert listed["used_at_s"] is None


def test_a_used_token_is_listed_and_cannot_be_revoked(client: Client, fra1: str) -> None:
    """The agent that used it keeps its key."""
    (listed,) = client.send("GET", "/api/v1/tokens", key=client.admin_key).json()["tokens"]

    assert listed["used_at_s"] is not None
    assert client.send("DELETE", f"/api/v1/tokens/{listed['id']}", key=client.admin_key).status == 404
    assert statuses(client, fra1) == [200]


def test_failed_enrolments_are_rate_limited(client: Client, clock: FakeClock) -> None:
    """429 with Retry-After after too many failures in a minute, even for a valid token; after the minute it works."""
    client.apply()
    token = client.token("fra")

    answers = [client.enrol(f"ll_token_guess_{number}") for number in range(FAILURES_PER_PERIOD_MAX + 1)]
    refused = client.enrol(token, "fra1")

    assert [answer.status for answer in answers] == [401] * FAILURES_PER_PERIOD_MAX + [429]
    assert (refused.status, refused.headers["Retry-After"]) == (429, "60")
    clock.advance(60 * SECOND)
    assert client.enrol(token, "fra1").status == 200


def test_successful_enrolments_are_not_limited(client: Client) -> None:
    """Only failures are counted, so that a rollout from behind one address works."""
    client.apply()

    statuses = {client.enrol(client.token("fra"), "fra1").status for _ in range(FAILURES_PER_PERIOD_MAX + 2)}

    assert statuses == {200}


@pytest.fixture(name="enrolled")
def _enrolled(client: Client, fra1: str, tmp_path: Path) -> StateDirectory:
    """The state directory of an enrolled agent."""
    state = StateDirectory(tmp_path / "agent")
    state.save_credential(Credential(collector=client.url, agent="fra1", site="fra", key=fra1))
    return state


def test_the_command_rotates(
    client: Client, fra1: str, enrolled: StateDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    """The new key is on disk with mode 0600 and the old key is revoked; neither is printed."""
    status = main(["agent", "rotate", "--state-dir", str(enrolled.path)])

    new_key = enrolled.load_credential().key
    output = capsys.readouterr().out
    assert (status, "now refuses the old one" in output, new_key in output) == (0, True, False)
    assert new_key != fra1
    assert statuses(client, fra1, new_key) == [401, 200]
    assert (enrolled.path / "credential.json").stat().st_mode & 0o777 == 0o600


def test_a_refused_rotation_leaves_the_credential(client: Client, fra1: str, enrolled: StateDirectory) -> None:
    """A revoked agent gets no new key; the command exits with status 2."""
    client.send("DELETE", "/api/v1/agents/fra1/keys", key=client.admin_key)

    assert main(["agent", "rotate", "--state-dir", str(enrolled.path)]) == 2
    assert enrolled.load_credential().key == fra1


def test_a_running_agent_uses_the_new_key(client: Client, fra1: str, enrolled: StateDirectory) -> None:
    """After a rotation by the command it is refused once, reads the file again and continues.

    Without a new key in the file it stays refused.
    """
    agent = CollectorClient(client.url, enrolled.load_credential(), enrolled.load_credential)
    main(["agent", "rotate", "--state-dir", str(enrolled.path)])

    plan = agent.fetch_plan(None)

    assert getattr(plan, "agent", None) == "fra1"
    client.send("DELETE", "/api/v1/agents/fra1/keys", key=client.admin_key)
    assert "401" in getattr(agent.fetch_plan(None), "reason", "")


def test_root_leaves_the_credential_to_the_owner_of_the_directory(tmp_path: Path) -> None:
    """The service can read a credential that root enrolled or rotated."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(tmp_path, 12_345, 12_345)

    StateDirectory(tmp_path).replace_credential(Credential(collector="http://h", agent="a", site="s", key="k"))

    assert (tmp_path / "credential.json").stat().st_uid == 12_345


def test_the_administrators_commands_work(
    client: Client, fra1: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lists and revocations on the command line, with the ids of the lists."""
    key_file = tmp_path / "key"
    key_file.write_text(client.admin_key)
    access = ["--collector", client.url, "--admin-key-file", str(key_file)]
    client.token("ams")

    def run_command(*words: str) -> str:
        assert main([*words, *access]) == 0
        return capsys.readouterr().out

    tokens = run_command("token", "list").splitlines()
    assert sorted(line.split()[1:3] for line in tokens) == [["ams", "expires"], ["fra", "used"]]
    run_command("token", "revoke", next(line.split()[0] for line in tokens if " ams " in line))
    assert "revoked" in run_command("token", "list")
    assert next(line for line in run_command("agent", "list").splitlines() if "fra1" in line).split()[1:4] == [
        "fra",
        "1",
        "key",
    ]
    assert "1 keys of agent fra1" in run_command("agent", "revoke", "fra1")
    assert "admin: keys revoked fra1 keys=1" in run_command("collector", "audit", "--limit", "1")
