"""Parsing of the catalogue, look-up, and the ``leadline limits`` command."""

from __future__ import annotations

import argparse
import json

import pytest

from leadline.errors import ConfigError
from leadline.limits.catalogue import Catalogue, Comparison, ConflictKind, UseRule, load_catalogue, parse_catalogue
from leadline_cli.commands import limits as commands_limits

LIMIT = """
[[limit]]
id = "example-rtt"
vendor = "Example"
product = "Example"
versions = "1"
feature = "live migration"
scope = "live-migration"
metric = "rtt"
comparison = "<="
value = 2.5
unit = "ms"
leg = "host-to-host"
statistic = "unspecified"
strength = "requirement"
status = "current"
confidence = "vendor"
read_in = "vendor page"
icmp_evaluable = "yes"
[limit.source]
url = "https://example.net/limits"
title = "Limits"
"""

PROFILE = """
[[profile]]
id = "example"
title = "Example"
all_of = ["example-rtt"]
"""

STATEMENT = """
[[non_numeric]]
id = "example-statement"
vendor = "Example"
product = "Example"
what = "The vendor prefers another design."
confidence = "vendor"
[non_numeric.source]
url = "https://example.net/statement"
title = "Statement"
"""

CONFLICT = """
[[conflict]]
id = "example-conflict"
kind = "pages of one vendor"
entries = ["example-rtt-milder", "example-rtt"]
summary = "Two pages, two numbers."
newer = "n/a"
use = "both, the milder first"
"""

WITH_STATEMENTS = 'use_rules = ["never within without these statements"]\n'
UNVERIFIED = LIMIT.replace('"vendor"', '"unverified"').replace('"vendor page"', '"no source"')


def bind(rules: str) -> str:
    """Return the limit with more lines in its table."""
    return LIMIT.replace('icmp_evaluable = "yes"', f'icmp_evaluable = "yes"\n{rules}')


def read(text: str) -> Catalogue:
    return parse_catalogue(text.encode())


