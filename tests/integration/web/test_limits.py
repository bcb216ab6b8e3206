"""The pages of the catalogue: everything is found, said and linked; nothing is invented."""

from __future__ import annotations

import pytest

from leadline.limits.catalogue import SourceConfidence, load_catalogue
from tests.integration.conftest import Client
from tests.integration.web.test_pages import Html, blanks, page_at, parsed

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def found(page: Html) -> set[str]:
    """The limits a page links to with their numbers."""
    known = load_catalogue().limits
    links = (str(one.attributes.get("href")) for one in page.all("a") if one.attributes.get("aria-label"))
    return {name for name in (href.removeprefix("/limits/") for href in links) if name in known}


def test_the_whole_catalogue_is_listed_and_every_limit_has_a_page(client: Client) -> None:
    """Each with its number, its name for ever, and every source."""
    assert found(page_at(client, "/limits")) == set(load_catalogue().limits)

    for limit in load_catalogue().limits.values():
        page = page_at(client, f"/limits/{limit.id}")
        links = {one.attributes["href"] for one in page.all("a")}
        assert limit.id in page.text()
        assert {one.url for one in (limit.source, *limit.additional_sources) if one.url} <= links


def test_every_word_of_a_question_has_to_occur(client: Client) -> None:
    """In any field and any case; the address is the question."""
    page = page_at(client, "/limits?q=VSAN+witness")

    assert found(page)
    assert found(page) < found(page_at(client, "/limits?q=vsan"))
    assert [one.attributes["value"] for one in page.all("input", name="q")] == ["VSAN witness"]
    assert f"{len(found(page))} of {len(load_catalogue().limits)} limits with “VSAN witness”" in page.text()


def test_a_question_without_an_answer_says_what_to_try(client: Client) -> None:
    """No empty table."""
    page = page_at(client, "/limits?q=nonsense")

    assert found(page) == set()
    assert "Try fewer words" in page.text()


def test_a_vendor_is_a_link_with_its_count(client: Client) -> None:
    """It keeps the question."""
    page = page_at(client, "/limits?q=vsan&vendor=VMware%2FBroadcom")

    current = [blanks(one.text) for one in page.all("a") if one.attributes.get("aria-current")]
    assert current == ["Limits", f"VMware/Broadcom {len(found(page))}"]


def test_limits_of_the_mesh_are_marked_and_can_be_shown_alone(client: Client, fra1: str) -> None:
    """Those of the profiles its pairs are judged by, and no others."""
    profile = load_catalogue().get_profile("vcf9-stretched-cluster")

    assert found(page_at(client, "/limits?used=yes")) == {*profile.all_of, *profile.declared}
    assert "in use by profiles of this mesh: vcf9-stretched-cluster" in page_at(
        client, f"/limits/{profile.all_of[0]}"
    ).text().replace(" .", ".")


def test_without_a_mesh_nothing_is_in_use(client: Client) -> None:
    """The catalogue can be read before there is a mesh."""
    assert found(page_at(client, "/limits?used=yes")) == set()


def test_a_limit_says_how_it_is_judged_and_how_far_light_gets(client: Client) -> None:
    """5 ms reach 511 km of glass and 749 km of vacuum: the numbers of physics."""
    text = page_at(client, "/limits/vmware-vsan-9.0-stretched-rtt").text()

    assert "p95 of each 60 s window < 5 ms" in text
    assert "511 km" in text
    assert "749 km" in text


def test_a_limit_that_is_not_judged_says_why_and_has_no_reach(client: Client) -> None:
    """A bandwidth does not show in round trips."""
    name = next(one.id for one in load_catalogue().limits.values() if one.metric == "bandwidth")

    text = page_at(client, f"/limits/{name}").text()

    assert "not evaluated: RTTs do not show the bandwidth" in text
    assert "Reachable distance" not in text


def test_an_unverified_limit_is_said_to_be_no_evidence(client: Client) -> None:
    """Before anything else is said of it."""
    name = next(one.id for one in load_catalogue().limits.values() if one.confidence is SourceConfidence.UNVERIFIED)

    assert "Unverified: this number was not checked against a source" in page_at(client, f"/limits/{name}").text()


def test_every_profile_has_a_page_with_its_limits(client: Client) -> None:
    """Those that must hold, and those the operator vouches for."""
    for name in sorted(load_catalogue().profiles):
        profile = load_catalogue().get_profile(name)
        links = {one.attributes["href"] for one in page_at(client, f"/limits/{name}").all("a")}

        assert {f"/limits/{limit}" for limit in (*profile.all_of, *profile.declared)} <= links, name


def test_a_limit_that_is_not_there_is_a_problem_page(client: Client) -> None:
    """404, and a way on."""
    answer = client.send("GET", "/limits/nonsense")

    assert answer.status == 404
    assert "the catalogue has no limit or profile 'nonsense'" in parsed(answer).text()


def test_the_vendors_of_the_mesh_come_first_and_then_the_largest(client: Client, fra1: str) -> None:
    """Nobody reads a hundred limits by the alphabet; the products in use come first, too."""
    page = page_at(client, "/limits")

    groups = [blanks(one.text) for one in page.all("tr", class_="group")]
    in_use = load_catalogue().limits[load_catalogue().get_profile("vcf9-stretched-cluster").all_of[0]]
    assert groups[0] == f"{in_use.vendor} {in_use.product}"
    others = [one for one in groups if not one.startswith(f"{in_use.vendor} ")]
    assert others[0].startswith("NetApp ")


def test_no_page_of_a_limit_has_words_of_the_data_file(client: Client) -> None:
    """What is limited is said in the words of the command line, on its own page and where another one refers to it."""
    for name in ("vmware-vsan-9.0-stretched-rtt", "vmware-vsan-9.0-stretched-one-way"):
        text = page_at(client, f"/limits/{name}").text()
        assert "rtt <" not in text.lower().replace(name, "")
        assert "one_way" not in text
    rows = [blanks(one.text) for one in page_at(client, "/limits").all("tr")]
    assert any(one.startswith("vsan-stretched ") and "round trip" in one for one in rows)
