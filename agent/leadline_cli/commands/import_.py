"""``leadline import``: import existing measurements of fping, ping or any other program."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from msgspec import Struct

from leadline.durations import parse_duration_ms
from leadline.errors import ConfigError, UnavailableError
from leadline.wire import batch as wire
from leadline.wire import codec
from leadline_cli import api_client

if TYPE_CHECKING:
    from leadline.mesh.model import Mesh
    from leadline_cli.importers.document import ImportResult
    from leadline_cli.importers.pipeline import ImportFile, ImportOptions

FORMATS = ("fping", "ping", "csv")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``import`` to the command line."""
    parser = commands.add_parser(
        "import",
        help="import measurements of fping, ping or from CSV",
        description="Import existing measurements into the collector. They are marked as imported. A second import of "
        "the same file changes nothing. A file with any error is not imported at all.",
        epilog="example: leadline import fping fra-ams.log --src fra --dst ams --dry-run",
    )
    parser.add_argument("format", metavar="FORMAT", choices=FORMATS, help="fping, ping (Linux iputils) or csv")
    parser.add_argument("file", metavar="FILE", type=Path, help="output of the program")
    parser.add_argument("--src", required=True, metavar="NAME", help="site or agent that measured")
    parser.add_argument("--dst", required=True, metavar="NAME", help="site, agent or host that was probed")
    parser.add_argument(
        "--host", help="host to import, if the file has several; spelled as in the file (of an export: AGENT,TARGET)"
    )
    parser.add_argument("--start", help="send time of the first probe (2026-11-22T06:00:00Z), for files without times")
    parser.add_argument("--interval", help="time between probes (default: from the times in the file)")
    parser.add_argument("--dry-run", action="store_true", help="only read and summarise the file; needs no collector")
    parser.add_argument("--json", action="store_true", help="print one JSON document (docs/import.md)")
    api_client.add_collector_options(parser)
    parser.set_defaults(run=run_import)


def run_import(args: argparse.Namespace) -> int:
    """Read the file, let the collector validate all batches, then send them."""
    from leadline_cli.importers.document import build_document, format_report
    from leadline_cli.importers.pipeline import load_file  # Only this command needs the file readers.

    _show_status(f"reading {args.file}")
    try:
        import_file = load_file(args.file, _parse_options(args))
    finally:
        _show_status("")
    result = None if args.dry_run else _upload_file(args, import_file)
    document = build_document(import_file, result)
    print(codec.encode(document).decode() if args.json else format_report(document))
    return 0


def _parse_options(args: argparse.Namespace) -> ImportOptions:
    from leadline_cli.importers.pipeline import ImportFormat, ImportOptions
    from leadline_cli.importers.timestamps import parse_timestamp_us

    try:
        start_us = None if args.start is None else parse_timestamp_us(args.start)
    except ValueError as error:
        raise ConfigError("--start", str(error)) from error
    try:
        interval_ms = None if args.interval is None else parse_duration_ms(args.interval)
    except ValueError as error:
        raise ConfigError("--interval", str(error)) from error
    return ImportOptions(format=ImportFormat(args.format), host=args.host, start_us=start_us, interval_ms=interval_ms)


class _MeshFile(Struct, frozen=True, kw_only=True):
    """The part of the mesh response that this command needs."""

    text: str


def _upload_file(args: argparse.Namespace, import_file: ImportFile) -> ImportResult:
    from leadline.mesh.parser import parse_mesh
    from leadline_cli.importers.batches import build_batches, derive_epoch
    from leadline_cli.importers.document import ImportResult
    from leadline_cli.importers.target_names import find_target

    mesh: Mesh = parse_mesh(api_client.send_admin_request(args, "GET", "/api/v1/mesh", b"", _MeshFile).text)
    target = find_target(mesh, args.dst, import_file.address)
    # The bytes must not depend on the mesh, so that a later import gives the same batches.
    address = import_file.address or import_file.host or target
    source = f"{wire.IMPORT_PREFIX}{args.src}"
    bodies = list(build_batches(import_file, source, target, address))
    path = f"/api/v1/imports/{quote(args.src, safe='')}?{urlencode(_build_origin_params(import_file))}"
    for body in _iterate_with_progress("checking", bodies):
        _post_batch(args, f"{path}&check=true", body)
    acks = [_post_batch(args, path, body) for body in _iterate_with_progress("importing", bodies)]
    return ImportResult(
        source=source,
        target=target,
        epoch=derive_epoch(import_file, target, address),
        batches=len(acks),
        duplicates=sum(ack.duplicate for ack in acks),
    )


def _build_origin_params(import_file: ImportFile) -> dict[str, str | int]:
    """Return the query parameters about the file, for the audit log."""
    step = {} if import_file.resolution_us is None else {"resolution_us": import_file.resolution_us}
    return {"file": import_file.file, "sha256": import_file.sha256, "format": import_file.format.value, **step}


def _post_batch(args: argparse.Namespace, path: str, body: bytes) -> wire.Ack:
    ack = api_client.send_admin_request(args, "POST", path, body, wire.Ack)
    if ack.digest != wire.compute_digest(body):
        raise UnavailableError(
            f"{args.collector} acknowledged different bytes than sent: does a proxy change requests?"
        )
    return ack


def _iterate_with_progress(label: str, bodies: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the bodies and show progress for each."""
    for number, body in enumerate(bodies, 1):
        _show_status(f"{label} batch {number} of {len(bodies)}")
        yield body
    _show_status("")


def _show_status(progress: str) -> None:
    """Replace the progress line on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{progress}", end="", file=sys.stderr, flush=True)
