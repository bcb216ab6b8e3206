"""Pages of the catalogue: search, sources, links."""

from __future__ import annotations

import pytest

from leadline.limits.catalogue import SourceConfidence, load_catalogue
from tests.integration.conftest import Client
from tests.integration.web.test_pages import Html, blanks, page_at, parsed

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def linked_limits(page: Html) -> set[str]:
    """Return the ids of the limits that a page links to with a label."""
    limits = load_catalogue().limits
    links = (str(element.attributes.get("href")) for element in page.all("a") if element.attributes.get("aria-label"))
    return {name for name in (href.removeprefix("/limits/") for href in links) if name in limits}


def test_list_has_every_limit_and_every_limit_has_a_page(client: Client) -> None:
    """Each page shows the id and every source."""
    assert linked_limits(page_at(client, "/limits")) == set(load_catalogue().limits)

    for limit in load_catalogue().limits.values():
        page = page_at(client, f"/limits/{limit.id}")
        links = {element.attributes["href"] for element in page.all("a")}
        assert limit.id in page.text()
        assert {source.url for source in (limit.source, *limit.additional_sources) if source.url} <= links


def test_search_requires_every_word(client: Client) -> None:
    """Words match in any field and case. The URL contains the search text."""
    page = page_at(client, "/limits?q=VSAN+witness")

    assert linked_limits(page)
    assert linked_limits(page) < linked_limits(page_at(client, "/limits?q=vsan"))
    assert [element.attributes["value"] for element in page.all("input", name="q")] == ["VSAN witness"]
    assert f"{len(linked_limits(page))} of {len(load_catalogue().limits)} limits with “VSAN witness”" in page.text()


def test_search_without_matches_suggests_fewer_words(client: Client) -> None:
    """There is no empty table."""
    page = page_at(client, "/limits?q=nonsense")

    assert linked_limits(page) == set()
    assert "Try fewer words" in page.text()


def test_vendor_link_has_its_count(client: Client) -> None:
    """The link keeps the search text."""
    page = page_at(client, "/limits?q=vsan&vendor=VMware%2FBroadcom")

    current = [blanks(element.text) for element in page.all("a") if element.attributes.get("aria-current")]
    assert current == ["Limits", f"VMware/Broadcom {len(linked_limits(page))}"]


def test_limits_used_by_the_mesh_are_marked_and_can_be_filtered(client: Client, fra1: str) -> None:
    """They are the limits of the profiles of the mesh."""
    profile = load_catalogue().get_profile("vcf9-stretched-cluster")

    assert linked_limits(page_at(client, "/limits?used=yes")) == {*profile.all_of, *profile.declared}
    assert "in use by profiles of this mesh: vcf9-stretched-cluster" in page_at(
        client, f"/limits/{profile.all_of[0]}"
    ).text().replace(" .", ".")


def test_no_limit_is_in_use_without_a_mesh(client: Client) -> None:
    """The catalogue is readable before the first mesh."""
    assert linked_limits(page_at(client, "/limits?used=yes")) == set()


def test_limit_page_shows_criterion_and_reachable_distance(client: Client) -> None:
    """5 ms reach 511 km of glass fibre and 749 km of vacuum."""
    text = page_at(client, "/limits/vmware-vsan-9.0-stretched-rtt").text()

    assert "p95 of each 60 s window < 5 ms" in text
    assert "511 km" in text
    assert "749 km" in text


def test_limit_without_criterion_shows_the_reason(client: Client) -> None:
    """RTTs do not show a bandwidth, so the page has no distance."""
    name = next(limit.id for limit in load_catalogue().limits.values() if limit.metric == "bandwidth")

    text = page_at(client, f"/limits/{name}").text()

    assert "not evaluated: RTTs do not show the bandwidth" in text
    assert "Reachable distance" not in text


def test_unverified_limit_has_a_warning(client: Client) -> None:
    """The warning precedes the facts."""
    name = next(
        limit.id for limit in load_catalogue().limits.values() if limit.confidence is SourceConfidence.UNVERIFIED
    )

    assert "Unverified: this number was not checked against a source" in page_at(client, f"/limits/{name}").text()


def test_every_profile_has_a_page_with_its_limits(client: Client) -> None:
    """The page links to required and declared limits."""
    for name in sorted(load_catalogue().profiles):
        profile = load_catalogue().get_profile(name)
        links = {element.attributes["href"] for element in page_at(client, f"/limits/{name}").all("a")}

        assert {f"/limits/{limit}" for limit in (*profile.all_of, *profile.declared)} <= links, name


def test_unknown_limit_is_a_problem_page(client: Client) -> None:
    """The page has status 404."""
    answer = client.send("GET", "/limits/nonsense")

    assert answer.status == 404
    assert "the catalogue has no limit or profile 'nonsense'" in parsed(answer).text()


def test_vendors_used_by_the_mesh_come_first(client: Client, fra1: str) -> None:
    """Products in use come first too; then vendors by number of limits."""
    page = page_at(client, "/limits")

    groups = [blanks(element.text) for element in page.all("tr", class_="group")]
    in_use = load_catalogue().limits[load_catalogue().get_profile("vcf9-stretched-cluster").all_of[0]]
    assert groups[0] == f"{in_use.vendor} {in_use.product}"
    others = [group for group in groups if not group.startswith(f"{in_use.vendor} ")]
    assert others[0].startswith("NetApp ")


def test_limit_pages_describe_metrics_in_words(client: Client) -> None:
    """Pages show no identifiers of the data file."""
    for name in ("vmware-vsan-9.0-stretched-rtt", "vmware-vsan-9.0-stretched-one-way"):
        text = page_at(client, f"/limits/{name}").text()
        assert "rtt <" not in text.lower().replace(name, "")
        assert "one_way" not in text
    rows = [blanks(element.text) for element in page_at(client, "/limits").all("tr")]
    assert any(text.startswith("vsan-stretched ") and "round trip" in text for text in rows)
