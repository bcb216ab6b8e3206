"""``leadline collector ready``: readiness check, for container health checks without curl."""

from __future__ import annotations

import argparse
import os

import urllib3

from leadline_cli.api_client import URL_DEFAULT, URL_VARIABLE, format_problem

EXIT_NOT_READY = 1
#: Half of the usual ten seconds of a health check. A slower collector is not ready.
TIMEOUT_S = 5.0


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``ready``."""
    parser = actions.add_parser(
        "ready",
        help="check whether a running collector is ready",
        description="Query /readyz of a collector: the database responds, has the right schema, and stored the last "
        "batch. Exit status 0 if the collector is ready, 1 if it is not or does not respond.",
        epilog="example: leadline collector ready --collector https://leadline.example.net",
    )
    parser.add_argument(
        "--collector", metavar="URL", default=os.environ.get(URL_VARIABLE, URL_DEFAULT),
        help=f"URL of the collector (default ${URL_VARIABLE}, or {URL_DEFAULT})",
    )  # fmt: skip
    parser.add_argument("--ca-file", metavar="FILE", help="CA certificate for the collector's TLS certificate (PEM)")
    parser.set_defaults(run=run_ready)


def run_ready(args: argparse.Namespace) -> int:
    """Query /readyz and print the result as one line."""
    url = args.collector.rstrip("/") + "/readyz"
    pool = urllib3.PoolManager(timeout=TIMEOUT_S, retries=False, ca_certs=args.ca_file)
    try:
        response = pool.request("GET", url, redirect=False)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        print(f"no response from {url}: {error}")
        return EXIT_NOT_READY
    if response.status != 200:
        print(format_problem(url, response.status, response.data))
        return EXIT_NOT_READY
    print(f"{args.collector} is ready")
    return 0
