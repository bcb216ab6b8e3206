"""HTML pages: texts, links, escaping, security headers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest

from leadline.limits.catalogue import load_catalogue
from leadline.model import Failure, Window
from leadline.statistics import compute_window_stats
from leadline_collector.config import CollectorConfig
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import store as mesh_store
from leadline_collector.server.serve import serve_in_thread
from leadline_collector.web import prewarm
from leadline_collector.web.charts import render
from leadline_collector.windows import store as window_store
from leadline_collector.windows.rows import build_window_row
from tests.integration.conftest import Answer, Client
from tests.support.clock import FakeClock
from tests.support.documents import MESH, NOW_S, build_batch, build_steady_window, build_window

PROFILE = "vcf9-stretched-cluster"
PAIR = "/pairs/fra/ams"
#: Latest window that has arrived: the test clock is an hour after NOW_S.
LAST_S = NOW_S + 3_600 - 120
#: For tests that do not depend on the database.
one_store = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
VOID = {"meta", "link", "input", "br", "img", "source"}
SIMULATED = re.sub(r"(longitude = .*)", r"\1\nsimulated = true", MESH)


@dataclass(slots=True)
class Element:
    """An HTML element with its attributes and its text."""

    tag: str
    attributes: dict[str, str | None]
    text: str = ""


@dataclass(slots=True)
class Html(HTMLParser):
    """A parsed page."""

    elements: list[Element] = field(default_factory=list)
    _open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        HTMLParser.__init__(self, convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        self.handle_data(" ")
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag, f"</{tag}> closes another element"
        self.handle_data(" ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        # The text of a script is not visible: only its own element gets it.
        is_script = bool(self._open) and self._open[-1].tag == "script"
        for element in self._open[-1:] if is_script else self._open:
            element.text += data

    def close(self) -> None:
        HTMLParser.close(self)
        assert not self._open, "an element is not closed"

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Return the elements of a tag with these attributes."""
        return [
            element
            for element in self.elements
            if element.tag == tag
            and all(element.attributes.get(name.strip("_")) == text for name, text in attributes.items())
        ]

    def text(self) -> str:
        """Everything that is read, with single blanks."""
        return blanks(self.all("body")[0].text)


def blanks(text: str) -> str:
    """Collapse white space, including no-break spaces."""
    return " ".join(text.split())


def parsed(answer: Answer) -> Html:
    """Parse an answer; fail unless it is well-formed HTML."""
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8", answer.body
    page = Html()
    page.feed(answer.body.decode())
    page.close()
    return page


def page_at(client: Client, path: str) -> Html:
    """Return the page at a path; fail unless it is there."""
    answer = client.send("GET", path)
    assert answer.status == 200, answer.body
    return parsed(answer)


def cell(page: Html, source: str = "fra", destination: str = "ams") -> str:
    """Return the visible text of a cell of the matrix."""
    (link,) = [
        element
        for element in page.all("a")
        if (element.attributes.get("aria-label") or "").startswith(f"{source} to {destination}:")
    ]
    return blanks(link.text)


@pytest.fixture(name="measured")
def _measured(client: Client, fra1: str) -> Client:
    """An hour of fra → ams: 40 good, 7 bad, 3 unavailable windows; the latest is good."""
    fast, slow, lossy = [4_900] * 60, [10_400] * 60, [*[4_900] * 40, *[None] * 20]
    rtts: list[Sequence[int | None]] = [*[fast] * 39, *[slow] * 7, *[lossy] * 3, [4_912] * 60]
    first_s = LAST_S - 60 * (len(rtts) - 1)
    windows = [build_window(window_rtts, first_s + 60 * number) for number, window_rtts in enumerate(rtts)]
    assert client.post(build_batch(*(("ams1", window) for window in windows)), fra1).status == 200
    return client


