"""``leadline mesh``: who probes whom."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from leadline.errors import ConfigError
from leadline.mesh.model import Mesh
from leadline.wire import codec, control
from leadline_cli import api_client


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``mesh`` to the command line."""
    parser = commands.add_parser("mesh", help="say who probes whom", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    apply = actions.add_parser(
        "apply",
        help="check a mesh file and put it in force",
        description="Check a mesh file and store it as a new version; agents pick it up within a minute.",
        epilog="example: leadline mesh apply mesh.toml",
    )
    apply.add_argument("file", metavar="FILE", help="the mesh file (TOML, docs/mesh.md); - for standard input")
    apply.add_argument("--dry-run", action="store_true", help="only check the file; needs no collector")
    apply.add_argument("--json", action="store_true", help="print the answer as JSON")
    api_client.add_collector_options(apply)
    apply.set_defaults(run=run_apply)


def run_apply(args: argparse.Namespace) -> int:
    """Check the file here, so that a mistake is found without a collector, and send it."""
    from leadline.mesh.parser import parse_mesh  # zone data and the catalogue are only needed here

    try:
        text = sys.stdin.read() if args.file == "-" else Path(args.file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(args.file, f"cannot be read: {error}") from error
    try:
        mesh = parse_mesh(text)
    except ConfigError as error:
        raise ConfigError(f"{args.file}: {error.key}", error.problem) from error
    if args.dry_run:
        answer = control.MeshResponse(
            version=0, changed=False, sites=len(mesh.sites), agents=len(mesh.agents), pairs=len(mesh.pairs)
        )
        _print_summary(args, mesh, answer, f"{args.file} is right")
        return 0
    answer = api_client.send_admin_request(args, "PUT", "/api/v1/mesh", text.encode(), control.MeshResponse)
    said = f"mesh version {answer.version} is in force" if answer.changed else f"no change: version {answer.version}"
    _print_summary(args, mesh, answer, said)
    return 0


def _print_summary(args: argparse.Namespace, mesh: Mesh, answer: control.MeshResponse, said: str) -> None:
    if args.json:
        print(codec.encode(answer).decode())
    else:
        paths = sum(1 for _ in mesh.iter_paths())
        print(f"{said}: {answer.sites} sites, {answer.agents} agents, {answer.pairs} directed pairs, {paths} paths")
