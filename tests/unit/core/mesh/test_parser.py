"""Parsing of mesh files and the messages for invalid ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from leadline.errors import ConfigError
from leadline.mesh.model import DeclaredOutages
from leadline.mesh.parser import parse_mesh
from leadline.model import Pair

SITES = """\
profiles = ["vsphere-5-metro-vmotion"]

[[site]]
name = "fra"
latitude = 50.11
longitude = 8.68
time_zone = "Europe/Berlin"

[[site]]
name = "zrh"
latitude = 47.37
longitude = 8.54

[[site]]
name = "lon"
latitude = 51.51
longitude = -0.13
uncertainty_km = 5

[[agent]]
name = "fra-a1"
site = "fra"
address = "192.0.2.1"

[[agent]]
name = "zrh-a1"
site = "zrh"
address = "192.0.2.2"

[[host]]
name = "lon-gw"
site = "lon"
address = "gw.example.net"
"""
OUTAGES = 'outages = {outages_per_year = 2, longest_outage = "4h", declared = 2026-11-01}\n'
FULL_MESH = '[[group]]\nname = "all"\nkind = "full-mesh"\nsites = ["fra", "zrh", "lon"]\n'


def pairs(text: str) -> list[str]:
    return [f"{pair.source}>{pair.destination}" for pair in parse_mesh(text).pairs]


def test_a_full_mesh_has_pairs_from_every_site_with_an_agent() -> None:
    """London has only a host, so it is a destination only."""
    assert sorted(pairs(SITES + FULL_MESH)) == ["fra>lon", "fra>zrh", "zrh>fra", "zrh>lon"]


def test_hub_and_spoke_has_pairs_between_hub_and_spokes() -> None:
    """There are no pairs between spokes."""
    text = SITES + '[[group]]\nname = "h"\nkind = "hub-and-spoke"\nhub = "fra"\nsites = ["zrh", "lon"]\n'

    assert pairs(text) == ["fra>zrh", "zrh>fra", "fra>lon"]


def test_explicit_pairs_are_directions() -> None:
    """An explicit pair is one direction only."""
    text = SITES + '[[group]]\nname = "p"\nkind = "pairs"\npairs = [["zrh", "fra"]]\n'

    assert pairs(text) == ["zrh>fra"]


def test_every_agent_of_a_site_probes_every_target_of_the_other() -> None:
    """A pair with two agents at its source has two paths."""
    second = '[[agent]]\nname = "fra-a2"\nsite = "fra"\naddress = "192.0.2.3"\n'
    mesh = parse_mesh(SITES + second + FULL_MESH)
    paths = [(path.source, path.target.name) for path in mesh.iter_paths() if path.pair.destination == "zrh"]

    assert paths == [("fra-a1", "zrh-a1"), ("fra-a2", "zrh-a1")]


def test_a_plan_has_the_targets_of_one_agent() -> None:
    """It has the version, the source address, and the settings of each target."""
    text = SITES + FULL_MESH + 'probe = {interval = "500ms", dscp = 46}\n'
    plan = parse_mesh(text).build_plan("fra-a1", mesh_version=7)

    assert (plan.mesh_version, plan.agent, plan.site, plan.source_address) == (7, "fra-a1", "fra", "192.0.2.1")
    assert [(t.name, t.address, t.interval_ms, t.dscp, t.timeout_ms) for t in plan.targets] == [
        ("zrh-a1", "192.0.2.2", 500, 46, 10_000),
        ("lon-gw", "gw.example.net", 500, 46, 10_000),
    ]


def test_a_pair_in_two_groups_has_the_profiles_of_both() -> None:
    """It is probed once; a profile of both groups is listed once."""
    more = (
        '[[group]]\nname = "storage"\nkind = "pairs"\npairs = [["fra", "zrh"]]\n'
        'profiles = ["vsan-stretched", "vsphere-5-metro-vmotion"]\n'
    )
    mesh = parse_mesh(SITES + FULL_MESH + more)
    settings = mesh.pairs[Pair(source="fra", destination="zrh")]

    assert settings.profiles == ("vsphere-5-metro-vmotion", "vsan-stretched")
    assert settings.groups == ("all", "storage")
    assert sum(path.target.name == "zrh-a1" for path in mesh.iter_paths()) == 1


def test_an_override_changes_one_direction() -> None:
    """Settings without an override keep the value of the group."""
    more = (
        'probe = {interval = "2s", payload_bytes = 1000}\n[[override]]\npairs = [["fra", "zrh"]]\nprobe = {dscp = 10}\n'
    )
    mesh = parse_mesh(SITES + FULL_MESH + more)
    forward = mesh.pairs[Pair(source="fra", destination="zrh")].probe
    reverse = mesh.pairs[Pair(source="zrh", destination="fra")].probe

    assert (forward.dscp, forward.interval_ms, forward.payload_bytes) == (10, 2_000, 1_000)
    assert reverse.dscp == 0


def test_declared_outages_of_a_file_are_those_of_every_pair() -> None:
    """Two outages in five years of at most half a day are 4.8 hours a year."""
    table = '[outages]\noutages_per_year = 0.4\nlongest_outage = "12h"\ndeclared = 2026-10-31\n'
    mesh = parse_mesh(SITES + table + FULL_MESH)
    expected = DeclaredOutages(outages_per_year=0.4, longest_outage_s=43_200, declared_on=date(2026, 10, 31))

    assert [mesh.get_outages(pair) for pair in mesh.pairs] == [expected] * 4
    assert expected.unavailable_ratio == pytest.approx(0.4 * 12 / (365.25 * 24))


def test_a_mesh_without_declared_outages_has_none() -> None:
    """A pair that is not probed has none either."""
    mesh = parse_mesh(SITES + FULL_MESH + OUTAGES)

    assert mesh.get_outages(Pair(source="lon", destination="fra")) is None
    assert all(settings.outages is None for settings in parse_mesh(SITES + FULL_MESH).pairs.values())


def test_the_example_of_the_documentation_is_valid() -> None:
    """docs/mesh.md declares outages for the file, and others for one direction."""
    page = Path(__file__).parents[4] / "docs" / "mesh.md"
    mesh = parse_mesh(page.read_text().partition("```toml\n")[2].partition("```")[0])

    longest_s = [outages.longest_outage_s for pair in mesh.pairs if (outages := mesh.get_outages(pair))]
    assert longest_s == [14_400, 43_200]


def test_the_most_specific_declared_outages_apply() -> None:
    """An override precedes a group, and a group precedes the file. A direction has its own declaration."""
    file = OUTAGES.replace("4h", "12h")
    more = '[[group]]\nname = "storage"\nkind = "pairs"\npairs = [["fra", "zrh"], ["zrh", "fra"]]\n' + OUTAGES
    override = '[[override]]\npairs = [["fra", "zrh"]]\n' + OUTAGES.replace("4h", "90m")

    mesh = parse_mesh(file + SITES + FULL_MESH + more + override)

    longest_s = {
        (pair.source, pair.destination): outages and outages.longest_outage_s
        for pair in mesh.pairs
        for outages in [mesh.get_outages(pair)]
    }
    assert longest_s == {
        ("fra", "zrh"): 5_400, ("zrh", "fra"): 14_400, ("fra", "lon"): 43_200, ("zrh", "lon"): 43_200
    }  # fmt: skip


def test_an_override_decides_between_different_declared_outages() -> None:
    """Two groups may declare different outages if each common pair has its own."""
    more = '[[group]]\nname = "q"\nkind = "pairs"\npairs = [["fra", "zrh"]]\n' + OUTAGES.replace("4h", "2h")
    override = '[[override]]\npairs = [["fra", "zrh"]]\n' + OUTAGES.replace("4h", "1h")
    text = SITES + FULL_MESH + OUTAGES + more

    with pytest.raises(ConfigError, match="group 2: its outages for fra to zrh differ from those of an earlier group"):
        parse_mesh(text)
    settings = parse_mesh(text + override).pairs[Pair(source="fra", destination="zrh")]
    assert settings.outages == DeclaredOutages(
        outages_per_year=2, longest_outage_s=3_600, declared_on=date(2026, 11, 1)
    )
    assert settings.groups == ("all", "q")


def test_agents_do_not_get_declared_outages() -> None:
    """The plan of an agent is the same with and without a declaration, so agents of any version can read it."""
    text = SITES + FULL_MESH

    assert parse_mesh(text + OUTAGES).build_plan("fra-a1", 1) == parse_mesh(text).build_plan("fra-a1", 1)


def test_declared_outages_are_less_than_all_of_the_time() -> None:
    """365 outages of a day are just below a year of 365.25 days, and 366 are above it."""
    outages = DeclaredOutages(outages_per_year=365, longest_outage_s=86_400, declared_on=date(2026, 11, 1))

    assert outages.unavailable_ratio == pytest.approx(365 / 365.25)
    with pytest.raises(ValueError, match="are more than a year of outages in a year"):
        replace(outages, outages_per_year=366)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("outages_per_year = 0", "outages: outages_per_year = 0 is not a number above 0: declare 0.5 for one outage"),
        ("outages_per_year = -1", "outages: outages_per_year = -1 is not a number above 0"),
        ("outages_per_year = nan", "outages: outages_per_year = nan is not a number above 0"),
        ("outages_per_year = inf", "outages: outages_per_year = inf is not a number above 0"),
        ('outages_per_year = "2"', "outages.outages_per_year: Expected `float`, got `str`"),
        ("outages_per_year = 5000", "outages_per_year = 5000 and longest_outage = 4h are more than a year of outages"),
        ("longest_outage = 4", "outages.longest_outage: Expected `str`, got `int`"),
        ('longest_outage = "4"', "outages: '4' is not a duration: write a number and a unit"),
        ('longest_outage = "59s"', "outages: longest_outage = 59s is not from 1m to 365d"),
        ('longest_outage = "366d"', "outages: longest_outage = 366d is not from 1m to 365d"),
        ('longest_outage = "61500ms"', "outages: longest_outage = 61500ms is not a whole number of seconds"),
        ('declared = "yesterday"', "outages.declared: Invalid RFC3339 encoded date"),
        ("reported = 2026-11-01", "outages: Object contains unknown field `reported`"),
        ("declared =", "Object missing required field `declared`"),
    ],
)
def test_invalid_declared_outages_are_refused(text: str, message: str) -> None:
    """The error has the table, the value and the remedy, in the file's table and in that of a group or an override."""
    keys = {"outages_per_year": "2", "longest_outage": '"4h"', "declared": "2026-11-01"}
    key, _, value = text.partition(" =")
    keys[key] = value.strip()
    table = ", ".join(f"{name} = {value}" for name, value in keys.items() if value)
    inline = f"outages = {{{table}}}\n"
    override = f'[[override]]\npairs = [["fra", "zrh"]]\n{inline}'

    for mesh, place in (
        (inline + SITES + FULL_MESH, ""),
        (SITES + FULL_MESH + inline, "line 34, group 1: "),
        (SITES + FULL_MESH + override, "line 38, override 1: "),
    ):
        with pytest.raises(ConfigError) as caught:
            parse_mesh(mesh)
        assert str(caught.value).startswith(place)
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[site", "mesh file: is not TOML"),
        (SITES + FULL_MESH + "interval = 3\n", "line 34, group 1: Object contains unknown field `interval`"),
        (SITES.replace("50.11", '"50.11"') + FULL_MESH, "line 3, site 1: latitude: Expected `float`, got `str`"),
        (SITES.replace("50.11", "95") + FULL_MESH, "line 3, site 1: latitude 95"),
        (SITES.replace("Europe/Berlin", "Europe/Bonn") + FULL_MESH, "line 3, site 1: time_zone 'Europe/Bonn'"),
        (SITES.replace('"zrh"\nlat', '"fra"\nlat') + FULL_MESH, "line 9, site 2: 'fra' is defined twice"),
        (
            SITES.replace("zrh-a1", "fra-a1") + FULL_MESH,
            "line 25, agent 2: name 'fra-a1' is already used by agent 'fra-a1'",
        ),
        (SITES.replace("192.0.2.2", "192.0.2.1") + FULL_MESH, "agent 2: address '192.0.2.1' is already used by"),
        (SITES.replace("192.0.2.2", "192.0.2.999") + FULL_MESH, "agent 2: '192.0.2.999' looks like an IPv4 address"),
        (
            SITES.replace('site = "zrh"', 'site = "ams"') + FULL_MESH,
            "agent 2: site 'ams' is not in the file; it has fra",
        ),
        (SITES + FULL_MESH.replace("zrh", "ams"), "line 34, group 1: site 'ams' is not in the file"),
        (SITES + FULL_MESH + 'hub = "fra"\n', "group 1: 'hub' is not valid in a full-mesh group"),
        (SITES + FULL_MESH.replace("full-mesh", "ring"), "group 1: kind: Invalid enum value 'ring'"),
        (
            SITES + FULL_MESH + 'profiles = ["vsan-streched"]\n',
            "'vsan-streched' is not known; did you mean vsan-stretched",
        ),
        (SITES + FULL_MESH + "profiles = []\n", "group 1: profiles: Expected `array` of length >= 1"),
        (SITES.replace('profiles = ["vsphere-5-metro-vmotion"]', "") + FULL_MESH, "group 1: has no profiles"),
        (SITES + FULL_MESH + 'probe = {interval = "7s"}\n', "group 1: probe: interval of 7000 ms"),
        (SITES + FULL_MESH + 'probe = {interval = "1"}\n', "group 1: probe: '1' is not a duration"),
        (SITES + FULL_MESH + 'probe = {timeout = "52s"}\n', "group 1: probe: timeout of 52000 ms"),
        (SITES, "mesh file: Object missing required field `group`"),
        (
            SITES + '[[group]]\nname = "p"\nkind = "pairs"\npairs = [["fra", "fra"]]\n',
            "group 1: source and destination of a pair are both 'fra'",
        ),
        (
            SITES + '[[group]]\nname = "p"\nkind = "pairs"\npairs = [["lon", "fra"]]\n',
            "group 1: has no agent with a target at another site",
        ),
        (
            SITES + FULL_MESH + '[[override]]\npairs = [["lon", "fra"]]\nprobe = {dscp = 1}\n',
            "override 1: no group probes lon to fra",
        ),
        (
            SITES + FULL_MESH + '[[override]]\npairs = [["fra", "zrh"]]\n',
            "line 38, override 1: changes nothing; add probe = {...} or outages = {...}",
        ),
        (
            SITES
            + FULL_MESH
            + '[[group]]\nname = "q"\nkind = "pairs"\npairs = [["fra", "zrh"]]\nprobe = {interval = "2s"}\n',
            "group 2: its probe settings for fra to zrh differ from those of group 'all'",
        ),
        (
            SITES.replace("uncertainty_km = 5", "simulated = true") + FULL_MESH,
            "group 1: contains simulated sites and real sites",
        ),
        (SITES + FULL_MESH + FULL_MESH, "line 38, group 2: 'all' is defined twice"),
        ("#" * (1 << 20) + "\n", "mesh file: larger than 1048576 bytes"),
    ],
)
def test_errors_have_line_table_and_value(text: str, message: str) -> None:
    """Invalid mesh files."""
    with pytest.raises(ConfigError) as caught:
        parse_mesh(text)

    assert message in str(caught.value)


def test_a_mesh_with_too_many_probes_per_second_is_refused() -> None:
    """One agent would send more than a prober supports."""
    hosts = "".join(f'[[host]]\nname = "h{i}"\nsite = "lon"\naddress = "198.51.100.{i}"\n' for i in range(1, 102))
    text = SITES + hosts + FULL_MESH + 'probe = {interval = "10ms"}\n'

    with pytest.raises(ConfigError, match=r"agent 'fra-a1': would probe 103 targets with 10300 probes a second"):
        parse_mesh(text)