def test_cell_shows_share_coverage_state_and_p95(measured: Client) -> None:
    """Values have n, unit and time."""
    page = page_at(measured, "/?from=-1h")

    assert cell(page) == "80.00 % of 50 others: mostly latency coverage 83 % now good p95 4.912 ms at 06:58"


def test_pair_without_windows_is_unknown(measured: Client) -> None:
    """The cell shows no numbers."""
    assert cell(page_at(measured, "/"), "ams", "fra") == "not measured now unknown"


def test_cell_has_a_complete_label(measured: Client) -> None:
    """The label of the link has the same content for screen readers."""
    (link,) = [
        element
        for element in page_at(measured, "/?from=-1h").all("a")
        if "fra to ams" in (element.attributes.get("aria-label") or "")
    ]

    assert blanks(link.attributes["aria-label"] or "") == (
        "fra to ams: good now; 80.00 % of 50 windows good; others by cause: 7 latency, 3 outage; coverage 83 %; "
        "latest window 06:58 UTC, p95 4.912 ms; measured, 60 probes a minute, 10 minutes unknown"
    )


@pytest.mark.parametrize(
    ("sent", "word", "cause"),
    [
        (build_steady_window(9_000, LAST_S), "good", ""),
        (build_steady_window(10_001, LAST_S), "bad", ": latency"),
        (build_window([4_900] * 56 + [None] * 4, LAST_S), "bad", ": loss"),
        (build_window([4_900] * 56 + [10_001] * 2 + [None] * 2, LAST_S), "bad", ": loss and latency"),
        (build_window([4_900] * 48 + [None] * 12, LAST_S), "unavailable", ""),
        (build_window([4_900] * 47 + [None] * 13, LAST_S, Failure.NOT_SENT), "unknown", ""),
    ],
)
def test_every_state_has_a_label_and_a_symbol(client: Client, fra1: str, sent: Window, word: str, cause: str) -> None:
    """Colour is never the only sign: the cell uses the symbol of the state, and names the cause of a bad one."""
    client.post(build_batch(("ams1", sent)), fra1)

    answer = client.send("GET", "/?from=-1h")

    assert f"now {word}{cause}" in cell(parsed(answer))
    label = re.search(rf'aria-label="fra to ams: {word}{cause} now.*?#sign-([a-z]+)"', answer.body.decode(), re.DOTALL)
    assert label is not None
    assert label[1] == word
    assert f'<symbol id="sign-{word}"'.encode() in answer.body


FAR = MESH.replace("longitude = 4.9", "longitude = {longitude}")


@one_store
@pytest.mark.parametrize(
    ("longitude", "word"),
    [
        (14.0, "now unknown"),  # 437 km
        (16.0, "impossible on glass"),  # 570 km: 3.8 ms in a vacuum, 5.6 ms on glass
        (30.0, "impossible"),  # 1,500 km: 10 ms in a vacuum
    ],
)
def test_impossible_precedes_the_measured_state(client: Client, longitude: float, word: str) -> None:
    """The distance between the coordinates decides, here against 5 ms."""
    client.apply(FAR.format(longitude=longitude))

    assert cell(page_at(client, "/?profile=vsan-stretched")) == f"not measured {word}"


@one_store
def test_jitter_limit_does_not_depend_on_distance(client: Client) -> None:
    """Propagation delay bounds the RTT and not its variation."""
    client.apply(FAR.format(longitude=150.0))

    assert cell(page_at(client, "/?profile=netapp-metrocluster-ip-jitter-rtt")).endswith("now unknown")
    assert cell(page_at(client, "/?profile=netapp-metrocluster-ip")).endswith("not measured impossible")


@one_store
def test_limits_have_criterion_statistic_source_and_provenance(measured: Client) -> None:
    """The source is a link."""
    page = page_at(measured, f"/?profile={PROFILE}")
    (limit,) = load_catalogue().get_required_limits(load_catalogue().get_profile(PROFILE))

    text = page.text()
    for expected in ("≤ 10 ms", "p95 of each 60 s window ≤ 10 ms", limit.statistic.value, limit.read_in.value):
        assert expected in text
    assert f"confidence: {limit.confidence.value}" in text
    (link,) = page.all("a", rel="external noreferrer")
    assert (link.attributes["href"], blanks(link.text)) == (limit.source.url, limit.source.title)


