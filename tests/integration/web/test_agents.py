"""The pages of the agents: who delivers, what they told, and what is missing of each."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from leadline_collector.db import tables
from leadline_collector.db.engine import Database
from tests.integration.conftest import Client
from tests.integration.web.test_pages import SIMULATED, Html, blanks, page_at, parsed
from tests.support.clock import FakeClock
from tests.support.documents import NOW_S, build_batch, build_steady_window

one_store = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
NS_PER_S = 1_000_000_000
#: The clock of the tests stands here.
CLOCK_S = NOW_S + 3_600


def row(page: Html, agent: str) -> str:
    """What the list says of an agent."""
    (found,) = [one for one in page.all("tr") if blanks(one.text).startswith(f"{agent} ")]
    return blanks(found.text)


def deliver(client: Client, key: str, *ago: int) -> None:
    """Windows of fra1 that began so many minutes ago."""
    windows = [("ams1", build_steady_window(4_900, CLOCK_S - 60 * minutes)) for minutes in ago]
    assert client.post(build_batch(*windows), key).status == 200


@pytest.mark.both_databases
def test_what_an_agent_told_stands_in_its_row(client: Client, fra1: str, database: Database) -> None:
    """Spool, clock, version and time, with units; the other agents told nothing, and it says so."""
    deliver(client, fra1, 3, 2)
    told = {
        "src_id": 1, "heard_at": CLOCK_S - 30, "latest_t": CLOCK_S - 120, "version": "0.1.0", "spool_batches": 3,
        "spool_bytes": 6 << 20, "spool_bytes_max": 1 << 30, "clock_offset_us": -250, "clock_offset_error_us": 900,
        "ntp_synchronised": True, "updated_at": CLOCK_S,
    }  # fmt: skip
    with database.write() as connection:
        connection.execute(insert(tables.agent_now), [told])

    page = page_at(client, "/agents")

    assert row(page, "fra1").startswith("fra1 fra ok 06:59, 1 min ago 06:59, 30 s ago")
    assert "3 waiting, 6 MiB of 1 GiB 1 %" in row(page, "fra1")
    assert "\u22120.250 ms ± 0.900 ms NTP synchronised 0.1.0 no end not signed" in row(page, "fra1")
    assert row(page, "fra2").startswith("fra2 fra never heard no valid key none not told \u2013 not told not told")


def test_a_silent_agent_comes_first_and_its_gap_is_open(client: Client, fra1: str, clock: FakeClock) -> None:
    """Six minutes later."""
    deliver(client, fra1, 3, 2)
    clock.advance(6 * 60 * NS_PER_S)

    page = page_at(client, "/agents")

    assert [blanks(one.text).split()[0] for one in page.all("tr")][1:] == ["fra1", "ams1", "fra2"]
    assert "silent" in row(page, "fra1")
    assert "one open" in row(page, "fra1")
    assert "still open" in page_at(client, "/agents/fra1").text()


@pytest.mark.both_databases
def test_the_page_of_an_agent_explains_its_gaps(client: Client, fra1: str) -> None:
    """From, to, length, windows, the reason in words, and who knows it."""
    deliver(client, fra1, 20, 19, 9, 8)

    page = page_at(client, "/agents/fra1")

    rows = [blanks(one.text) for one in page.all("tr")]
    hole = next(one for one in rows if one.startswith("2026-11-22 06:42 UTC"))
    assert hole.startswith("2026-11-22 06:42 UTC 2026-11-22 06:51 UTC 9 minutes 9 ")
    assert "found by the collector" in hole
    assert len(page.all("dt")) > 8


def test_the_page_of_an_agent_names_its_paths_and_keys(client: Client, fra1: str) -> None:
    """Each target with its address, and the page of its pair."""
    page = page_at(client, "/agents/fra1")

    assert "ams1 ams 192.0.2.3 1000 ms" in page.text()
    assert page.all("a", href="/pairs/fra/ams")
    assert "first used" not in page.text()
    assert "It never delivered a window" in page.text()


def test_an_agent_that_the_mesh_no_longer_names_is_still_shown(client: Client, fra1: str) -> None:
    """What it measured is kept, and so is its name."""
    mesh = str(client.get("/api/v1/mesh")["text"]).replace('name = "fra2"', 'name = "fra3"')
    assert client.apply(mesh).status == 200

    assert "not in the mesh" in row(page_at(client, "/agents"), "fra2")


@one_store
def test_without_a_mesh_the_page_says_what_to_run(client: Client) -> None:
    """The three commands, in order."""
    text = page_at(client, "/agents").text()

    assert text.index("leadline mesh apply") < text.index("leadline token create") < text.index("leadline agent enroll")


@one_store
@pytest.mark.parametrize("name", ["nobody", "%3Cscript%3E", "import%3Afra2"])
def test_an_agent_that_never_was_is_a_problem_page(client: Client, fra1: str, name: str) -> None:
    """404, with its name as text."""
    answer = client.send("GET", f"/agents/{name}")

    assert answer.status == 404
    assert "no mesh ever had an agent" in parsed(answer).text()


def test_the_days_before_the_first_window_are_no_gap(client: Client, fra1: str) -> None:
    """What an agent had not begun to measure it does not miss; the page says since when it does."""
    deliver(client, fra1, 5, 4, 3)

    page = page_at(client, "/agents/fra1")

    assert "none" in row(page_at(client, "/agents"), "fra1")
    assert "Nothing: every window of every path was delivered" in page.text()
    assert "Its first window began 2026-11-22 06:55 UTC" in page.text()


def test_agents_of_simulated_sites_share_a_row(client: Client) -> None:
    """Nobody expects anything of them; each still has its page."""
    client.apply(SIMULATED)

    page = page_at(client, "/agents")

    (shared,) = [blanks(one.text) for one in page.all("tr") if "windows of their sites are generated" in one.text]
    assert shared.startswith(("1 simulated", "2 simulated", "3 simulated"))
    assert page.all("a", href="/agents/fra1")
    assert page_at(client, "/agents/fra1").all("p", class_="band")