def problem_of(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        read(text)
    return raised.value.problem


class TestDecode:
    def test_values_are_exact(self) -> None:
        """2.50 ms is 2500 µs and keeps the digits of the vendor."""
        limit = read(LIMIT.replace("2.5", "2.50") + PROFILE).get_limit("example-rtt")

        assert limit.value_us == 2_500
        assert limit.text == "<= 2.50 ms"

    def test_the_digest_covers_the_bytes_of_the_file(self) -> None:
        """One more character changes it."""
        assert read(LIMIT + PROFILE).digest != read(LIMIT + PROFILE + "\n").digest

    @pytest.mark.parametrize(
        ("old", "new", "problem"),
        [
            ('unit = "ms"', 'unit = "ms"\nunits = "ms"', "unknown field `units`"),
            ('metric = "rtt"', 'metric = "ping"', "Invalid enum value 'ping'"),
            ('comparison = "<="', 'comparison = "=<"', "Invalid enum value '=<'"),
            ('comparison = "<="', 'comparison = ">="', ">= is the wrong comparison for rtt"),
            ('metric = "rtt"', 'metric = "bandwidth"', "<= is the wrong comparison for bandwidth"),
            ('metric = "rtt"', 'metric = "one_way"', "metric one_way needs one_way = true"),
            ('unit = "ms"', 'unit = "s"', "rtt in 's' instead of 'ms'"),
            ("value = 2.5", "value = 0", ": 0 is not a valid limit"),
            ("value = 2.5", "value = -1", "-1 is not a valid limit"),
            ("value = 2.5", "value = 0.0005", "0.0005 ms is not a whole number of microseconds"),
            ('leg = "host-to-host"', 'leg = "host"', "Invalid enum value 'host'"),
            ('status = "current"', 'status = "new"', "Invalid enum value 'new'"),
            ('strength = "requirement"', 'strength = "must"', "Invalid enum value 'must'"),
            ('url = "https://example.net/limits"', "", "the source has no URL"),
            ('url = "https://example.net/limits"', 'url = "example.net"', "`$.limit[0].source.url`"),
            ('title = "Limits"', "", "missing required field `title`"),
            ('confidence = "vendor"', 'confidence = "unverified"', "'unverified' requires 'no source' and vice versa"),
            ('read_in = "vendor page"', 'read_in = "no source"', "'unverified' requires 'no source' and vice versa"),
            ('read_in = "vendor page"', "", "missing required field `read_in`"),
            ("[[limit]]", "[[limit]", "Expected"),
        ],
    )
    def test_a_mistake_in_a_limit_is_named(self, old: str, new: str, problem: str) -> None:
        """The message names the problem."""
        assert problem in problem_of(LIMIT.replace(old, new, 1) + PROFILE)

    def test_an_id_is_used_once(self) -> None:
        """A second limit of the same id is refused, and so is a profile with a limit's id."""
        assert problem_of(LIMIT + LIMIT + PROFILE) == "example-rtt is used twice"
        assert (
            problem_of(LIMIT + PROFILE.replace('id = "example"', 'id = "example-rtt"')) == "example-rtt is used twice"
        )

    def test_a_profile_with_an_unknown_limit_is_refused(self) -> None:
        """In ``all_of`` and in ``declared``."""
        measured = PROFILE.replace('["example-rtt"]', '["example-rrt"]')
        declared = PROFILE + 'declared = ["example-rrt"]\n'

        for profile in (measured, declared):
            assert problem_of(LIMIT + profile) == "profile example refers to example-rrt, which is not a limit"

    def test_a_profile_with_an_unverified_limit_is_refused(self) -> None:
        """An unverified limit is never part of a catalogue profile."""
        assert "which is unverified" in problem_of(UNVERIFIED + PROFILE)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ('confidence = "vendor"', 'confidence = "secondary"'),
            ('strength = "requirement"', 'strength = "informational"'),
            ('strength = "requirement"', 'strength = "default"'),
            ('status = "current"', 'status = "superseded"'),
        ],
    )
    def test_profile_does_not_rest_on_a_weak_limit(self, old: str, new: str) -> None:
        """Secondary, descriptive and superseded limits are refused, measured and declared."""
        weak = LIMIT.replace(old, new)
        sound = LIMIT.replace("example-rtt", "sound-rtt")
        declared = PROFILE.replace("example-rtt", "sound-rtt") + 'declared = ["example-rtt"]\n'

        weakness = new.split('"')[1]

        for text in (weak + PROFILE, weak + sound + declared):
            assert problem_of(text) == f"profile example uses example-rtt, which is {weakness}"

    def test_profile_may_name_a_superseded_limit_that_only_condemns(self) -> None:
        """Such a limit is no ground for "within"."""
        limit = bind('use_rules = ["may condemn, never acquit"]\n').replace('"current"', '"superseded"')

        assert read(limit + PROFILE).get_profile("example").all_of == ("example-rtt",)

    @pytest.mark.parametrize(
        ("lines", "problem"),
        [
            ('use_rules = ["may reject"]\n', "Invalid enum value 'may reject'"),
            ('use_rules = ["never a verdict", "never a verdict"]\n', "duplicates or contradict"),
            ('use_rules = ["may condemn, never acquit", "may acquit, never condemn"]\n', "duplicates or contradict"),
            ('use_rules = ["advice, not requirement"]\n', "requires a recommendation, not a requirement"),
            (WITH_STATEMENTS, "requires statements and vice versa"),
            ('statements = ["example-statement"]\n', "requires statements and vice versa"),
            (WITH_STATEMENTS + 'statements = ["no-such"]\n', "example-rtt refers to no-such, which is not a statement"),
            ('as_of = ""\n', "Expected `str` of length >= 1"),
        ],
    )
    def test_mistake_in_the_rules_of_use_is_named(self, lines: str, problem: str) -> None:
        """A rule outside the closed list, twice, against another rule, or without what belongs to it is refused."""
        assert problem in problem_of(bind(lines) + PROFILE + STATEMENT)

    def test_profile_names_statements_that_exist(self) -> None:
        """The rules of a profile are checked like those of a limit."""
        bound = PROFILE + WITH_STATEMENTS + 'statements = ["{}"]\n'

        profile = read(LIMIT + bound.format("example-statement") + STATEMENT).get_profile("example")

        assert profile.use_rules == (UseRule.WITH_STATEMENTS,)
        assert problem_of(LIMIT + bound.format("no-such") + STATEMENT) == (
            "example refers to no-such, which is not a statement"
        )

    def test_rules_are_optional(self) -> None:
        """A limit without rules has none, and no statements."""
        limit = read(LIMIT + PROFILE).get_limit("example-rtt")

        assert (limit.use_rules, limit.statements, limit.as_of, limit.assumption) == ((), (), None, None)

    @pytest.mark.parametrize(
        ("milder", "problem"),
        [
            (LIMIT.replace("2.5", "3"), None),
            (LIMIT.replace("2.5", "2"), "the milder limit comes first"),
            (LIMIT.replace('"Example"', '"Another"', 1).replace("2.5", "3"), "of one vendor and one unit"),
        ],
    )
    def test_pages_of_one_vendor_are_ordered(self, milder: str, problem: str | None) -> None:
        """Both figures are limits of one vendor, the milder first."""
        text = milder.replace("example-rtt", "example-rtt-milder") + LIMIT + PROFILE + CONFLICT

        if problem is None:
            assert read(text).conflicts[0].kind is ConflictKind.PAGES_OF_ONE_VENDOR
        else:
            assert problem in problem_of(text)

    def test_equal_figures_are_ordered_by_their_comparison(self) -> None:
        """``<=`` is milder than ``<``."""
        milder, stricter = LIMIT.replace("example-rtt", "example-rtt-milder"), LIMIT.replace('"<="', '"<"')

        assert read(milder + stricter + PROFILE + CONFLICT).conflicts
        assert "the milder limit comes first" in problem_of(milder.replace('"<="', '"<"') + LIMIT + PROFILE + CONFLICT)

    def test_a_conflict_with_an_unknown_limit_is_refused(self) -> None:
        """All entries of a conflict must be limits."""
        conflict = CONFLICT.replace("example-rtt-milder", "no-such")

        assert problem_of(LIMIT + PROFILE + conflict) == (
            "conflict example-conflict refers to no-such, which is not a limit"
        )

    def test_invalid_utf8_is_refused(self) -> None:
        """The error names the file."""
        with pytest.raises(ConfigError, match=r"limits\.toml"):
            parse_catalogue(b"\xff")


