"""``leadline grafana``: dashboards and alert rules for a Grafana that exists. Needs ``leadline[grafana]``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadline.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from leadline_cli.grafana.desired_state import Datasource
    from leadline_cli.grafana.push import PushResult

EXIT_REFUSED = 1
#: A token has some 50 characters, a password a few dozen.
SECRET_CHARACTERS_MAX = 4_096
_NON_OWNER_MODE_BITS = 0o077


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``grafana`` to the command line."""
    parser = commands.add_parser("grafana", help="put the dashboards into a Grafana", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    push = actions.add_parser(
        "push",
        help="put datasource, folder, dashboards and alert rules into a Grafana",
        description="Put datasource, folder, dashboards and alert rules into a Grafana (11 or newer). What is there "
        "already is left alone; asked for again it changes nothing. Exit status 1 when something was refused.",
        epilog="example: leadline grafana push --url https://grafana.example.net --token-file grafana.token "
        "--datasource-host db.example.net:5432 --datasource-password-file reader.password --dry-run",
    )
    push.add_argument("--url", required=True, metavar="URL", help="Grafana's address, with its path if it has one")
    push.add_argument(
        "--token-file", required=True, metavar="FILE",
        help="file with the token of a service account with the role Admin, - for standard input",
    )  # fmt: skip
    push.add_argument("--ca-file", metavar="FILE", help="certificate authority of Grafana (PEM)")
    push.add_argument("--folder", default="leadline", metavar="TITLE", help="title of the folder (default %(default)s)")
    _add_datasource_options(push)
    push.add_argument(
        "--lock-rules",
        action="store_true",
        help="alert rules cannot be changed in Grafana's editor, only by this command",
    )
    push.add_argument("--dry-run", action="store_true", help="only say what would be done")
    push.add_argument("--json", action="store_true", help="print what was done as JSON")
    push.set_defaults(run=run_push)


def _add_datasource_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("datasource", "left alone, and must be there, where no host is named")
    group.add_argument("--datasource-host", metavar="HOST:PORT", help="PostgreSQL as Grafana reaches it")
    group.add_argument("--datasource-database", default="leadline", metavar="NAME", help="default %(default)s")
    group.add_argument("--datasource-user", default="grafana", metavar="NAME", help="default %(default)s")
    group.add_argument("--datasource-password-file", metavar="FILE", help="file with its password")
    group.add_argument(
        "--datasource-tls", default="verify-full", choices=["disable", "require", "verify-ca", "verify-full"],
        help="how Grafana checks the database's certificate (default %(default)s)",
    )  # fmt: skip


def run_push(args: argparse.Namespace) -> int:
    """Push what is packaged."""
    return push_dashboards(args, *_load_packaged_documents())


def push_dashboards(args: argparse.Namespace, documents: Mapping[str, bytes], rules: Sequence[dict[str, Any]]) -> int:
    """Push dashboards (bytes of JSON by name) and alert rules (groups of a provisioning file); the exit status."""
    try:
        from leadline_cli.grafana.client import GrafanaClient
        from leadline_cli.grafana.desired_state import DesiredState, parse_dashboards, parse_rule_groups
        from leadline_cli.grafana.push import GrafanaPush, check_version
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"this needs {str(error.name).partition('.')[0]}, which is not installed: pip install 'leadline[grafana]'"
        ) from error
    wanted = DesiredState(
        folder=args.folder,
        datasource=_build_datasource(args),
        dashboards=parse_dashboards(documents),
        rule_groups=parse_rule_groups(rules),
    )
    server = GrafanaClient(args.url, _read_secret("--token-file", args.token_file), args.ca_file)
    found = check_version(server)
    if not args.json:
        print(f"Grafana {found}: {server.url}")
    results = GrafanaPush(api=server, dry_run=args.dry_run, lock_rules=args.lock_rules).run(wanted)
    done = list(results) if args.json else list(_print_results(results, args))
    if args.json:
        print(json.dumps({"grafana": found, "dry_run": args.dry_run, "items": [asdict(one) for one in done]}))
    return EXIT_REFUSED if any(one.action == "refused" for one in done) else 0


def _print_results(results: Iterator[PushResult], args: argparse.Namespace) -> Iterator[PushResult]:
    """Each as soon as it is done."""
    would = {"created": "would create", "updated": "would update"} if args.dry_run else {}
    for one in results:
        detail = f": {one.detail}" if one.detail else ""
        print(f"{would.get(one.action, one.action):<12}  {one.kind:<10}  {one.name}{detail}", flush=True)
        yield one


def _build_datasource(args: argparse.Namespace) -> Datasource | None:
    if args.datasource_host is None:
        if args.datasource_password_file:
            raise ConfigError("--datasource-password-file", "is for a datasource: name --datasource-host too")
        return None
    from leadline_cli.grafana.desired_state import Datasource

    file = args.datasource_password_file
    if file == "-" == args.token_file:
        raise ConfigError("--datasource-password-file", "standard input is the token already: name a file")
    return Datasource(
        address=args.datasource_host,
        database=args.datasource_database,
        user=args.datasource_user,
        password=None if file is None else _read_secret("--datasource-password-file", file),
        ssl_mode=args.datasource_tls,
    )


def _read_secret(option: str, source: str) -> str:
    """What a file or standard input holds; never an argument, which stands in the list of processes."""
    try:
        text = sys.stdin.read(SECRET_CHARACTERS_MAX) if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(option, f"cannot read {source}: {error}") from error
    secret = text.strip()
    if not secret or any(character.isspace() for character in secret):
        raise ConfigError(option, f"{source} holds {'no secret' if not secret else 'more than one word'}")
    if source != "-" and Path(source).stat().st_mode & _NON_OWNER_MODE_BITS:
        print(f"leadline: warning: others may read {source}: chmod 600 {source}", file=sys.stderr)
    return secret


def _load_packaged_documents() -> tuple[Mapping[str, bytes], Sequence[dict[str, Any]]]:
    from leadline_dashboards import load_alert_rules, load_dashboards

    return load_dashboards(), load_alert_rules()
