"""Map page: state and link of every pair, in the drawing and in the tables."""

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
    """Return the data sets of the map's specification."""
    (script,) = page.all("script", type="application/json")
    datasets: dict[str, Any] = json.loads(script.text)["datasets"]
    return datasets


def rows(page: Html) -> list[str]:
    """Return the texts of all table rows."""
    return [blanks(element.text) for element in page.all("tr")]


@pytest.fixture(name="measured")
def _measured(client: Client, fra1: str) -> Client:
    """fra → ams is good in its latest window and bad in the one before; ams → fra has no data."""
    windows = [("ams1", build_steady_window(10_400, LAST_S - 60)), ("ams1", build_steady_window(4_900, LAST_S))]
    assert client.post(build_batch(*windows), fra1).status == 200
    return client


@pytest.mark.both_databases
def test_edge_shows_the_worse_direction_and_links_to_it(measured: Client) -> None:
    """ams → fra has no data, so the edge is unknown."""
    (link,) = drawing(page_at(measured, "/map"))["links"]

    assert link["state"] == "unknown"
    assert link["href"] == "/pairs/ams/fra?profile=vcf9-stretched-cluster&from=-28d"
    assert "fra → ams: good, 50.00\u00a0% of 2 good" in link["tip"]


def test_table_has_distance_minimum_rtts_and_both_directions(measured: Client) -> None:
    """States and shares are those of the matrix."""
    row = next(text for text in rows(page_at(measured, "/map")) if text.startswith("fra \u2013 ams"))

    assert row.startswith("fra \u2013 ams 361.1 km 2.395 ms 3.516 ms")
    assert "possible possible" in row
    assert row.endswith("fra → ams good, 50.00 % of 2 good ams → fra unknown, not measured")


def test_pair_beyond_the_reachable_distance_is_impossible(client: Client) -> None:
    """The coordinates decide, not the measurements."""
    client.apply(MESH.replace("longitude = 4.9", "longitude = -74.0"))

    page = page_at(client, "/map")

    assert [edge["state"] for edge in drawing(page)["links"]] == ["impossible"]
    assert "impossible impossible" in next(text for text in rows(page) if text.startswith("fra \u2013 ams"))


def test_rings_are_around_the_requested_site(client: Client, fra1: str) -> None:
    """There are four rings, 5 and 10 ms in glass and in a vacuum, or none."""
    page, without = page_at(client, "/map?reach=ams"), page_at(client, "/map?reach=none")

    assert len(drawing(page)["rings"]) == 4
    assert "5 ms in glass: 511 km" in page.text()
    assert [blanks(element.text) for element in page.all("a") if element.attributes.get("aria-current")][-1] == "ams"
    assert drawing(without)["rings"] == []


def test_sites_have_coordinates_and_agents(client: Client, fra1: str) -> None:
    """Agents are links."""
    page = page_at(client, "/map")

    assert any(text.startswith("fra 50.100° N 8.700° E ± ") for text in rows(page))
    assert page.all("a", href="/agents/fra2")


def test_simulated_sites_are_marked(client: Client) -> None:
    """The page has a band, and each site a tag."""
    client.apply(SIMULATED)

    page = page_at(client, "/map")

    assert len(page.all("p", class_="band")) or "SIMULATED DATA" in page.text()
    assert any(text.startswith("fra simulated") for text in rows(page))


def test_image_has_links_and_loads_nothing(measured: Client) -> None:
    """The SVG names no other host except the namespaces of SVG."""
    answer = measured.send("GET", "/map.svg?theme=dark")

    text = answer.body.decode()
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/svg+xml")
    assert 'href="/pairs/ams/fra?profile=vcf9-stretched-cluster&amp;from=-28d"' in text
    assert "vega.github.io" not in text


@one_store
def test_map_without_a_mesh_shows_the_command(client: Client) -> None:
    """The image is 404."""
    assert "leadline mesh apply" in page_at(client, "/map").text()
    assert client.send("GET", "/map.svg").status == 404


@one_store
@pytest.mark.parametrize(
    ("path", "status"), [("/map?group=nonsense", 422), ("/map?profile=nonsense", 422), ("/map?from=nonsense", 422)]
)
def test_unknown_parameters_are_problem_pages(client: Client, fra1: str, path: str, status: int) -> None:
    """The text is the one of the API."""
    answer = client.send("GET", path)

    assert answer.status == status
    assert "nonsense" in parsed(answer).text()


@one_store
def test_unknown_ring_site_gets_the_default_rings(client: Client, fra1: str) -> None:
    """A link to a renamed site still shows a map."""
    assert len(drawing(page_at(client, "/map?reach=nonsense"))["rings"]) == 4


@one_store
def test_map_starts_with_a_group_of_distinguishable_sites(client: Client) -> None:
    """The demo's sites overseas would draw the European ones on top of each other. A link shows the whole mesh."""
    assert client.apply(build_mesh_toml()).status == 200

    assert current(page_at(client, "/map"))[:2] == ["Map", "europe-simulated"]
    whole = page_at(client, "/map?group=")
    assert current(whole)[:2] == ["Map", "all"]
    assert whole.all("a", href="/map?group=&profile=vcf9-stretched-cluster")
    assert len(drawing(whole)["spots"]) > len(drawing(page_at(client, "/map"))["spots"])


def current(page: Html) -> list[str]:
    """Return the texts of the current section and choices."""
    return [blanks(element.text) for element in page.all("a") if element.attributes.get("aria-current")]