@one_store
def test_limit_without_criterion_shows_the_reason(client: Client, fra1: str) -> None:
    """Windows show neither loss nor bandwidth."""
    assert (
        "not evaluated: loss is evaluated over a period" in page_at(client, "/?profile=netapp-metrocluster-ip").text()
    )
    text = page_at(client, "/?profile=vsphere-long-distance-vmotion").text()
    assert "declared by the operator, not evaluated: RTTs do not show the bandwidth" in text
    only = page_at(client, "/?profile=netapp-metrocluster-ip-loss").text()
    assert "This profile cannot be evaluated: netapp-metrocluster-ip-loss: loss" in only


@pytest.mark.parametrize("path", ["/", "/?from=-28d", PAIR])
def test_shares_are_called_observations(measured: Client, path: str) -> None:
    """No page presents a share as a verdict."""
    assert "Shares are observations of this period, not verdicts." in page_at(measured, path).text()


@pytest.mark.parametrize("path", ["/", PAIR])
def test_simulated_sites_have_a_band(client: Client, path: str) -> None:
    """The band precedes the numbers. There is none without simulated data."""
    client.apply(MESH)
    assert "SIMULATED DATA" not in page_at(client, path).text()

    client.apply(SIMULATED)
    text = page_at(client, path).text()
    assert "SIMULATED DATA" in text.partition("from")[0]


def test_simulated_row_marks_cell_page_and_pair(client: Client, store: Store, fra1: str) -> None:
    """One row without a batch is enough. The other direction is not marked."""
    with store.read() as reader:
        ids = (
            mesh_store.load_agent_ids(reader.connection, ["fra1"])["fra1"],
            mesh_store.load_target_ids(reader.connection, ["ams1"])["ams1"],
        )
    store.ensure_partitions([LAST_S])
    with store.write() as writer:
        stats = compute_window_stats(build_steady_window(2_000))
        window_store.add_windows(
            writer.connection, ids[0], [build_window_row(*ids, LAST_S, 1_000, stats, mesh_version=1, batch=None)]
        )

    page = page_at(client, "/")

    assert "SIMULATED DATA in metro" in page.text()
    titles = [element.attributes.get("title") for element in page.all("abbr")]
    assert titles.count("simulated: generated, not measured") == 1
    assert cell(page, "ams", "fra") == "not measured now unknown"
    assert "SIMULATED DATA" in page_at(client, PAIR).text()


@one_store
def test_matrix_starts_the_prewarming(client: Client) -> None:
    """It runs once, in a thread."""
    page_at(client, "/")
    thread = prewarm.start_prewarming()
    thread.join(60)

    assert render._compress_bundle.cache_info().currsize == 1
    page_at(client, "/")
    assert prewarm.start_prewarming() is thread


def links(page: Html, base: str) -> Iterator[str]:
    """Yield the URLs that a page links to or loads, without the sources of limits."""
    for element in page.elements:
        for name in ("href", "src", "action"):
            target = element.attributes.get(name)
            if target and not target.startswith("#") and element.attributes.get("rel") != "external noreferrer":
                yield urljoin(base, target)


#: Pages of the catalogue to open: they are alike, and test_limits opens all.
ALIKE_MAX = 5


def some(paths: set[str]) -> set[str]:
    """Return all paths but most of the catalogue's."""
    alike = sorted(path for path in paths if path.startswith("/limits/"))
    return paths - set(alike[ALIKE_MAX:])