class TestLookUp:
    def test_the_error_for_an_unknown_limit_suggests_similar_ids(self) -> None:
        """A typing mistake in the id."""
        with pytest.raises(ConfigError, match="did you mean vmware-vsan-8-stretched-rtt"):
            load_catalogue().get_limit("vmware-vsan-8-streched-rtt")

    def test_a_part_of_a_name_is_enough_for_a_hint(self) -> None:
        """The suggestions contain the text."""
        with pytest.raises(ConfigError, match="did you mean vsan-stretched or"):
            load_catalogue().get_profile("vsan")

    def test_the_error_refers_to_the_list_without_similar_ids(self) -> None:
        """There is no suggestion for an unrelated text."""
        with pytest.raises(ConfigError, match="`leadline limits list` shows all ids"):
            load_catalogue().get_limit("xyzzy")

    def test_a_limit_serves_as_a_profile(self) -> None:
        """The id of a limit is a profile of that one limit, without a note if the limit has a source."""
        profile = load_catalogue().get_profile("vmware-vsphere-4.x-vmotion-rtt")

        assert profile.all_of == ("vmware-vsphere-4.x-vmotion-rtt",)
        assert profile.note is None

    def test_an_unverified_limit_has_a_note(self) -> None:
        """An unverified limit can be selected by its id; its note says that it is not evidence."""
        profile = load_catalogue().get_profile("vmware-vsphere-7.0-long-distance-vmotion-rtt")

        assert "not evidence" in str(profile.note)


@pytest.mark.parametrize(
    ("comparison", "outcomes"),
    [
        (Comparison.LESS, (True, False, False)),
        (Comparison.LESS_EQUAL, (True, True, False)),
        (Comparison.GREATER_EQUAL, (False, True, True)),
    ],
)
def test_comparisons(comparison: Comparison, outcomes: tuple[bool, bool, bool]) -> None:
    """One below, at and one above the limit."""
    assert tuple(comparison.is_met(observed, 5_000) for observed in (4_999, 5_000, 5_001)) == outcomes


