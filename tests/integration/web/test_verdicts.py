"""Page of the verdicts of a small mesh, and the summary, order and cells of the matrix."""

from __future__ import annotations

from typing import Any

import pytest

from leadline.model import Window
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
    """Build a full mesh of this many sites."""
    parts = [
        f'[[site]]\nname = "s{n:02}"\nlatitude = 50.{n:02}\nlongitude = 8.{n:02}\n'
        f'[[agent]]\nname = "a{n:02}"\nsite = "s{n:02}"\naddress = "192.0.2.{n + 1}"\n'
        for n in range(sites)
    ]
    names = [f"s{n:02}" for n in range(sites)]
    group = f'[[group]]\nname = "all"\nkind = "full-mesh"\nsites = {names!r}\n'
    return "\n".join([f'profiles = ["{PROFILE}"]', *parts, group])


@pytest.mark.both_databases
def test_verdicts_are_those_of_the_api(client: Client, fra1: str) -> None:
    """Each pair of sites has the verdict and the deciding direction of the API."""
    client.post(build_batch(("ams1", build_steady_window(4_900, LAST_S))), fra1)
    document: Any = client.get(f"/api/v1/verdicts?profile={PROFILE}")

    page = page_at(client, f"/verdicts?profile={PROFILE}")

    (table,) = page.all("table", class_="verdicts")
    for both in document["site_pairs"]:
        name = " ⇄ ".join(both["sites"])
        assert f"{name} {VERDICT_LABELS[VerdictClass(both['verdict'])]} {' → '.join(both['decided_by'])}" in blanks(
            table.text
        )
    assert [element for element in page.elements if "data-part" in element.attributes]


def test_matrix_links_to_its_verdicts(client: Client, fra1: str) -> None:
    """The URL is a fragment and a link, with the same profile and period. There is none without data."""
    assert "No data for a verdict yet." in page_at(client, "/").text()

    client.post(build_batch(("ams1", build_steady_window(4_900, LAST_S))), fra1)
    page = page_at(client, "/?from=-20d")

    (place,) = [element for element in page.elements if "data-fragment" in element.attributes]
    assert place.attributes["data-fragment"] == f"/verdicts?profile={PROFILE}&from=-20d"
    assert place.attributes["data-fragment"] in [element.attributes["href"] for element in page.all("a")]


@one_store
def test_large_mesh_has_no_verdicts_page(client: Client) -> None:
    """The matrix names the alternatives. The page itself is 422 with the number."""
    client.apply(mesh_of(7))

    assert "42 directed pairs are too many" in page_at(client, "/").text()
    answer = client.send("GET", "/verdicts")
    assert answer.status == 422
    assert f"42 directed pairs, at most {PAIRS_MAX} on one page" in parsed(answer).text()


@one_store
@pytest.mark.parametrize(("path", "status"), [("/verdicts?group=nonsense", 422), ("/verdicts?profile=nonsense", 422)])
def test_unknown_group_or_profile_is_a_problem(client: Client, fra1: str, path: str, status: int) -> None:
    """The status is the one of the matrix."""
    assert client.send("GET", path).status == status


@one_store
def test_verdicts_without_a_mesh_are_404(client: Client) -> None:
    """The page shows the command."""
    answer = client.send("GET", "/verdicts")

    assert (answer.status, "leadline mesh apply" in parsed(answer).text()) == (404, True)


@pytest.mark.both_databases
def test_verdicts_precede_the_tables(client: Client, fra1: str) -> None:
    """Until the verdicts are loaded, the page lists the pairs."""
    client.post(build_batch(("ams1", build_steady_window(4_900, LAST_S))), fra1)

    page = page_at(client, "/")

    order = [blanks(element.text) for element in page.elements if element.tag in ("h1", "h2")]
    assert order[1:3] == ["Verdicts on pairs of sites", "metro"]
    (place,) = [element for element in page.elements if "data-fragment" in element.attributes]
    assert "fra ⇄ ams" in blanks(place.text)
    (details,) = page.all("details")
    assert "profile" in details.text
    assert not [element for element in page.all("form") if element.text not in details.text]


@one_store
def test_verdicts_are_cached_for_a_minute(client: Client, fra1: str, clock: FakeClock) -> None:
    """The page shows the time. Another profile or mesh has its own entry."""

    def computed_at(path: str) -> str:
        return page_at(client, path).text().partition("Computed at ")[2][:8]

    client.post(build_batch(("ams1", build_steady_window(4_900, LAST_S))), fra1)
    first = computed_at("/verdicts")
    clock.advance((CACHE_TTL_S - 1) * 1_000_000_000)
    second, other = computed_at("/verdicts"), computed_at("/verdicts?profile=vsan-stretched")
    clock.advance(1_000_000_000)
    later = computed_at("/verdicts")

    assert first == second
    assert len({first, other, later}) == 3
    client.apply(mesh_of(2))
    assert "s00 ⇄ s01" in page_at(client, "/verdicts").text()


