"""The page of a pair: its verdict is the API's, its charts and tables are of the windows that are stored."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from leadline.evaluation import WindowState
from leadline_collector.db.tables import window_stat
from leadline_collector.db.transactions import Store
from leadline_collector.rollup.worker import run_compaction
from leadline_collector.web.charts import render
from tests.integration.conftest import Client
from tests.integration.web.test_pages import LAST_S, PAIR, PROFILE, blanks, charts, page_at, parsed
from tests.support.clock import FakeClock
from tests.support.documents import MESH, build_batch, build_steady_window, build_window

DAY_S = 86_400
one_store = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
THREE_HOURS_NS = 3 * 3_600 * 1_000_000_000


@pytest.fixture(name="measured")
def _measured(client: Client, fra1: str) -> Client:
    """An hour of fra → ams: 40 good, 7 bad, 3 unavailable; the reverse has nothing."""
    fast, slow, lossy = [4_900] * 60, [10_400] * 60, [*[4_900] * 40, *[None] * 20]
    rtts: list[Sequence[int | None]] = [*[fast] * 39, *[slow] * 7, *[lossy] * 3, fast]
    first_s = LAST_S - 60 * (len(rtts) - 1)
    windows = [build_window(one, first_s + 60 * number) for number, one in enumerate(rtts)]
    assert client.post(build_batch(*(("ams1", one) for one in windows)), fra1).status == 200
    return client


@pytest.mark.both_databases
def test_the_verdict_is_the_one_of_the_api(measured: Client) -> None:
    """Word, reasons, the direction that decides and the days: the page judges nothing itself."""
    document: Any = measured.get(f"/api/v1/verdicts?pair=fra,ams&profile={PROFILE}")
    (both,) = document["site_pairs"]

    page = page_at(measured, PAIR)

    (section,) = page.all("section", **{"aria-label": "Verdict"})
    text = blanks(section.text)
    assert text.startswith(both["verdict"].replace("_", " "))
    decided = next(one for one in document["pairs"] if [one["source"], one["destination"]] == both["decided_by"])
    for reason in decided["reasons"]:
        assert reason["text"] in text
    assert f"{both['decided_by'][0]} → {both['decided_by'][1]} decides" in text
    assert f"{document['days']} whole UTC days" in text
    (link,) = [one for one in page.all("a") if blanks(one.text) == "Windows behind it as CSV"]
    assert measured.send("GET", link.attributes["href"] or "").status == 200


def test_a_zoom_does_not_change_the_days_of_the_verdict(measured: Client) -> None:
    """An hour is too short to be judged: the verdict stays that of the last 28 days, and says so."""
    hour, month = (page_at(measured, f"{PAIR}?from={start}").text() for start in ("-1h", "-28d"))

    days = "28 whole UTC days, 25 Oct 2026 to 21 Nov 2026"
    assert (days in hour, days in month) == (True, True)


def test_both_directions_have_their_charts(measured: Client) -> None:
    """Time, distribution and week; every one with words for those who do not see it, and a picture without scripts."""
    answer = measured.send("GET", f"{PAIR}?from=-1h")
    page = parsed(answer)

    assert len(charts(page)) == 4  # the reverse has no windows to draw over time
    figures = page.all("figure")
    assert all((figure.attributes["aria-label"] or "").count(" ") > 5 for figure in figures)
    pictures = [one.attributes["src"] for one in page.all("img")]
    assert len(pictures) == len(figures)
    for picture in pictures:
        drawn = measured.send("GET", picture or "")
        assert (drawn.status, drawn.headers["Content-Type"]) == (200, "image/svg+xml"), picture
        assert drawn.body.startswith(b"<svg")
        assert "script" not in drawn.headers["Content-Security-Policy"]


@one_store
def test_a_picture_of_nothing_is_a_problem(client: Client) -> None:
    """404 for a distribution without windows, 422 for a chart there is not."""
    client.apply(MESH)

    assert client.send("GET", f"{PAIR}/chart/distribution.svg").status == 404
    assert client.send("GET", f"{PAIR}/chart/pie.svg").status == 422
    assert client.send("GET", f"{PAIR}/chart/week.svg?width=99999").status == 422


def test_what_is_out_of_limit_is_counted_exactly(measured: Client) -> None:
    """Seven slow windows and three with an infinite p95 are above 10 ms; a value at the limit is not."""
    text = page_at(measured, f"{PAIR}?from=-1h").text()

    assert "p95 of each 60 s window ≤ 10 ms 10 of 50 20.00 %" in text


@one_store
def test_a_limit_itself_is_within_or_not_as_it_is_written(client: Client, fra1: str) -> None:
    """10 ms meet ``<= 10 ms``, and 5 ms do not meet ``< 5 ms``."""
    client.post(
        build_batch(("ams1", build_steady_window(5_000, LAST_S - 60)), ("ams1", build_steady_window(10_000, LAST_S))),
        fra1,
    )

    assert "< 5 ms 2 of 2 100 %" in page_at(client, f"{PAIR}?from=-1h&profile=vsan-stretched").text()
    assert "≤ 10 ms 0 of 2 0 %" in page_at(client, f"{PAIR}?from=-1h&profile={PROFILE}").text()


def test_an_episode_is_a_link_to_itself(measured: Client) -> None:
    """Its start, its length, its worst, what was lost; the link shows what was around it."""
    page = page_at(measured, f"{PAIR}?from=-1h")

    (table,) = page.all("div", **{"aria-label": "Episodes fra → ams"})
    assert "10 minutes infinite 10.00 % of 600 7 3" in blanks(table.text)
    (link,) = [one for one in page.all("a") if blanks(one.text) == "2026-11-22 06:48"]
    zoomed = page_at(measured, link.attributes["href"] or "")
    assert "from 2026-11-22 06:18 UTC to 2026-11-22 06:59 UTC" in zoomed.text()
    assert "zoom out" in zoomed.text()


@one_store
def test_the_longest_episode_comes_first_and_then_the_newest(client: Client, fra1: str) -> None:
    """That is what the heading says of them."""
    lengths = {50: 1, 40: 4, 30: 1, 20: 2}
    slow = {ago - minute for ago, length in lengths.items() for minute in range(length)}
    windows = [build_steady_window(10_400 if ago in slow else 4_900, LAST_S - 60 * ago) for ago in range(55)]
    client.post(build_batch(*(("ams1", one) for one in windows)), fra1)

    (table,) = page_at(client, f"{PAIR}?from=-1h").all("div", **{"aria-label": "Episodes fra → ams"})

    rows = re.findall(r"(\d\d:\d\d) (\d) minutes?", blanks(table.text))
    assert rows == [("06:18", "4"), ("06:38", "2"), ("06:28", "1"), ("06:08", "1")]


def test_what_nobody_knows_is_a_dash_with_its_reason(measured: Client) -> None:
    """A bound from 0 to 100 % says nothing and reads like a measurement."""
    for path in (PAIR, f"/verdicts?profile={PROFILE}"):
        text = page_at(measured, path).text()
        assert "no minute known" in text
        assert "100.000 %" not in text


@one_store
def test_nothing_is_busy_that_no_script_will_end(measured: Client) -> None:
    """Only the script that fetches a part says that it is on its way."""
    for path in ("/", PAIR):
        page = page_at(measured, path)
        assert [one for one in page.elements if "data-fragment" in one.attributes]
        assert not [one for one in page.elements if "aria-busy" in one.attributes]


def test_lost_is_not_what_was_not_measured(measured: Client) -> None:
    """60 probes had no reply in time; nothing was left unsent."""
    (table,) = page_at(measured, f"{PAIR}?from=-1h").all("div", **{"aria-label": "Probes by what became of them"})

    text = blanks(table.text)
    assert "sent 3,000" in text
    assert "lost 60 2.00 %" in text
    assert "no reply in time 60" in text
    assert "not measured 0 of 3,000 scheduled" in text


@pytest.mark.both_databases
def test_losses_are_the_same_before_and_after_compaction(measured: Client, store: Store, clock: FakeClock) -> None:
    """Reasons come out of the rollups where these are current."""
    before = page_at(measured, f"{PAIR}?from=-24h").text()

    clock.advance(THREE_HOURS_NS)
    run_compaction(store, clock)

    after = page_at(measured, f"{PAIR}?from=-24h").text()
    part = "no reply in time 60 0 reply after the timeout 0 0"
    assert (part in before, part in after) == (True, True)


@one_store
def test_what_the_windows_table_no_longer_has_is_shown_from_packed_hours(
    measured: Client, store: Store, clock: FakeClock
) -> None:
    """Shares and charts stay when retention has removed the rows; the list of single windows is gone."""
    clock.advance(THREE_HOURS_NS)
    run_compaction(store, clock)
    before = page_at(measured, f"{PAIR}?from=-24h").text()
    with store.write() as writer:
        writer.connection.execute(window_stat.delete().where(window_stat.c.t < LAST_S - 1_800))

    after = page_at(measured, f"{PAIR}?from=-24h").text()

    share = "vcf9-stretched-cluster unknown 80.00 % of 50"
    assert (share in before, share in after) == (True, True)


def test_the_state_says_since_when(measured: Client) -> None:
    """The latest window began a run of good ones; the outage before it ended the run before."""
    text = page_at(measured, f"{PAIR}?from=-1h").text()

    assert f"{WindowState.GOOD} since 06:58" in text


def test_the_hours_of_the_week_are_a_table_too(measured: Client) -> None:
    """168 cells in words, thin ones marked; the worst is named and the legend says that it is no claim."""
    page = page_at(measured, PAIR)

    (table,) = page.all("div", **{"aria-label": "Hours of the week fra → ams"})
    assert blanks(table.text).startswith("00 01 02 03")
    assert len(page.all("td", class_="thin")) >= 2 * 160
    assert "shown and not claimed" in page.text()


def test_free_hours_are_said_in_figures(measured: Client) -> None:
    """Without a month of data no hour is free; the table says so instead of drawing nothing."""
    page = page_at(measured, PAIR)

    labels = [one.attributes.get("aria-label") for one in page.all("span", role="img")]
    assert labels == ["free hours: none"] * 8


def test_gaps_are_a_page_of_their_own_and_a_part_of_this_one(measured: Client) -> None:
    """The page names where the part is fetched from, and links there for whoever runs no script."""
    page = page_at(measured, f"{PAIR}?from=-1h")

    (place,) = [one for one in page.elements if "data-fragment" in one.attributes]
    address = place.attributes["data-fragment"] or ""
    assert address in [one.attributes["href"] for one in page.all("a")]
    gaps = page_at(measured, address)
    assert [one for one in gaps.elements if "data-part" in one.attributes]
    assert "of ams1, fra1" in gaps.text()


@one_store
def test_a_specification_cannot_end_its_script(client: Client, fra1: str) -> None:
    """Whatever a name holds, no element begins within the data of a chart."""
    client.post(build_batch(("ams1", build_steady_window(4_900, LAST_S))), fra1)

    body = client.send("GET", f"{PAIR}?from=-1h").body.decode()

    parts = [part.partition("</script>")[0] for part in body.split('class="chart-spec">')[1:]]
    assert parts
    assert all("<" not in part and json.loads(part) for part in parts)


@one_store
def test_the_script_that_draws_is_served_from_here_compressed(client: Client) -> None:
    """To a browser with gzip, and as it is to others; its address changes with its version."""
    client.apply(MESH)
    render.build_bundle()  # made here, where it may take its time on a busy machine
    page = page_at(client, PAIR)
    (address,) = [one.attributes["src"] for one in page.all("script") if "vega" in (one.attributes.get("src") or "")]

    packed = client.send("GET", address or "", Accept_Encoding="gzip")
    plain = client.send("GET", address or "", Accept_Encoding="identity")

    assert (packed.status, packed.headers["Content-Encoding"]) == (200, "gzip")
    assert "Content-Encoding" not in plain.headers
    assert "immutable" in plain.headers["Cache-Control"]
    assert b"vegaEmbed" in plain.body