def run(*arguments: str) -> int:
    """Run ``leadline limits`` with these arguments."""
    parser = argparse.ArgumentParser()
    commands_limits.add_parser(parser.add_subparsers())
    args = parser.parse_args(["limits", *arguments])
    status: int = args.run(args)
    return status


class TestCommand:
    @pytest.fixture(autouse=True)
    def _terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "80")

    def test_list_has_a_line_per_limit(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A header, 170 limits, and a line with their number."""
        assert run("list") == 0

        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 172
        assert lines[-1].startswith("170 limits;")

    def test_list_filters(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Vendor, metric and lifecycle filters combine."""
        assert run("list", "--vendor", "vmware", "--metric", "mtu", "--current") == 0

        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:-1]] == [
            "vmware-nsx-9.0-multisite-mtu",
            "vmware-hcx-uplink-mtu",
        ]

    def test_list_current_omits_old_products(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The vSphere 4 limit is at end of support."""
        assert run("list", "--current") == 0

        out = capsys.readouterr().out
        assert "vmware-vsphere-4.x-vmotion-rtt" not in out
        assert "vmware-vcf-9.0-cluster-host-rtt" in out

    def test_list_profiles(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Profiles are listed with the limits that must be met."""
        assert run("list", "--profiles") == 0

        out = capsys.readouterr().out
        assert "rtt <= 7 ms, jitter <= 3 ms, loss <= 0.01 %" in out
        assert out.splitlines()[-1].startswith("13 profiles;")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["list", "--vendor", "acme"], "--vendor: no vendor has 'acme' in its name; the vendors are Cisco"),
            (["list", "--metric", "ping"], "--metric: 'ping' is not a metric; use one of rtt, one_way"),
            (["show", "vsan-streched"], "profile: 'vsan-streched' is not known; did you mean vsan-stretched"),
        ],
    )
    def test_a_wrong_argument_is_explained(self, arguments: list[str], message: str) -> None:
        """The error names the option, the value and the valid values."""
        with pytest.raises(ConfigError) as raised:
            run(*arguments)

        assert str(raised.value).startswith(message)

    def test_show_a_limit(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Value, statistic, source, provenance and evaluation, wrapped to the width of the terminal."""
        assert run("show", "vmware-vsphere-4.x-vmotion-rtt") == 0

        assert capsys.readouterr().out == (
            "vmware-vsphere-4.x-vmotion-rtt\n"
            "VMware/Broadcom vSphere, 4.0, 4.1: vMotion\n"
            "\n"
            "  limit       < 5 ms (round trip)\n"
            "  applies to  not stated\n"
            "  leg         host-to-host\n"
            "  scope       live-migration\n"
            "  strength    requirement\n"
            "  licence     not stated\n"
            "  also needs  vMotion VMkernel ports in one L2 segment (supported design of the\n"
            "              era)\n"
            "  evaluation  p95 of each 60 s window < 5 ms; max is reported in addition\n"
            "  source      Understanding Metro vMotion [Broadcom KB 310156]; published: not\n"
            "              stated\n"
            "              https://knowledge.broadcom.com/external/article/310156/understanding-metro-vmotion.html\n"
            "  read in     vendor page\n"
            "  see also    Follow-the-Sun Workload Mobility? Get Lost! (Ivan Pepelnjak);\n"
            "              published: 2011-10-14\n"
            "              https://blog.ipspace.net/2011/10/follow-sun-workload-mobility-get-lost/\n"
            "  confidence  vendor\n"
            "  status      end-of-support\n"
            "  notes       KB 310156 states the 4.1 limit and says convergence is not assured\n"
            "              for every workload above it. The 4.0 figure (5 ms) is from ipSpace\n"
            "              2011 (secondary).\n"
            "  profiles    vsphere-4-vmotion\n"
        )

    def test_show_gives_the_reason_why_a_limit_is_not_evaluated(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The reason of a loss limit has the number of probes needed."""
        assert run("show", "netapp-metrocluster-ip-loss") == 0

        out = " ".join(capsys.readouterr().out.split())
        assert "not evaluated: loss is evaluated over a period: demonstrating <= 0.01 % takes 30,000 probes" in out

    def test_show_an_unverified_limit_warns(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The output marks the limit as unverified."""
        assert run("show", "cisco-aci-multisite-orchestrator-rtt") == 0

        assert "read in     nowhere: unverified, no evidence" in capsys.readouterr().out

    def test_show_a_source_without_a_url(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A citation of a printed manual has pages and no URL."""
        assert run("show", "vmware-vsphere-9.0-long-distance-vmotion-rtt") == 0

        out = capsys.readouterr().out
        assert "no URL" in out
        assert "confidence  secondary" in out

    def test_show_the_rules_of_use(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Rules, the texts of the statements and the release that was read."""
        assert run("show", "redhat-odf-stretch-rtt") == 0
        assert run("show", "vmware-vsan-9.0-stretched-rtt") == 0

        out = " ".join(capsys.readouterr().out.split())
        assert "use: one location only; vendor advises against; never within without these statements" in out
        assert "statement: Red Hat places the stretch cluster of Data Foundation in one location" in out
        assert "use: equality decides nothing as of 9.0; 9.1 not read" in out

    def test_show_an_assumption(self, capsys: pytest.CaptureFixture[str]) -> None:
        """What the catalogue assumes is printed with what the evaluation assumes."""
        assert run("show", "google-gdc-airgapped-zone-rtt") == 0

        assert "assumed: the vendor means the physical layer" in " ".join(capsys.readouterr().out.split())

    def test_show_the_rules_of_a_profile(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The text has them with each limit, the document also with the profile."""
        assert run("show", "openshift-stretched") == 0
        out = " ".join(capsys.readouterr().out.split())
        assert run("show", "openshift-stretched", "--json") == 0
        document = json.loads(capsys.readouterr().out)

        assert "note Red Hat advises against one cluster over several sites" in out
        assert "statement: Red Hat advises against one cluster over several sites" in out
        assert document["profile"]["use_rules"] == ["vendor advises against", "never within without these statements"]
        assert document["profile"]["statements"] == [
            "redhat-openshift-one-cluster-per-site",
            "redhat-odf-stretch-one-location",
        ]
        assert document["all_of"][1]["limit"]["use_rules"][0] == "one location only"

    def test_show_a_rule_over_time(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The output has the peaks that the vendor allows."""
        assert run("show", "hp-continuous-access-loss-high") == 0

        out = " ".join(capsys.readouterr().out.split())
        assert "over 86400 s peaks to 0.5 percent for at most 300 s in any 7200 s" in out

    def test_show_a_conflict(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The output has the conflict and the value used."""
        assert run("show", "vmware-vsphere-6.0-long-distance-vmotion-rtt-announced") == 0

        out = " ".join(capsys.readouterr().out.split())
        assert "150 ms is in the GA KB and docs from 6.0 on. Used: 150 ms." in out

    def test_show_a_profile(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The output has the limits that must be met and the declared ones."""
        assert run("show", "vsphere-long-distance-vmotion") == 0

        out = " ".join(capsys.readouterr().out.split())
        assert "required vmware-vsphere-8.0-long-distance-vmotion-rtt: round trip <= 150 ms" in out
        assert "declared vmware-vsphere-6.5-vmotion-bandwidth: bandwidth >= 250 Mbps" in out

    def test_show_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The document has the value as a number and the digest of the catalogue."""
        assert run("show", "vmware-vsan-9.0-stretched-one-way", "--json") == 0

        document = json.loads(capsys.readouterr().out)
        assert document["catalogue_sha256"] == load_catalogue().digest
        assert document["limit"]["value"] == 2.5
        assert document["limit_us"] == 2_500
        assert document["judged"]["rule"] == "p95 of each 60 s window <= 5 ms"
        assert document["not_judged"] is None

    def test_list_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The document has the same limits as the list."""
        assert run("list", "--metric", "one_way", "--json") == 0

        document = json.loads(capsys.readouterr().out)
        assert [limit["id"] for limit in document["limits"]] == [
            "vmware-vsan-9.0-stretched-one-way",
            "vmware-vsan-9.0-witness-one-way",
        ]

    def test_profile_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The document has the limits of the profile, each with a rule or the reason why there is none."""
        assert run("show", "netapp-metrocluster-ip", "--json") == 0

        document = json.loads(capsys.readouterr().out)
        assert [item["judged"] is None for item in document["all_of"]] == [False, False, True]