@pytest.mark.both_databases
def test_every_link_works(measured: Client) -> None:
    """Follow links from the matrix for two steps within this collector."""
    seen: set[str] = set()
    paths = {"/", "/?group=metro&profile=vsan-stretched&from=-7d"}
    for _ in range(2):
        targets: set[str] = set()
        for path in sorted(paths - seen):
            answer = measured.send("GET", path)
            assert answer.status == 200, (path, answer.body)
            if answer.headers["Content-Type"].startswith("text/html"):
                targets |= some(set(links(parsed(answer), path)))
        seen |= paths
        paths = targets
    assert len(seen) > 15
    for path in sorted(some(paths - seen)):
        assert measured.send("GET", path).status == 200, path


@one_store
def test_links_keep_the_parameters(measured: Client) -> None:
    """The links from the matrix to the pair and back keep period and profile."""
    page = page_at(measured, "/?group=metro&profile=vsan-stretched&from=-7d")

    address = f"{PAIR}?group=metro&profile=vsan-stretched&from=-7d"
    assert address in [element.attributes["href"] for element in page.all("a")]
    back = [element.attributes["href"] for element in page_at(measured, address).all("a")]
    assert "/?group=metro&profile=vsan-stretched&from=-7d" in back


@one_store
def test_profiles_of_the_mesh_come_first(client: Client, fra1: str) -> None:
    """Profiles of the mesh are links, all others are in a list."""
    page = page_at(client, "/")

    ids = [element.attributes["value"] for element in page.all("option")]
    assert (ids[0], set(ids)) == (PROFILE, set(load_catalogue().profiles))
    assert [blanks(element.text) for element in page.elements if element.attributes.get("aria-current")] == [
        "Matrix",
        PROFILE,
        "28 d",
        "mesh file",
    ]
    assert [element.attributes["value"] for element in page.all("option") if "selected" in element.attributes] == [
        PROFILE
    ]


PROBLEMS = [
    ("/?group=nonsense", 422, "group: 'nonsense' is not one of metro"),
    ("/?profile=vcf9-stretched", 422, "did you mean vcf9-stretched-cluster"),
    ("/?from=yesterday", 422, "'yesterday' is not a time"),
    ("/?from=-1h&to=-2h", 422, "the period has no complete minute"),
    ("/pairs/fra/amst", 404, "has no site 'amst'; did you mean ams?"),
    ("/pairs/fra/fra", 404, "a pair needs two different sites"),
    (f"{PAIR}?profile=nonsense", 422, "'nonsense' is not known"),
    ("/static/nonsense.css", 404, "no static file"),
]


@one_store
@pytest.mark.parametrize(("path", "status", "detail"), PROBLEMS)
def test_problem_is_a_page(client: Client, fra1: str, path: str, status: int, detail: str) -> None:
    """It has the status and the text of the API, and links."""
    answer = client.send("GET", path)

    assert answer.status == status
    page = parsed(answer)
    assert detail in page.text()
    assert "/" in [element.attributes["href"] for element in page.all("a")]


@one_store
def test_pages_require_the_viewer_key_if_set(
    config: CollectorConfig, store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    """Without a key there is a redirect to the login, with a wrong key a 401."""
    key = tmp_path / "viewer.key"
    key.write_text("ll_viewer_0123456789abcdef")
    with serve_in_thread(replace(config, viewer_key_file=key), store, clock) as url:
        client = Client(url=url, admin_key="")
        for path, login in (("/", "/login"), (PAIR, "/login?next=%2Fpairs%2Ffra%2Fams")):
            without_key, wrong = client.send("GET", path), client.send("GET", path, key="wrong")
            assert (without_key.status, without_key.headers["Location"]) == (303, login)
            assert (wrong.status, wrong.headers["WWW-Authenticate"][:5]) == (401, "Basic")
            assert "401" in parsed(wrong).text()
        assert client.send("GET", "/", key=key.read_text()).status == 200
        client.pool.clear()


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@one_store
@pytest.mark.parametrize(
    "path",
    ["/?group={}", "/?profile={}", "/?from={}", "/?to={}", "/pairs/{}/ams", "/pairs/fra/{}", "/static/{}"],
)
def test_parameters_are_escaped(client: Client, fra1: str, path: str) -> None:
    """No parameter becomes an element, not even on a problem page."""
    encoded = "".join(f"%{byte:02X}" for byte in HOSTILE.replace("/", "|").encode())

    answer = client.send("GET", path.format(encoded))

    assert answer.status in (404, 422)
    page = parsed(answer)
    assert not page.all("script") + page.all("img")
    assert "alert(1)" in page.text()


@one_store
@pytest.mark.parametrize("path", ["/", PAIR, "/?group=nonsense", "/static/leadline.css"])
def test_content_security_policy_allows_own_files_only(measured: Client, path: str) -> None:
    """Pages, files and problems have the same policy."""
    headers = measured.send("GET", path).headers

    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'self'", "script-src": "'self'", "object-src": "'none'",
        "base-uri": "'none'", "form-action": "'self'", "frame-ancestors": "'none'",
    }  # fmt: skip
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "same-origin")


