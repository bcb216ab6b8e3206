"""``leadline mesh``: manage the mesh of sites, agents and targets."""

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
    parser = commands.add_parser(
        "mesh",
        help="manage the mesh of sites, agents and targets",
        description="Manage the mesh: sites, agents, targets, and which agent probes which target.",
        epilog="example: leadline mesh apply mesh.toml",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    apply = actions.add_parser(
        "apply",
        help="check a mesh file and apply it",
        description="Check a mesh file and store it as a new version. Agents load it within a minute.",
        epilog="example: leadline mesh apply mesh.toml",
    )
    apply.add_argument("file", metavar="FILE", help="mesh file (TOML, docs/mesh.md); - for standard input")
    apply.add_argument("--dry-run", action="store_true", help="only check the file; needs no collector")
    apply.add_argument("--json", action="store_true", help="print the result as JSON")
    api_client.add_collector_options(apply)
    apply.set_defaults(run=run_apply)


def run_apply(args: argparse.Namespace) -> int:
    """Check the file locally, then send it to the collector."""
    from leadline.mesh.parser import parse_mesh  # Only this command needs zone data and the catalogue.

    try:
        text = sys.stdin.read() if args.file == "-" else Path(args.file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(args.file, f"cannot be read: {error}") from error
    try:
        mesh = parse_mesh(text)
    except ConfigError as error:
        raise ConfigError(f"{args.file}: {error.key}", error.problem) from error
    if args.dry_run:
        response = control.MeshResponse(
            version=0, changed=False, sites=len(mesh.sites), agents=len(mesh.agents), pairs=len(mesh.pairs)
        )
        _print_summary(args, mesh, response, f"{args.file} is valid")
        return 0
    response = api_client.send_admin_request(args, "PUT", "/api/v1/mesh", text.encode(), control.MeshResponse)
    summary = (
        f"mesh version {response.version} is active" if response.changed else f"no change: version {response.version}"
    )
    _print_summary(args, mesh, response, summary)
    return 0


def _print_summary(args: argparse.Namespace, mesh: Mesh, response: control.MeshResponse, summary: str) -> None:
    if args.json:
        print(codec.encode(response).decode())
    else:
        paths = sum(1 for _ in mesh.iter_paths())
        counts = f"{response.sites} sites, {response.agents} agents, {response.pairs} directed pairs, {paths} paths"
        print(f"{summary}: {counts}")
