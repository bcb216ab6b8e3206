"""``leadline collector ready``: is it ready for requests? For health checks of containers, which have no curl."""

from __future__ import annotations

import argparse
import os

import urllib3

from leadline_cli.api_client import URL_DEFAULT, URL_VARIABLE, format_problem

EXIT_NOT_READY = 1
#: A health check is given ten seconds; a collector that needs half of it is not ready.
TIMEOUT_S = 5.0


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``ready``."""
    parser = actions.add_parser(
        "ready",
        help="ask a running collector whether it is ready",
        description="Ask the /readyz of a collector: its database answers, has its schema, and took the last batch. "
        "Exit status 0 when it is ready, 1 when it is not or does not answer.",
        epilog="example: leadline collector ready --collector https://leadline.example.net",
    )
    parser.add_argument(
        "--collector", metavar="URL", default=os.environ.get(URL_VARIABLE, URL_DEFAULT),
        help=f"the collector's address (${URL_VARIABLE}; default {URL_DEFAULT})",
    )  # fmt: skip
    parser.add_argument("--ca-file", metavar="FILE", help="certificate authority of the collector (PEM)")
    parser.set_defaults(run=run_ready)


def run_ready(args: argparse.Namespace) -> int:
    """Ask, and say the answer in one line."""
    url = args.collector.rstrip("/") + "/readyz"
    pool = urllib3.PoolManager(timeout=TIMEOUT_S, retries=False, ca_certs=args.ca_file)
    try:
        answer = pool.request("GET", url, redirect=False)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        print(f"no answer from {url}: {error}")
        return EXIT_NOT_READY
    if answer.status != 200:
        print(format_problem(url, answer.status, answer.data))
        return EXIT_NOT_READY
    print(f"{args.collector} is ready")
    return 0
