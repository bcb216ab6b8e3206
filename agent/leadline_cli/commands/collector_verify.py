"""``leadline collector verify``: the journal checked again, batch by batch, by whoever wants to know."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from leadline.errors import ConfigError
from leadline.wire.signing import PUBLIC_BYTES
from leadline_cli.commands.agent_keys import moment
from leadline_cli.database_options import config_of

if TYPE_CHECKING:
    from leadline_collector.ingest.verification import Finding, Tally, TrustedKey

EXIT_BAD = 1


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``verify``; the caller adds where the data is."""
    parser = actions.add_parser(
        "verify",
        help="check the journal: digests, rows and signatures",
        description="Check every batch of the journal against its digest, its columns and its agent's signature, also "
        "while the collector runs. Exit status 1 when anything is wrong; every batch that is gets a line.",
        epilog="example: leadline collector verify --trusted-keys agents.keys",
    )
    parser.add_argument("--agent", metavar="NAME", help="only the batches of this agent")
    parser.add_argument(
        "--trusted-keys", type=Path, metavar="FILE",
        help="lines of AGENT PUBLIC-KEY [SINCE], as `agent enroll --sign` prints them: these and their successors are "
        "believed instead of the database's, and what such an agent measured since then (ISO 8601) must be signed",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run_verify)
    return parser


def run_verify(args: argparse.Namespace) -> int:
    """Look at everything, print what is wrong, and the count."""
    config = config_of(args)
    from leadline_collector.db.engine import reading
    from leadline_collector.ingest.verification import verify

    trusted = {} if args.trusted_keys is None else trusted_keys(args.trusted_keys)
    with reading(config.database) as read:
        tally, findings = verify(read, args.agent, trusted, _show if sys.stderr.isatty() else _keep_silent)
    print(json_text(tally, findings) if args.json else "\n".join(text_lines(tally, findings)))
    return EXIT_BAD if tally.bad else 0


def trusted_keys(file: Path) -> Mapping[str, Sequence[TrustedKey]]:
    """The keys in a file, by agent; ConfigError names the line that is none."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("--trusted-keys", f"cannot read {file}: {error}") from error
    found: defaultdict[str, list[TrustedKey]] = defaultdict(list)
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if words:
            try:
                found[words[0]].append(_trusted(words))
            except (ValueError, IndexError) as error:
                expected = "AGENT, a public key of 64 hex digits and, if wanted, the time since when"
                raise ConfigError("--trusted-keys", f"{file} line {number} is not {expected}") from error
    return found


def _trusted(words: Sequence[str]) -> TrustedKey:
    from leadline_collector.ingest.verification import TrustedKey

    _, key, *since = words
    public = bytes.fromhex(key)
    if len(public) != PUBLIC_BYTES or len(since) > 1:
        raise ValueError(words)
    return TrustedKey(public=public, since_s=_moment_s(since[0]) if since else 0)


def _moment_s(text: str) -> int:
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def _show(tally: Tally) -> None:
    end = "\n" if tally.batches >= tally.total else ""
    print(f"\r{tally.batches:,} of {tally.total:,} batches, {tally.bad:,} bad", end=end, file=sys.stderr, flush=True)


def _keep_silent(tally: Tally) -> None:
    """A pipe gets the result only."""


def json_text(tally: Tally, findings: Sequence[Finding]) -> str:
    """The result as one document."""
    document = {
        "batches": tally.batches,
        "bytes": tally.bytes,
        "gone": tally.gone,
        "signed": tally.signed,
        "bad": tally.bad,
        "faults": {str(fault): count for fault, count in sorted(tally.faults.items())},
        "findings": findings,
    }
    return msgspec.json.format(msgspec.json.encode(document)).decode()


def text_lines(tally: Tally, findings: Sequence[Finding]) -> Iterator[str]:
    """A line for each fault, and the count."""
    for one in findings:
        received = moment(one.received_at_s)
        yield f"{one.fault}: agent {one.agent} epoch {one.epoch} seq {one.seq}, received {received}: {one.detail}"
    if (rest := tally.faults.total() - len(findings)) > 0:
        yield f"and {rest:,} more"
    yield f"{tally.batches:,} batches, {tally.bytes / 1e6:,.1f} MB: {tally.signed:,} signed, {tally.bad:,} bad"
    if tally.gone:
        yield f"{tally.gone:,} batches have no body any more (retention) and could not be checked"
