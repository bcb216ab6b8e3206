"""The verdicts of a small mesh, and what the matrix says: words of the verdict code, shares of windows."""

from __future__ import annotations

from typing import Any

import pytest

from leadline_collector.db.transactions import Store
from leadline_collector.live import pairs as live_pairs
from leadline_collector.rollup.worker import run_compaction
from leadline_collector.web import formatting
from leadline_collector.web.views.matrix import COMPACT_ABOVE_SITES, TINY_ABOVE_SITES
from leadline_collector.web.views.verdict_labels import VERDICT_LABELS
from leadline_collector.web.views.verdicts import CACHE_TTL_S, PAIRS_MAX
from leadline_verdict.document import VerdictClass
from tests.integration.conftest import Client
from tests.integration.web.test_pages import LAST_S, PROFILE, blanks, page_at, parsed
from tests.support.clock import FakeClock
from tests.support.documents import build_batch, build_steady_window

one_store = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def mesh_of(sites: int) -> str:
    """A full mesh of so many sites."""
    parts = [
        f'[[site]]\nname = "s{n:02}"\nlatitude = 50.{n:02}\nlongitude = 8.{n:02}\n'
        f'[[agent]]\nname = "a{n:02}"\nsite = "s{n:02}"\naddress = "192.0.2.{n + 1}"\n'
        for n in range(sites)
    ]
    names = [f"s{n:02}" for n in range(sites)]
    group = f'[[group]]\nname = "all"\nkind = "full-mesh"\nsites = {names!r}\n'
    return "\n".join([f'profiles = ["{PROFILE}"]', *parts, group])


@pytest.mark.both_databases
def test_the_words_are_those_of_the_api(client: Client, fra1: str) -> None:
    """For each pair of sites; the page judges nothing itself."""
    client.post(build_batch(("ams1", build_steady_window(4_900, LAST_S))), fra1)
    document: Any = client.get(f"/api/v1/verdicts?profile={PROFILE}")

    page = page_at(client, f"/verdicts?profile={PROFILE}")

    (table,) = page.all("table", class_="verdicts")
    for both in document["site_pairs"]:
        name = " ⇄ ".join(both["sites"])
        assert f"{name} {VERDICT_LABELS[VerdictClass(both['verdict'])]} {' → '.join(both['decided_by'])}" in blanks(table.text)
    assert [one for one in page.elements if "data-part" in one.attributes]


def test_the_matrix_names_where_its_verdicts_are(client: Client, fra1: str) -> None:
    """As a part to be fetched and as a link, for the same profile and period; not before there is data."""
    assert "There is nothing to be judged yet." in page_at(client, "/").text()

    client.post(build_batch(("ams1", build_steady_window(4_900, LAST_S))), fra1)
    page = page_at(client, "/?from=-20d")

    (place,) = [one for one in page.elements if "data-fragment" in one.attributes]
    assert place.attributes["data-fragment"] == f"/verdicts?profile={PROFILE}&from=-20d"
    assert place.attributes["data-fragment"] in [one.attributes["href"] for one in page.all("a")]


@one_store
def test_a_large_mesh_is_not_judged_on_a_page(client: Client) -> None:
    """The matrix says so and names the ways there are; the address itself refuses, with the number."""
    client.apply(mesh_of(7))

    assert "42 directed pairs are too many" in page_at(client, "/").text()
    answer = client.send("GET", "/verdicts")
    assert answer.status == 422
    assert f"42 pairs are more than {PAIRS_MAX}" in parsed(answer).text()


@one_store
@pytest.mark.parametrize(("path", "status"), [("/verdicts?group=nonsense", 422), ("/verdicts?profile=nonsense", 422)])
def test_what_cannot_be_asked_is_a_problem(client: Client, fra1: str, path: str, status: int) -> None:
    """As on the matrix."""
    assert client.send("GET", path).status == status


@one_store
def test_without_a_mesh_there_are_no_verdicts(client: Client) -> None:
    """404, with the command."""
    answer = client.send("GET", "/verdicts")

    assert (answer.status, "leadline mesh apply" in parsed(answer).text()) == (404, True)


@pytest.mark.both_databases
def test_the_verdicts_come_before_the_tables(client: Client, fra1: str) -> None:
    """The answer is on the first screen; until it is there, the pairs that it will be about are named in its place."""
    client.post(build_batch(("ams1", build_steady_window(4_900, LAST_S))), fra1)

    page = page_at(client, "/")

    order = [blanks(one.text) for one in page.elements if one.tag in ("h1", "h2")]
    assert order[1:3] == ["Which sites are within, over weeks", "metro"]
    (place,) = [one for one in page.elements if "data-fragment" in one.attributes]
    assert "fra ⇄ ams" in blanks(place.text)
    (folded,) = page.all("details")
    assert "profile" in folded.text
    assert not [one for one in page.all("form") if one.text not in folded.text]


