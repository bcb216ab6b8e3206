"""Page of a pair: the verdict of the API, charts and tables of the stored windows."""

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
    """An hour of fra → ams: 40 good, 7 bad, 3 unavailable windows; ams → fra has no data."""
    fast, slow, lossy = [4_900] * 60, [10_400] * 60, [*[4_900] * 40, *[None] * 20]
    rtts: list[Sequence[int | None]] = [*[fast] * 39, *[slow] * 7, *[lossy] * 3, fast]
    first_s = LAST_S - 60 * (len(rtts) - 1)
    windows = [build_window(window_rtts, first_s + 60 * number) for number, window_rtts in enumerate(rtts)]
    assert client.post(build_batch(*(("ams1", window) for window in windows)), fra1).status == 200
    return client


@pytest.mark.both_databases
def test_verdict_is_the_one_of_the_api(measured: Client) -> None:
    """Label, reasons, deciding direction and days come from the API's document."""
    document: Any = measured.get(f"/api/v1/verdicts?pair=fra,ams&profile={PROFILE}")
    (both,) = document["site_pairs"]

    page = page_at(measured, PAIR)

    (section,) = page.all("section", **{"aria-label": "Verdict"})
    text = blanks(section.text)
    assert text.startswith(both["verdict"].replace("_", " "))
    deciding = next(
        verdict for verdict in document["pairs"] if [verdict["source"], verdict["destination"]] == both["decided_by"]
    )
    for reason in deciding["reasons"]:
        assert reason["text"] in text
    assert f"{both['decided_by'][0]} → {both['decided_by'][1]}, the worse direction, decides" in text
    assert f"{document['days']} whole UTC days" in text
    (link,) = [element for element in page.all("a") if blanks(element.text) == "Windows as CSV"]
    assert measured.send("GET", link.attributes["href"] or "").status == 200


def test_zoom_keeps_the_days_of_the_verdict(measured: Client) -> None:
    """An hour is too short for a verdict, so the page shows the verdict of the last 28 days."""
    hour, month = (page_at(measured, f"{PAIR}?from={start}").text() for start in ("-1h", "-28d"))

    days = "28 whole UTC days, 25 Oct 2026 to 21 Nov 2026"
    assert (days in hour, days in month) == (True, True)


def test_both_directions_have_charts(measured: Client) -> None:
    """Each chart has a description and an image."""
    answer = measured.send("GET", f"{PAIR}?from=-1h")
    page = parsed(answer)

    assert len(charts(page)) == 4  # the reverse has no windows to draw over time
    figures = page.all("figure")
    assert all((figure.attributes["aria-label"] or "").count(" ") > 5 for figure in figures)
    images = [element.attributes["src"] for element in page.all("img")]
    assert len(images) == len(figures)
    for image in images:
        svg = measured.send("GET", image or "")
        assert (svg.status, svg.headers["Content-Type"]) == (200, "image/svg+xml"), image
        assert svg.body.startswith(b"<svg")
        assert "script" not in svg.headers["Content-Security-Policy"]


@one_store
def test_image_without_data_is_a_problem(client: Client) -> None:
    """A distribution without windows is 404, an unknown chart 422."""
    client.apply(MESH)

    assert client.send("GET", f"{PAIR}/chart/distribution.svg").status == 404
    assert client.send("GET", f"{PAIR}/chart/pie.svg").status == 422
    assert client.send("GET", f"{PAIR}/chart/week.svg?width=99999").status == 422


def test_windows_above_a_limit_are_counted_exactly(measured: Client) -> None:
    """Seven slow windows and three with an infinite p95 are above 10 ms. A value equal to the limit is not."""
    text = page_at(measured, f"{PAIR}?from=-1h").text()

    assert "p95 of each 60 s window ≤ 10 ms 10 of 50 20.00 %" in text


