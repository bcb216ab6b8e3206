"""The map, as a browser gets it: every pair with its state and its link, in the drawing and in the tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leadline_cli.commands.demo import build_mesh_toml
from tests.integration.conftest import Client
from tests.integration.web.test_pages import SIMULATED, Html, blanks, page_at, parsed
from tests.support.documents import MESH, NOW_S, build_batch, build_steady_window

one_store = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
LAST_S = NOW_S + 3_600 - 120


def drawing(page: Html) -> dict[str, Any]:
    """The data sets of the specification in the page."""
    (script,) = page.all("script", type="application/json")
    found: dict[str, Any] = json.loads(script.text)["datasets"]
    return found


def rows(page: Html) -> list[str]:
    """The rows of the tables."""
    return [blanks(one.text) for one in page.all("tr")]


@pytest.fixture(name="measured")
def _measured(client: Client, fra1: str) -> Client:
    """fra → ams is good in its newest window and was bad in the one before; the other way nothing was measured."""
    windows = [("ams1", build_steady_window(10_400, LAST_S - 60)), ("ams1", build_steady_window(4_900, LAST_S))]
    assert client.post(build_batch(*windows), fra1).status == 200
    return client


@pytest.mark.both_databases
def test_a_line_shows_the_worse_direction_and_leads_to_it(measured: Client) -> None:
    """Nothing was measured from ams to fra: the line is grey and its link is that direction's page."""
    (link,) = drawing(page_at(measured, "/map"))["links"]

    assert link["state"] == "unknown"
    assert link["href"] == "/pairs/ams/fra?profile=vcf9-stretched-cluster&from=-28d"
    assert "fra → ams: good, 50.00\u00a0% of 2 good" in link["tip"]


def test_the_table_has_distance_floors_and_both_directions(measured: Client) -> None:
    """Numbers of physics, words of the matrix."""
    found = next(one for one in rows(page_at(measured, "/map")) if one.startswith("fra \u2013 ams"))

    assert found.startswith("fra \u2013 ams 361.1 km 2.395 ms 3.516 ms")
    assert "possible possible" in found
    assert found.endswith("fra → ams good, 50.00 % of 2 good ams → fra unknown, no data")


def test_a_distance_that_light_cannot_do_is_impossible(client: Client) -> None:
    """Whatever was measured."""
    client.apply(MESH.replace("longitude = 4.9", "longitude = -74.0"))

    page = page_at(client, "/map")

    assert [one["state"] for one in drawing(page)["links"]] == ["impossible"]
    assert "impossible impossible" in next(one for one in rows(page) if one.startswith("fra \u2013 ams"))


def test_rings_belong_to_the_site_that_was_asked_for(client: Client, fra1: str) -> None:
    """Four: 5 and 10 ms in glass and in a vacuum; or none."""
    page, without = page_at(client, "/map?reach=ams"), page_at(client, "/map?reach=none")

    assert len(drawing(page)["rings"]) == 4
    assert "5 ms in glass: 511 km" in page.text()
    assert [blanks(one.text) for one in page.all("a") if one.attributes.get("aria-current")][-1] == "ams"
    assert drawing(without)["rings"] == []


def test_every_site_has_its_place_time_and_agents(client: Client, fra1: str) -> None:
    """Coordinates with their uncertainty, and links to its agents."""
    page = page_at(client, "/map")

    assert any(one.startswith("fra 50.100° N 8.700° E ± ") for one in rows(page))
    assert page.all("a", href="/agents/fra2")


def test_simulated_sites_are_marked(client: Client) -> None:
    """By the band and at each of them."""
    client.apply(SIMULATED)

    page = page_at(client, "/map")

    assert len(page.all("p", class_="band")) or "SIMULATED DATA" in page.text()
    assert any(one.startswith("fra simulated") for one in rows(page))


def test_the_picture_has_the_links_and_loads_nothing(measured: Client) -> None:
    """For pages without scripts: an SVG that names no other host than the namespaces of SVG."""
    answer = measured.send("GET", "/map.svg?theme=dark")

    text = answer.body.decode()
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/svg+xml")
    assert 'href="/pairs/ams/fra?profile=vcf9-stretched-cluster&amp;from=-28d"' in text
    assert "vega.github.io" not in text


@one_store
def test_without_a_mesh_the_map_says_what_to_run(client: Client) -> None:
    """And its picture is not there."""
    assert "leadline mesh apply" in page_at(client, "/map").text()
    assert client.send("GET", "/map.svg").status == 404


@one_store
@pytest.mark.parametrize(
    ("path", "status"), [("/map?group=nonsense", 422), ("/map?profile=nonsense", 422), ("/map?from=nonsense", 422)]
)
def test_what_is_not_known_is_a_problem_page(client: Client, fra1: str, path: str, status: int) -> None:
    """With the words of the API."""
    answer = client.send("GET", path)

    assert answer.status == status
    assert "nonsense" in parsed(answer).text()


@one_store
def test_a_site_that_is_not_there_gets_the_default_rings(client: Client, fra1: str) -> None:
    """A link to a site that was renamed still shows a map."""
    assert len(drawing(page_at(client, "/map?reach=nonsense"))["rings"]) == 4


@one_store
def test_a_mesh_with_sites_overseas_begins_with_a_group_that_can_be_read(client: Client) -> None:
    """The demo's world would be a blot in Europe, and its machine is one place; the whole is a link away."""
    assert client.apply(build_mesh_toml()).status == 200

    assert current(page_at(client, "/map"))[:2] == ["Map", "europe-simulated"]
    whole = page_at(client, "/map?group=")
    assert current(whole)[:2] == ["Map", "all"]
    assert whole.all("a", href="/map?group=&profile=vcf9-stretched-cluster")
    assert len(drawing(whole)["spots"]) > len(drawing(page_at(client, "/map"))["spots"])


def current(page: Html) -> list[str]:
    """The section and the choices that are shown."""
    return [blanks(one.text) for one in page.all("a") if one.attributes.get("aria-current")]