@one_store
@pytest.mark.parametrize("path", ["/", f"{PAIR}?from=-1h", "/?group=nonsense"])
def test_page_has_no_inline_code_and_no_other_host(measured: Client, path: str) -> None:
    """Scripts are files or data. The sources of limits are the only links to other hosts."""
    page = parsed(measured.send("GET", path))

    assert not page.all("style") + page.all("iframe")
    for script in page.all("script"):
        is_data = script.attributes.get("type") == "application/json"
        assert is_data != (script.attributes.get("src") or "").startswith("/static/"), script
    for element in page.elements:
        assert not [name for name in element.attributes if name == "style" or name.startswith("on")], element
        for value in element.attributes.values():
            if value and urlsplit(value).scheme in ("http", "https"):
                assert (element.tag, element.attributes.get("rel")) == ("a", "external noreferrer")


@one_store
def test_style_sheet_loads_nothing(client: Client) -> None:
    """It works without internet access."""
    answer = client.send("GET", "/static/leadline.css")

    assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    assert not re.findall(rb"url\(|@import|https?:", answer.body)


def test_matrix_without_a_mesh_shows_the_commands(client: Client) -> None:
    """It also shows the limits."""
    text = page_at(client, "/").text()

    assert "No active mesh" in text
    assert "leadline mesh apply mesh.toml" in text
    assert "p95 of each 60 s window" in text
    assert client.send("GET", PAIR).status == 404


@pytest.mark.parametrize("path", ["/", PAIR])
def test_page_without_windows_says_when_they_arrive(client: Client, path: str) -> None:
    """The note disappears with the first window."""
    client.apply()
    key = client.key("fra1", "fra")

    assert "about 80 s after the start of that minute" in page_at(client, path).text()

    client.post(build_batch(("ams1", build_steady_window(4_900, LAST_S))), key)
    assert "about 80 s after the start of that minute" not in page_at(client, path).text()


def test_group_has_its_own_table(client: Client) -> None:
    """Two groups have two tables; ``group`` selects one."""
    site = '[[site]]\nname = "zrh"\nlatitude = 47.4\nlongitude = 8.5\n'
    site += '[[agent]]\nname = "zrh1"\nsite = "zrh"\naddress = "192.0.2.9"\n'
    group = '[[group]]\nname = "south"\nkind = "pairs"\npairs = [["fra", "zrh"]]\n'
    client.apply(MESH + site + group)

    both, south = page_at(client, "/"), page_at(client, "/?group=south")

    assert [blanks(element.text) for element in both.all("h2")][:2] == ["metro", "south"]
    assert [blanks(element.text) for element in south.all("th", scope="col")][:2] == ["fra", "zrh"]
    assert "fra to ams" not in str([element.attributes for element in south.all("a")])
    assert [blanks(element.text) for element in south.elements if element.attributes.get("aria-current")][3] == "south"