@one_store
def test_verdicts_are_worked_out_once_a_minute(client: Client, fra1: str, clock: FakeClock) -> None:
    """The page says when; another profile, another period or a new mesh is another question."""

    def at(path: str) -> str:
        return page_at(client, path).text().partition("Worked out at ")[2][:8]

    client.post(build_batch(("ams1", build_steady_window(4_900, LAST_S))), fra1)
    first = at("/verdicts")
    clock.advance((CACHE_TTL_S - 1) * 1_000_000_000)
    again, other = at("/verdicts"), at("/verdicts?profile=vsan-stretched")
    clock.advance(1_000_000_000)
    later = at("/verdicts")

    assert first == again
    assert len({first, other, later}) == 3
    client.apply(mesh_of(2))
    assert "s00 ⇄ s01" in page_at(client, "/verdicts").text()


@one_store
def test_the_state_now_stands_beside_its_verdict(client: Client, fra1: str, store: Store, clock: FakeClock) -> None:
    """With the minute it began; a state that lasts as long as was looked back is no shorter than that."""
    last_s = live_pairs.compute_due_minute(clock.wall_ns() // 1_000_000_000)
    rows = [("ams1", build_steady_window(4_900 if n < 3 else 10_400, last_s - 60 * n)) for n in range(6)]
    client.post(build_batch(*rows), fra1)
    run_compaction(store, clock)
    live_pairs.refresh_pairs(store, clock.wall_ns() // 1_000_000_000, {})

    text = page_at(client, f"/verdicts?profile={PROFILE}").text()

    assert f"good since {formatting.format_short_time(last_s - 120, last_s)}" in text
    clock.advance(600 * 1_000_000_000)
    assert "good since" not in page_at(client, f"/verdicts?profile={PROFILE}").text()


def test_a_summary_counts_shares_and_states_apart(client: Client, fra1: str) -> None:
    """How many pairs reach the target over the period, the worst of them, and what they are now."""
    windows = [build_steady_window(4_900 if n else 10_400, LAST_S - 60 * n) for n in range(10)]
    client.post(build_batch(*(("ams1", one) for one in windows)), fra1)

    text = page_at(client, "/?from=-1h").text()

    assert "0 of 1 directed pairs had 99.5 % or more of their known windows within over 1 hour" in text
    assert "(1 more without a known window); the least: fra → ams 90.00 %." in text
    assert "Now: 1 bad 1 unknown" in text


def test_the_state_now_and_the_share_of_the_period_are_told_apart(client: Client, fra1: str) -> None:
    """A pair that is bad now was good before: the cell says both, each with its word."""
    windows = [build_steady_window(4_900 if n else 10_400, LAST_S - 60 * n) for n in range(10)]
    client.post(build_batch(*(("ams1", one) for one in windows)), fra1)

    (cell,) = [
        one
        for one in page_at(client, "/?from=-1h").all("a")
        if (one.attributes.get("aria-label") or "").startswith("fra to ams")
    ]

    assert blanks(cell.text).startswith("90.00 % of 10 coverage 16 % now bad")


@one_store
def test_a_share_has_a_tint_and_a_thin_one_is_hatched(client: Client, fra1: str) -> None:
    """The class of the share as in the legend; less than 95 % of the period known is not to be overlooked."""
    client.post(build_batch(("ams1", build_steady_window(4_900, LAST_S))), fra1)

    cells = [one.attributes.get("class") or "" for one in page_at(client, "/?from=-1h").all("td")]

    assert "cell heat-0 good thin" in cells
    assert "cell heat-none unknown thin" in cells


@one_store
def test_the_worst_sites_come_first_if_asked(client: Client, fra1: str) -> None:
    """By the least share of any of their pairs; otherwise the order is the mesh file's."""
    names = ("s00", "s01", "s02")
    client.apply(mesh_of(3))
    key = client.key("a01", "s01")
    client.post(
        build_batch(
            ("a02", build_steady_window(10_400, LAST_S)), ("a00", build_steady_window(4_900, LAST_S)), agent="a01"
        ),
        key,
    )

    orders = [
        tuple(blanks(one.text) for one in page_at(client, path).all("th", scope="col"))[:3]
        for path in ("/?from=-1h", "/?from=-1h&sort=worst")
    ]

    assert orders == [names, ("s01", "s02", "s00")]
    assert client.send("GET", "/?sort=best").status == 422


@one_store
@pytest.mark.parametrize(
    ("sites", "looks"),
    [
        (COMPACT_ABOVE_SITES, "matrix"),
        (COMPACT_ABOVE_SITES + 1, "matrix compact"),
        (TINY_ABOVE_SITES, "matrix compact"),
        (TINY_ABOVE_SITES + 1, "matrix compact tiny"),
    ],
)
def test_a_large_matrix_has_small_cells(client: Client, sites: int, looks: str) -> None:
    """A sign and a figure, and in the end a sign; what else a cell says is in its label."""
    client.apply(mesh_of(sites))

    page = page_at(client, "/")

    assert len(page.all("section", class_=looks)) == 1
    labels = [one.attributes.get("aria-label") for one in page.all("a")]
    assert "s00 to s01: unknown now; no data in this period" in labels