@one_store
def test_value_equal_to_the_limit_follows_the_comparison(client: Client, fra1: str) -> None:
    """10 ms meet ``<= 10 ms``; 5 ms do not meet ``< 5 ms``."""
    client.post(
        build_batch(("ams1", build_steady_window(5_000, LAST_S - 60)), ("ams1", build_steady_window(10_000, LAST_S))),
        fra1,
    )

    assert "< 5 ms 2 of 2 100 %" in page_at(client, f"{PAIR}?from=-1h&profile=vsan-stretched").text()
    assert "≤ 10 ms 0 of 2 0 %" in page_at(client, f"{PAIR}?from=-1h&profile={PROFILE}").text()


def test_episode_links_to_its_zoom(measured: Client) -> None:
    """A row has start, length, worst p95, loss and causes."""
    page = page_at(measured, f"{PAIR}?from=-1h")

    (table,) = page.all("div", **{"aria-label": "Episodes fra → ams"})
    assert "10 minutes infinite 10.00 % of 600 7 latency, 3 outage" in blanks(table.text)
    (link,) = [element for element in page.all("a") if blanks(element.text) == "2026-11-22 06:48"]
    zoomed = page_at(measured, link.attributes["href"] or "")
    assert "from 2026-11-22 06:18 UTC to 2026-11-22 06:59 UTC" in zoomed.text()
    assert "zoom out" in zoomed.text()


@one_store
def test_episodes_are_sorted_by_length_and_start(client: Client, fra1: str) -> None:
    """The longest comes first; of equal length, the latest."""
    lengths = {50: 1, 40: 4, 30: 1, 20: 2}
    slow = {ago - minute for ago, length in lengths.items() for minute in range(length)}
    windows = [build_steady_window(10_400 if ago in slow else 4_900, LAST_S - 60 * ago) for ago in range(55)]
    client.post(build_batch(*(("ams1", window) for window in windows)), fra1)

    (table,) = page_at(client, f"{PAIR}?from=-1h").all("div", **{"aria-label": "Episodes fra → ams"})

    rows = re.findall(r"(\d\d:\d\d) (\d) minutes?", blanks(table.text))
    assert rows == [("06:18", "4"), ("06:38", "2"), ("06:28", "1"), ("06:08", "1")]


def test_missing_interval_is_a_dash_with_its_reason(measured: Client) -> None:
    """An interval from 0 to 100 % would look like a measurement."""
    for path in (PAIR, f"/verdicts?profile={PROFILE}"):
        text = page_at(measured, path).text()
        assert "no minute known" in text
        assert "100.000 %" not in text


@one_store
def test_fragment_is_not_busy_without_the_script(measured: Client) -> None:
    """Only the script marks a fragment as busy."""
    for path in ("/", PAIR):
        page = page_at(measured, path)
        assert [element for element in page.elements if "data-fragment" in element.attributes]
        assert not [element for element in page.elements if "aria-busy" in element.attributes]


def test_lost_and_unmeasured_probes_are_separate(measured: Client) -> None:
    """60 probes timed out; all scheduled probes were sent."""
    (table,) = page_at(measured, f"{PAIR}?from=-1h").all("div", **{"aria-label": "Probes by result"})

    text = blanks(table.text)
    assert "sent 3,000" in text
    assert "lost 60 2.00 %" in text
    assert "no reply in time 60" in text
    assert "not measured 0 of 3,000 scheduled" in text


@pytest.mark.both_databases
def test_losses_are_the_same_before_and_after_compaction(measured: Client, store: Store, clock: FakeClock) -> None:
    """After compaction, reasons come from the rollups."""
    before = page_at(measured, f"{PAIR}?from=-24h").text()

    clock.advance(THREE_HOURS_NS)
    run_compaction(store, clock)

    after = page_at(measured, f"{PAIR}?from=-24h").text()
    part = "no reply in time 60 0 reply after the timeout 0 0"
    assert (part in before, part in after) == (True, True)