def test_direction_that_is_not_probed_has_no_link(client: Client) -> None:
    """Its page is a problem."""
    group = '[[group]]\nname = "one"\nkind = "pairs"\npairs = [["fra", "ams"]]\n'
    client.apply(MESH.partition("[[group]]")[0] + group)

    matrix, pair, reverse = page_at(client, "/"), page_at(client, PAIR), client.send("GET", "/pairs/ams/fra")

    assert [blanks(element.text) for element in matrix.all("td", class_="unprobed")] == ["not probed"]
    assert "reverse" not in pair.text()
    assert (reverse.status, "does not probe ams → fra" in parsed(reverse).text()) == (404, True)


@pytest.mark.parametrize("profile", [PROFILE, "vsan-stretched"])
@pytest.mark.parametrize("agents", [("fra1",), ("fra1", "fra2")])
def test_pair_page_has_the_counts_of_the_matrix(
    client: Client, fra1: str, profile: str, agents: tuple[str, ...]
) -> None:
    """Both scenarios have the same counts, with one path and with two different paths."""
    keys = {"fra1": fra1, "fra2": client.key("fra2", "fra")}
    for number, agent in enumerate(agents):
        windows = [
            build_steady_window(rtt + 3_000 * number, LAST_S - 60 * n)
            for n, rtt in enumerate([4_000, 4_900, 5_100, 8_000])
        ]
        client.post(build_batch(*(("ams1", window) for window in windows), agent=agent), keys[agent])

    matrix: Any = client.get(f"/api/v1/matrix?profile={profile}&from=-1h")
    (pair,) = [result for result in matrix["pairs"] if result["source"] == "fra"]
    text = page_at(client, f"{PAIR}?profile={profile}&from=-1h").text()

    low, high = pair["pessimistic"], pair["optimistic"]
    counts = " ".join(str(low[name]) for name in ("good", "bad", "unavailable", "unknown"))
    shares = [f"{figure(counts)} of {counts['good'] + counts['bad'] + counts['unavailable']}" for counts in (low, high)]
    causes = f" others: {pair['causes']['latency']} latency" if pair["causes"]["latency"] else ""
    state = f"{pair['state']}: {pair['cause']}" if pair["cause"] else pair["state"]
    assert f"{profile} {state} {shares[0]}{causes} {shares[1]} {counts} " in text


@one_store
@pytest.mark.parametrize(("age", "state"), [(3, "good"), (4, "unknown")])
def test_pair_page_and_matrix_agree_on_stale_states(client: Client, fra1: str, age: int, state: str) -> None:
    """A latest window of three minutes before the end is current, one of four minutes is not."""
    client.post(build_batch(("ams1", build_steady_window(4_900, LAST_S + 60 - 60 * age))), fra1)

    assert f" now {state} " in cell(page_at(client, "/?from=-1h"))
    assert f"{PROFILE} {state} 100 % of 1" in page_at(client, f"{PAIR}?from=-1h").text()


def figure(tally: dict[str, Any]) -> str:
    """Format a share like the pages, for the values of these tests."""
    return f"{tally['good_ratio'] * 100:g} %" if tally["good_ratio"] in (0, 1) else f"{tally['good_ratio'] * 100:.2f} %"


def test_pair_page_explains_both_scenarios(measured: Client) -> None:
    """The page defines worst case and best case."""
    text = page_at(measured, f"{PAIR}?from=-1h").text()

    causes = "others: 7 latency, 3 outage"
    assert f"{PROFILE} good 80.00 % of 50 {causes} 80.00 % of 50 40 7 3 10 83.33 %" in text
    assert "Worst case: RTTs as measured, the worst path counts" in text
    assert "Best case: RTTs less the error that the measuring host may have added" in text


