"""``leadline verdict``: verdicts over weeks of windows, from a collector or from a file."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from leadline.clock import SystemClock
from leadline.errors import ConfigError, UnavailableError
from leadline_cli import api_client
from leadline_cli.output_file import check_output, write_output

if TYPE_CHECKING:
    from leadline_verdict.document import VerdictDocument

#: Verdicts with exit status 0; all others have 1.
_GOOD_VERDICTS = {"within", "within_provisional"}
#: Ids of ``leadline_verdict.rule_edition``, which is only imported for a verdict.
_RULES = ("leadline-2026-1", "leadline-2026-2")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``verdict``."""
    parser = commands.add_parser(
        "verdict",
        help="evaluate site pairs over weeks, with confidence intervals and reasons",
        description="Evaluate site pairs over whole UTC days: the share of minutes within the limits, its confidence "
        "interval (valid for bursty failures), and a verdict with its reasons. The windows come from a collector or "
        "from a file written by --export; both give identical results. Exit status 0: within, also provisionally; "
        "1: any other verdict; 2: error.",
        epilog="example: leadline verdict --from 2026-10-24 --to 2026-11-21 --pair fra,ams --profile vsan-stretched",
    )
    parser.add_argument("--from", dest="start", metavar="DAY", help="first UTC day (default 28 days before --to)")
    parser.add_argument("--to", dest="end", metavar="DAY", help="day after the last UTC day (default today)")
    parser.add_argument("--pair", metavar="A,B", help="two sites; evaluates both directions")
    parser.add_argument("--sites", metavar="A,B,C", help="all pairs between these sites, and the set as a whole")
    parser.add_argument(
        "--profile", action="append", default=[], metavar="ID",
        help="profile or limit of the catalogue; repeatable (default: the profiles of each pair in the mesh)",
    )  # fmt: skip
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="TEXT",
        help="custom limit, such as 'p95 <= 8 ms' or 'loss < 0.1 %%'; repeatable",
    )
    parser.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="ID=NUMBER",
        help="replace the value of a limit, in its unit; repeatable",
    )
    parser.add_argument(
        "--declare", action="extend", nargs="+", default=[], metavar="ID=NUMBER",
        help="declare a value that probes cannot measure, such as a bandwidth, in the unit of the limit; or the "
        "outages of all pairs, as outages_per_year=NUMBER longest_outage=DURATION, for example 12h "
        "(default: those of the mesh)",
    )  # fmt: skip
    parser.add_argument(
        "--target-share",
        type=float,
        metavar="SHARE",
        help="required share of minutes within the limits (default 0.995)",
    )
    parser.add_argument(
        "--unseen-minutes", type=int, metavar="N",
        help="assumed length of an unobserved outage in minutes (default 240, and 30 for leadline-2026-1)",
    )  # fmt: skip
    parser.add_argument(
        "--missing", choices=("bad", "mar"),
        help="unknown minutes: count as bad (default), or mar: excluded if a logged cause other than the path exists",
    )  # fmt: skip
    parser.add_argument(
        "--rule", choices=_RULES,
        help="edition of the decision rule (default leadline-2026-2; with --input the rule that the file names); for "
        "example --input old.csv --rule leadline-2026-2 evaluates an older export by the present rule",
    )  # fmt: skip
    parser.add_argument(
        "--input", type=Path, metavar="FILE", help="evaluate the windows of this file, without a collector"
    )
    parser.add_argument(
        "--export", type=Path, metavar="FILE",
        help="write the windows to this new file, or to standard output for -, without an evaluation",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="let --export replace an existing file")
    parser.add_argument("--json", action="store_true", help="print one JSON document (docs/verdict.schema.json)")
    api_client.add_collector_options(parser)
    parser.set_defaults(run=run_verdict)


def run_verdict(args: argparse.Namespace) -> int:
    """Export windows, or evaluate them and print the verdicts; return 0 if every verdict is "within"."""
    if args.input and args.export:
        raise ConfigError("--export", "cannot be combined with --input")
    if args.force and not args.export:
        raise ConfigError("--force", "requires --export")
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
    parameters = {
        "from": args.start, "to": args.end, "pair": args.pair, "sites": args.sites, "profile": args.profile,
        "limit": args.limit, "override": args.override, "declare": args.declare, "target_share": args.target_share,
        "unseen_minutes": args.unseen_minutes, "missing": args.missing, "rule": args.rule,
    }  # fmt: skip
    values = {name: value for name, value in parameters.items() if value not in (None, [])}
    return "?" + urlencode(values, doseq=True) if values else ""