@one_store
def test_page_reads_packed_hours_after_retention(measured: Client, store: Store, clock: FakeClock) -> None:
    """Shares and charts stay after retention has deleted the rows."""
    clock.advance(THREE_HOURS_NS)
    run_compaction(store, clock)
    before = page_at(measured, f"{PAIR}?from=-24h").text()
    with store.write() as writer:
        writer.connection.execute(window_stat.delete().where(window_stat.c.t < LAST_S - 1_800))

    after = page_at(measured, f"{PAIR}?from=-24h").text()

    share = "vcf9-stretched-cluster unknown 80.00 % of 50"
    assert (share in before, share in after) == (True, True)


def test_state_has_its_start(measured: Client) -> None:
    """The latest window starts a run of good windows after the outage."""
    text = page_at(measured, f"{PAIR}?from=-1h").text()

    assert f"{WindowState.GOOD} since 06:58" in text


def test_causes_are_in_words(measured: Client) -> None:
    """Each direction with data says how many minutes each cause put out of limit, and the hours of the week do too."""
    text = blanks(page_at(measured, f"{PAIR}?from=-1h").text())

    assert (
        "7 of 50 exceeded 10 ms by latency, in 1 episode; no minute lost more than 3 of 60 probes; "
        "3 of 50 lost 20 % of the probes or more (outage), in 1 episode."
    ) in text
    assert "every known minute was within the limits" not in text
    assert "minutes out of limit by cause: 7 latency, 3 outage" in blanks(
        measured.send("GET", f"{PAIR}?from=-1h").body.decode()
    )


def test_hours_of_the_week_have_a_table(measured: Client) -> None:
    """Sparse cells are marked. The legend notes that no verdict uses the worst hour."""
    page = page_at(measured, PAIR)

    (table,) = page.all("div", **{"aria-label": "Hours of the week fra → ams"})
    assert blanks(table.text).startswith("00 01 02 03")
    assert len(page.all("td", class_="thin")) >= 2 * 160
    assert "no verdict uses it" in page.text()


def test_free_hours_have_a_text(measured: Client) -> None:
    """Without a month of data no hour is free: the label is "none"."""
    page = page_at(measured, PAIR)

    labels = [element.attributes.get("aria-label") for element in page.all("span", role="img")]
    assert labels == ["free hours: none"] * 8


def test_gaps_are_a_page_and_a_fragment(measured: Client) -> None:
    """The pair page has the URL of the fragment and a link for browsers without JavaScript."""
    page = page_at(measured, f"{PAIR}?from=-1h")

    (place,) = [element for element in page.elements if "data-fragment" in element.attributes]
    address = place.attributes["data-fragment"] or ""
    assert address in [element.attributes["href"] for element in page.all("a")]
    gaps = page_at(measured, address)
    assert [element for element in gaps.elements if "data-part" in element.attributes]
    assert "of ams1, fra1" in gaps.text()


@one_store
def test_specification_cannot_end_its_script(client: Client, fra1: str) -> None:
    """The data of a chart contains no ``<``."""
    client.post(build_batch(("ams1", build_steady_window(4_900, LAST_S))), fra1)

    body = client.send("GET", f"{PAIR}?from=-1h").body.decode()

    parts = [part.partition("</script>")[0] for part in body.split('class="chart-spec">')[1:]]
    assert parts
    assert all("<" not in part and json.loads(part) for part in parts)


@one_store
def test_vega_script_is_served_compressed(client: Client) -> None:
    """Browsers without gzip get it uncompressed. The URL changes with the version."""
    client.apply(MESH)
    render.build_bundle()  # builds the bundle before the request, which has a timeout
    page = page_at(client, PAIR)
    (address,) = [
        element.attributes["src"] for element in page.all("script") if "vega" in (element.attributes.get("src") or "")
    ]

    compressed = client.send("GET", address or "", Accept_Encoding="gzip")
    plain = client.send("GET", address or "", Accept_Encoding="identity")

    assert (compressed.status, compressed.headers["Content-Encoding"]) == (200, "gzip")
    assert "Content-Encoding" not in plain.headers
    assert "immutable" in plain.headers["Cache-Control"]
    assert b"vegaEmbed" in plain.body