@one_store
def test_verdict_row_has_the_current_state(client: Client, fra1: str, store: Store, clock: FakeClock) -> None:
    """The state has its start. A stale state is not shown."""
    last_s = live_pairs.compute_due_minute(clock.wall_ns() // 1_000_000_000)
    rows = [("ams1", build_steady_window(4_900 if n < 3 else 10_400, last_s - 60 * n)) for n in range(6)]
    client.post(build_batch(*rows), fra1)
    run_compaction(store, clock)
    live_pairs.refresh_pairs(store, clock.wall_ns() // 1_000_000_000, {})

    text = page_at(client, f"/verdicts?profile={PROFILE}").text()

    assert f"good since {formatting.format_short_time(last_s - 120, last_s)}" in text
    clock.advance(600 * 1_000_000_000)
    assert "good since" not in page_at(client, f"/verdicts?profile={PROFILE}").text()


@one_store
def test_a_reply_faster_than_light_is_the_current_state(
    client: Client, fra1: str, store: Store, clock: FakeClock
) -> None:
    """The verdicts page, the matrix, the map and the page of the pair say invalid, although the window is good."""
    last_s = live_pairs.compute_due_minute(clock.wall_ns() // 1_000_000_000)
    client.post(build_batch(("ams1", build_steady_window(900, last_s))), fra1)
    run_compaction(store, clock)
    live_pairs.refresh_pairs(store, clock.wall_ns() // 1_000_000_000, {})

    assert "invalid a reply is faster than light" in blanks(page_at(client, f"/verdicts?profile={PROFILE}").text())
    matrix = page_at(client, "/?from=-1h")
    assert "cell heat-0 invalid thin" in [element.attributes.get("class") for element in matrix.all("td")]
    assert "Now: 1 unknown 1 invalid" in matrix.text()
    assert "No valid known window of its 2 directed pairs" in matrix.text()
    assert "fra → ams invalid, 100 % of 1 good" in blanks(page_at(client, "/map").text())
    (end,) = [
        element
        for element in page_at(client, "/pairs/fra/ams?from=-1h").all("td", **{"data-name": "at the end"})
        if "invalid" in element.text
    ]
    assert "since" not in end.text
    assert '<symbol id="sign-invalid"' in client.send("GET", "/map").body.decode()


def test_summary_counts_shares_and_current_states(client: Client, fra1: str) -> None:
    """It has the number of pairs that reach the target, the worst pair and the current states."""
    windows = [build_steady_window(4_900 if n else 10_400, LAST_S - 60 * n) for n in range(10)]
    client.post(build_batch(*(("ams1", window) for window in windows)), fra1)

    text = page_at(client, "/?from=-1h").text()

    assert "0 of 1 directed pairs have 99.5 % or more of their known windows within the limits over 1 hour" in text
    assert "(1 without a known window); lowest: fra → ams 90.00 %." in text
    assert "Now: 1 bad 1 unknown" in text


def test_cell_separates_share_and_current_state(client: Client, fra1: str) -> None:
    """A pair is bad now and was good before."""
    windows = [build_steady_window(4_900 if n else 10_400, LAST_S - 60 * n) for n in range(10)]
    client.post(build_batch(*(("ams1", window) for window in windows)), fra1)

    (cell,) = [
        element
        for element in page_at(client, "/?from=-1h").all("a")
        if (element.attributes.get("aria-label") or "").startswith("fra to ams")
    ]

    assert blanks(cell.text).startswith("90.00 % of 10 others: latency coverage 16 % now bad: latency")


@one_store
def test_cell_has_a_tint_and_sparse_cells_are_hatched(client: Client, fra1: str) -> None:
    """A cell with less than 95 % coverage has the class ``thin``."""
    client.post(build_batch(("ams1", build_steady_window(4_900, LAST_S))), fra1)

    cells = [element.attributes.get("class") or "" for element in page_at(client, "/?from=-1h").all("td")]

    assert "cell heat-0 good thin" in cells
    assert "cell heat-none unknown" in cells


def test_a_cell_marks_few_probes_and_names_the_first_window(client: Client, fra1: str) -> None:
    """A letter marks the cell, and the text below a pointer has the numbers."""
    window = Window(start_s=LAST_S - 60, interval_ms=2_000, rtt_us=(4_900,) * 30, misses=())
    client.post(build_batch(("ams1", window), ("ams1", build_steady_window(4_900, LAST_S))), fra1)

    page = page_at(client, "/?from=-7d")

    since = formatting.format_short_time(LAST_S - 60, LAST_S)
    (link,) = [
        element for element in page.all("a") if (element.attributes.get("title") or "").startswith("measured since")
    ]
    assert link.attributes["title"] == f"measured since {since} UTC, 30 probes a minute"
    assert f"since {since}" in blanks(link.text)
    assert "coverage" not in link.text
    assert "few probes: 30 a minute" in [element.attributes.get("title") for element in page.all("abbr")]


def test_the_matrix_names_weak_limits_once(client: Client) -> None:
    """They are limits of the profile, so they are not repeated in the cells."""
    client.apply()

    assert "Limits with reservations" not in page_at(client, "/").text()
    text = page_at(client, "/?profile=netapp-metrocluster-ip").text()
    assert text.count("Limits with reservations: netapp-metrocluster-ip-isl-rtt: superseded.") == 1


@one_store
def test_matrix_sorts_by_worst_share_on_request(client: Client, fra1: str) -> None:
    """The default order is the order of the mesh file."""
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
        tuple(blanks(element.text) for element in page_at(client, path).all("th", scope="col"))[:3]
        for path in ("/?from=-1h", "/?from=-1h&sort=worst")
    ]

    assert orders == [names, ("s01", "s02", "s00")]
    assert client.send("GET", "/?sort=best").status == 422


@one_store
@pytest.mark.parametrize(
    ("sites", "css_class"),
    [
        (COMPACT_ABOVE_SITES, "matrix"),
        (COMPACT_ABOVE_SITES + 1, "matrix compact"),
        (TINY_ABOVE_SITES, "matrix compact"),
        (TINY_ABOVE_SITES + 1, "matrix compact tiny"),
    ],
)
def test_large_matrix_has_compact_cells(client: Client, sites: int, css_class: str) -> None:
    """The label has the complete text."""
    client.apply(mesh_of(sites))

    page = page_at(client, "/")

    assert len(page.all("section", class_=css_class)) == 1
    labels = [element.attributes.get("aria-label") for element in page.all("a")]
    assert "s00 to s01: unknown now; not measured in this period" in labels
