"""``leadline verdict``: weeks of windows judged, by a collector or from a file of windows."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from leadline.errors import ConfigError, UnavailableError
from leadline_cli import api_client

if TYPE_CHECKING:
    from leadline_verdict.document import VerdictDocument

#: Verdicts that are no rejection; everything else is status 1.
_GOOD_VERDICTS = {"within", "within_provisional"}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``verdict``."""
    parser = commands.add_parser(
        "verdict",
        help="judge site pairs over weeks, with intervals and reasons",
        description="Judge pairs of sites over whole UTC days: which share of the minutes was within the limits, with "
        "a confidence interval that survives bursts, and a verdict with its reasons. A collector answers, or a file "
        "that --export wrote: both give the same to the last digit. Exit status 0: within, provisionally too; 1: any "
        "other verdict; 2: none.",
        epilog="example: leadline verdict --from 2026-10-24 --to 2026-11-21 --pair fra,ams --profile vsan-stretched",
    )
    parser.add_argument("--from", dest="start", metavar="DAY", help="first UTC day (default 28 days before --to)")
    parser.add_argument("--to", dest="end", metavar="DAY", help="the day after the last (default today)")
    parser.add_argument("--pair", metavar="A,B", help="two sites: both directions")
    parser.add_argument("--sites", metavar="A,B,C", help="every pair between these sites, and the set as a whole")
    parser.add_argument(
        "--profile", action="append", default=[], metavar="ID",
        help="a profile or limit of the catalogue; may be repeated (default: those the mesh gives each pair)",
    )  # fmt: skip
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="TEXT",
        help="a limit of your own: 'p95 <= 8 ms', 'loss < 0.1 %%'",
    )
    parser.add_argument(
        "--override", action="append", default=[], metavar="ID=NUMBER", help="another number for a limit, in its unit"
    )
    parser.add_argument(
        "--declare", action="append", default=[], metavar="ID=NUMBER",
        help="what you vouch for where no ping can tell, such as a bandwidth, in the unit of the limit",
    )  # fmt: skip
    parser.add_argument(
        "--target-share", type=float, metavar="SHARE", help="share of minutes that must be within (default 0.995)"
    )
    parser.add_argument(
        "--unseen-minutes", type=int, metavar="N", help="length of an episode that nobody saw (default 30)"
    )
    parser.add_argument(
        "--missing", choices=("bad", "mar"),
        help="unknown minutes: bad (default), or left out where each has a logged cause that is not the path",
    )  # fmt: skip
    parser.add_argument(
        "--input", type=Path, metavar="FILE", help="judge the windows of this file, without a collector"
    )
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the windows to this file and judge nothing")
    parser.add_argument("--json", action="store_true", help="print the document (docs/verdict.schema.json)")
    api_client.add_collector_options(parser)
    parser.set_defaults(run=run_verdict)


def run_verdict(args: argparse.Namespace) -> int:
    """Export, or judge and print; the status says whether every verdict is "within"."""
    if args.input and args.export:
        raise ConfigError("--export", "the windows of --input are in a file already")
    if args.export:
        return _export_windows(args)
    document = _evaluate_file(args) if args.input else _request_verdicts(args)
    if args.json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
    else:
        from leadline_cli.commands.verdict_text import format_report

        print(format_report(document))
    return 0 if all(pair.verdict in _GOOD_VERDICTS for pair in document.pairs) else 1


def _build_query(args: argparse.Namespace) -> str:
    named = {
        "from": args.start, "to": args.end, "pair": args.pair, "sites": args.sites, "profile": args.profile,
        "limit": args.limit, "override": args.override, "declare": args.declare, "target_share": args.target_share,
        "unseen_minutes": args.unseen_minutes, "missing": args.missing,
    }  # fmt: skip
    given = {name: value for name, value in named.items() if value not in (None, [])}
    return "?" + urlencode(given, doseq=True) if given else ""


def _request_verdicts(args: argparse.Namespace) -> VerdictDocument:
    from leadline_cli.commands.verdict_text import show_spinner
    from leadline_verdict.document import VerdictDocument

    with show_spinner("the collector judges"):
        return api_client.send_admin_request(args, "GET", "/api/v1/verdicts" + _build_query(args), b"", VerdictDocument)


def _export_windows(args: argparse.Namespace) -> int:
    from leadline_cli.commands.verdict_text import show_spinner

    with show_spinner("the collector writes windows"):
        data = api_client.fetch_bytes(args, "/api/v1/verdicts/windows" + _build_query(args))
    try:
        args.export.write_bytes(data)
    except OSError as error:
        raise ConfigError("--export", f"cannot write {args.export}: {error.strerror}") from error
    windows = len(data.splitlines()) - 2
    print(f"{windows:,} windows in {args.export}", file=sys.stderr)
    return 0


def _evaluate_file(args: argparse.Namespace) -> VerdictDocument:
    """What the collector would say of the windows of a file."""
    try:
        return _evaluate_windows(args)
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"judging needs {error.name}, which is not installed: pip install 'leadline[collector]'"
        ) from error


def _evaluate_windows(args: argparse.Namespace) -> VerdictDocument:
    from leadline.limits.catalogue import Profile, load_catalogue
    from leadline_cli.commands.verdict_text import show_progress_bar
    from leadline_verdict import csv_exchange
    from leadline_verdict.report import ReportParams, build_report
    from leadline_verdict.requirements import LimitOverrides, build_requirements, parse_assignments

    for option in ("start", "end", "pair", "sites"):
        if getattr(args, option):
            name = {"start": "--from", "end": "--to"}.get(option, f"--{option}")
            raise ConfigError(name, "the file of --input has its period and pairs; choose them at --export")
    if not args.profile and not args.limit:
        raise ConfigError("--profile", "a file of windows has no mesh that names profiles: name one")
    with _open_input(args.input) as file:
        windows = csv_exchange.read_windows(file)
    wishes = LimitOverrides(
        values=parse_assignments("override", args.override),
        declared_values=parse_assignments("declare", args.declare),
        custom_limits=tuple(args.limit),
    )
    named: list[Profile | None] = [load_catalogue().get_profile(name) for name in args.profile]
    profiles = [build_requirements(load_catalogue(), profile, wishes) for profile in named or [None]]
    asked = ReportParams(
        start_s=windows.start_s,
        end_s=windows.end_s,
        rule=_build_rule(args),
        profiles=profiles,
        catalogue_digest=load_catalogue().digest,
        mesh_version=None,
    )
    with show_progress_bar(len(windows.pairs) * len(profiles)) as progress:
        return build_report(asked, ((pair, profiles) for pair in windows.pairs), progress)


def _open_input(path: Path) -> Any:
    try:
        return path.open(encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigError("--input", f"cannot read {path}: {error.strerror}") from error


def _build_rule(args: argparse.Namespace) -> Any:
    from leadline_verdict.decision import MissingPolicy, VerdictRule

    given = {"target_share": args.target_share, "unseen_outage_windows": args.unseen_minutes}
    try:
        return VerdictRule(
            **{name: value for name, value in given.items() if value is not None},
            missing_policy=MissingPolicy(args.missing or "bad"),
        )
    except ValueError as error:
        raise ConfigError("--target-share", str(error)) from error
