"""Parsing of mesh files and the messages for invalid ones."""

from __future__ import annotations

import pytest

from leadline.errors import ConfigError
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