def _request_verdicts(args: argparse.Namespace) -> VerdictDocument:
    from leadline_cli.commands.verdict_text import show_spinner
    from leadline_verdict.document import VerdictDocument

    with show_spinner("waiting for verdicts"):
        return api_client.send_admin_request(args, "GET", "/api/v1/verdicts" + _build_query(args), b"", VerdictDocument)


def _export_windows(args: argparse.Namespace) -> int:
    from leadline_cli.commands.verdict_text import show_spinner

    check_output(args.export, "--export", force=args.force)
    with show_spinner("waiting for windows"):
        data = api_client.fetch_bytes(args, "/api/v1/verdicts/windows" + _build_query(args))
    write_output(args.export, data, "--export", force=args.force)
    windows = len(data.splitlines()) - 2
    print(f"{windows:,} windows in {args.export}", file=sys.stderr)
    return 0


def _evaluate_file(args: argparse.Namespace) -> VerdictDocument:
    """Evaluate the windows of a file as the collector does."""
    try:
        return _evaluate_windows(args)
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"the evaluation needs {error.name}, which is not installed: pip install 'leadline[collector]'"
        ) from error


def _evaluate_windows(args: argparse.Namespace) -> VerdictDocument:
    from leadline.limits.catalogue import Profile, load_catalogue
    from leadline_cli.commands.verdict_text import show_progress_bar
    from leadline_verdict import csv_exchange
    from leadline_verdict.pair import declare_outages
    from leadline_verdict.report import ReportParams, build_report
    from leadline_verdict.requirements import LimitOverrides, build_requirements, parse_assignments, parse_declarations

    for option in ("start", "end", "pair", "sites"):
        if getattr(args, option):
            name = {"start": "--from", "end": "--to"}.get(option, f"--{option}")
            raise ConfigError(
                name, "cannot be combined with --input: the file defines period and pairs; select them at --export"
            )
    if not args.profile and not args.limit:
        raise ConfigError("--profile", "is required with --input, because the file contains no mesh with profiles")
    with _open_input(args.input) as file:
        try:
            windows = csv_exchange.read_windows(file)
        except OSError as error:
            raise ConfigError("--input", f"cannot read {args.input}: {error.strerror}") from error
    catalogue = load_catalogue()
    _warn_if_limits_differ(args.input, windows.catalogue_digest, catalogue.digest)
    declarations = parse_declarations(
        args.declare, declared_on=datetime.fromtimestamp(SystemClock().wall_ns() / 1e9, UTC).date()
    )
    overrides = LimitOverrides(
        values=parse_assignments("override", args.override),
        declared_values=declarations.values,
        custom_limits=tuple(args.limit),
    )
    parameters: list[Profile | None] = [catalogue.get_profile(name) for name in args.profile]
    profiles = [build_requirements(catalogue, profile, overrides) for profile in parameters or [None]]
    params = ReportParams(
        start_s=windows.start_s,
        end_s=windows.end_s,
        rule=_build_rule(args, args.rule or windows.rule_id),
        profiles=profiles,
        catalogue_digest=catalogue.digest,
        mesh_version=None,
    )
    pairs = declare_outages(windows.pairs, declarations.outages)
    with show_progress_bar(len(pairs) * len(profiles)) as progress:
        return build_report(params, ((pair, profiles) for pair in pairs), progress)


def _warn_if_limits_differ(path: Path, exported_digest: str | None, digest: str) -> None:
    """Print a warning if the file was exported with another limit catalogue; None is an unknown one."""
    if exported_digest not in {None, digest}:
        print(
            f"leadline: warning: {path} was exported with another limit catalogue (sha256 {exported_digest} instead of "
            f"{digest}), so its limits may differ; use the version that wrote the file to repeat its verdict",
            file=sys.stderr,
        )


def _open_input(path: Path) -> Any:
    try:
        return path.open(encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigError("--input", f"cannot read {path}: {error.strerror}") from error


def _build_rule(args: argparse.Namespace, rule_id: str) -> Any:
    from leadline_verdict.decision import UNSEEN_OUTAGE_WINDOWS_BY_EDITION, MissingPolicy, VerdictRule
    from leadline_verdict.rule_edition import RuleEdition

    edition = RuleEdition(rule_id)
    values = {"target_share": args.target_share, "unseen_outage_windows": args.unseen_minutes}
    try:
        return VerdictRule(
            **{"unseen_outage_windows": UNSEEN_OUTAGE_WINDOWS_BY_EDITION[edition]}
            | {name: value for name, value in values.items() if value is not None},
            missing_policy=MissingPolicy(args.missing or "bad"),
            edition=edition,
        )
    except ValueError as error:
        raise ConfigError("--target-share", str(error)) from error