def test_pair_page_compares_the_minimum_with_propagation_delay(measured: Client) -> None:
    """It has distance, minimum RTTs, measured minimum, inflation and the longest route for the limit."""
    text = page_at(measured, f"{PAIR}?from=-1h").text()

    for expected in ("Distance 361.1 km", "Minimum RTT in a vacuum 2.395 ms", "Minimum RTT in glass 3.516 ms"):
        assert expected in text
    assert "Measured minimum of the period 4.900 ms" in text
    assert "Inflation 1.39" in text
    assert "possible if the route is at most 2.84 times the distance" in text


@one_store
def test_minimum_faster_than_light_has_a_warning(client: Client, fra1: str) -> None:
    """2 ms over 361 km: the coordinates or the clock are wrong."""
    client.post(build_batch(("ams1", build_steady_window(2_000, LAST_S))), fra1)
    assert "faster than light in a vacuum" in page_at(client, PAIR).text()


def charts(page: Html) -> list[Any]:
    """Return the chart specifications of a page in order."""
    return [json.loads(element.text) for element in page.all("script", type="application/json")]


@one_store
def test_chart_lines_have_gaps_without_data(client: Client, fra1: str) -> None:
    """Two runs of three minutes with ten minutes between them; the strip shows unknown."""
    windows = [build_steady_window(4_900, LAST_S - 60 * n) for n in (0, 1, 2, 12, 13, 14)]
    client.post(build_batch(*(("ams1", window) for window in windows)), fra1)

    page = page_at(client, f"{PAIR}?from=-1h")

    data = charts(page)[0]["datasets"]
    is_known = [row["p95"] is not None for row in data["steps"]]
    assert sum(after and not before for before, after in pairwise([False, *is_known])) == 2
    assert {row["s"] for row in data["strip"]} == {"good", "unknown"}
    assert "Times are UTC. Time zones: fra: UTC; ams: UTC." in page.text()


@one_store
def test_limit_far_above_the_data_is_named(measured: Client) -> None:
    """A line at 150 ms would squeeze 5 ms to the bottom of the chart."""
    page = page_at(measured, f"{PAIR}?from=-1h&profile=vsphere-long-distance-vmotion")

    text = page.text()
    assert "Above the axis: ≤ 150 ms for p95 of vsphere-long-distance-vmotion." in text
    assert (
        "Lines: ≤ 10 ms for p95 of vcf9-stretched-cluster; minimum RTT in glass 3.516 ms; "
        "minimum RTT in vacuum 2.395 ms."
    ) in text
    labels = [row["label"] for row in charts(page)[0]["datasets"]["lines"]]
    assert [blanks(label) for label in labels] == ["≤ 10 ms", "glass 3.51", "vacuum 2.39"]


def test_table_has_the_latest_windows(measured: Client) -> None:
    """Latest first, one row each, undefined values as a dash."""
    text = page_at(measured, f"{PAIR}?from=-1h").text().replace("\N{EN DASH}", "-")

    assert "Latest 50 windows" in text
    first = "2026-11-22 06:58 good 60 60 0 4.912 ms 4.912 ms 4.912 ms 4.912 ms 4.912 ms 0.000 ms - 1"
    second = "2026-11-22 06:57 unavailable 60 40 20 4.900 ms 4.900 ms - - 4.900 ms - - 1"
    assert f"{first} {second}" in text


def test_table_has_at_most_60_windows(client: Client, fra1: str) -> None:
    """The windows may be far apart."""
    windows = [build_steady_window(4_900, LAST_S - 60 * n * 30) for n in range(70)]
    client.post(build_batch(*(("ams1", window) for window in windows)), fra1)

    assert "Latest 60 windows" in page_at(client, f"{PAIR}?from=-7d").text()


def test_json_link_has_the_same_period(measured: Client) -> None:
    """The period is the same to the second."""
    page = page_at(measured, f"{PAIR}?from=-1h")

    (link,) = [
        element.attributes["href"] for element in page.all("a") if blanks(element.text) == "these windows as JSON"
    ]
    answer = measured.get(link or "")
    assert (answer["from"], answer["to"]) == (NOW_S - 60, NOW_S + 3_540)
    assert len(answer["windows"]) == 50
