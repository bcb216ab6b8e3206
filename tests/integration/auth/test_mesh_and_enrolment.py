"""Mesh versions, plans, one-time tokens and enrolment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from leadline_collector.db.transactions import Store
from tests.integration.conftest import Client
from tests.support.clock import FakeClock
from tests.support.documents import MESH, build_batch, build_steady_window


def test_a_mesh_gets_a_version(client: Client) -> None:
    """The first version is 1; the response counts sites, agents and pairs."""
    answer = client.apply()

    assert answer.json() == {"version": 1, "changed": True, "sites": 2, "agents": 3, "pairs": 2}


def test_the_same_mesh_again_is_no_new_version(client: Client) -> None:
    """A file with the same bytes changes nothing."""
    client.apply()

    answer = client.apply()

    assert (answer.json()["version"], answer.json()["changed"]) == (1, False)


def test_another_mesh_is_a_new_version(client: Client) -> None:
    """Any changed byte is a new version, also a return to an old text; the text is stored unchanged."""
    for text in (MESH, MESH + "# a comment\n", MESH):
        client.apply(text)

    assert (client.get("/api/v1/mesh")["version"], client.get("/api/v1/mesh")["text"]) == (3, MESH)


def test_a_wrong_mesh_is_named_and_changes_nothing(client: Client) -> None:
    """422 with the position of the mistake; the previous mesh stays active."""
    client.apply()

    answer = client.apply(MESH.replace('site = "ams"', 'site = "lon"'))

    assert answer.status == 422
    assert "agent 3" in answer.json()["key"]
    assert client.get("/api/v1/mesh")["version"] == 1


def test_a_name_stays_at_its_site(client: Client) -> None:
    """Moving an agent would move its measurements: it needs another name."""
    client.apply()

    answer = client.apply(MESH.replace('name = "fra2"\nsite = "fra"', 'name = "fra2"\nsite = "ams"'))

    assert (answer.status, answer.json()["key"]) == (422, "fra2")


def test_meshes_applied_at_once_get_different_versions(client: Client) -> None:
    """Eight concurrent requests get eight versions."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: client.apply(f"{MESH}# {n}\n"), range(8)))

    assert sorted(answer.json()["version"] for answer in answers) == list(range(1, 9))


def test_no_mesh_is_no_error(client: Client) -> None:
    """Before the first mesh: 404 for its text, and an empty matrix."""
    assert client.send("GET", "/api/v1/mesh").status == 404
    assert client.get("/api/v1/matrix?profile=vcf9-stretched-cluster")["pairs"] == []


def test_an_agent_gets_its_plan(client: Client, fra1: str) -> None:
    """Its targets, the version and an ETag."""
    answer = client.send("GET", "/api/v1/plan", key=fra1)

    plan = answer.json()
    assert (plan["agent"], plan["site"], plan["mesh_version"]) == ("fra1", "fra", 1)
    assert [(target["name"], target["address"]) for target in plan["targets"]] == [("ams1", "192.0.2.3")]
    assert answer.headers["ETag"] == '"1"'


def test_an_unchanged_plan_is_not_sent_again(client: Client, fra1: str) -> None:
    """304 for the agent's version, the new plan after a change."""
    assert client.send("GET", "/api/v1/plan", key=fra1, If_None_Match='"1"').status == 304
    client.apply(MESH + "# newer\n")
    assert client.send("GET", "/api/v1/plan", key=fra1, If_None_Match='"1"').status == 200


def test_an_agent_outside_the_mesh_measures_nothing(client: Client, fra1: str) -> None:
    """Its plan is empty and its key stays valid."""
    client.apply(MESH.replace('name = "fra1"', 'name = "fra9"'))

    answer = client.send("GET", "/api/v1/plan", key=fra1)

    assert (answer.status, answer.json()["targets"]) == (200, [])


def test_a_token_gives_one_key(client: Client) -> None:
    """The second use gets 401, like an unknown token; the first key works."""
    client.apply()
    token = client.token("fra")
    first = client.enrol(token, "fra1")

    assert (first.status, first.json()["agent"], first.json()["site"]) == (200, "fra1", "fra")
    assert client.enrol(token, "fra1").body == client.enrol("ll_token_of_nobody", "fra1").body
    assert client.enrol(token, "fra1").status == 401
    assert client.send("GET", "/api/v1/plan", key=first.json()["key"]).status == 200


def test_a_token_used_concurrently_gives_one_key(client: Client) -> None:
    """One of eight concurrent enrolments with one token succeeds."""
    client.apply()
    token = client.token("fra")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.enrol(token, "fra1"), range(8)))

    assert sorted(answer.status for answer in answers) == [200] + [401] * 7


@pytest.mark.parametrize(("age_s", "status"), [(3_599, 200), (3_600, 401)])
def test_a_token_expires(client: Client, clock: FakeClock, age_s: int, status: int) -> None:
    """A token is valid until the last second of its lifetime."""
    client.apply()
    token = client.token("fra", ttl_s=3_600)

    clock.advance(age_s * 1_000_000_000)

    assert client.enrol(token, "fra1").status == status


@pytest.mark.parametrize("agent", [None, "ams1", "nobody"])
def test_a_token_enrols_an_agent_of_its_site_only(client: Client, agent: str | None) -> None:
    """422 with the site's agents; the token stays unused."""
    client.apply()
    token = client.token("fra")

    answer = client.enrol(token, agent)

    assert (answer.status, answer.json()["path"]) == (422, "agent")
    assert "fra1, fra2" in answer.json()["detail"]
    assert client.enrol(token, "fra1").status == 200


def test_the_only_agent_of_a_site_needs_no_name(client: Client) -> None:
    """The request may omit the name if the site has one agent."""
    client.apply()

    assert client.enrol(client.token("ams")).json()["agent"] == "ams1"


def test_a_token_for_an_unknown_site_is_refused(client: Client) -> None:
    """422: the mesh must be applied first."""
    answer = client.send("POST", "/api/v1/tokens", b'{"site": "fra"}', client.admin_key)

    assert (answer.status, answer.json()["path"]) == (422, "site")


def test_two_keys_of_an_agent_live(client: Client, clock: FakeClock, store: Store) -> None:
    """Another enrolment keeps the previous key for the transition and revokes the one before that."""
    client.apply()
    keys = []
    for _ in range(3):
        keys.append(client.key("fra1", "fra"))
        clock.advance(1_000_000_000)

    statuses = [client.post(build_batch(("ams1", build_steady_window(4_900))), key).status for key in keys]

    assert statuses == [401, 200, 200]
