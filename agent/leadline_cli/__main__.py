"""The entry point: reads the arguments, runs one command, turns errors into one line and an exit status.

Exit status: 0 the answer is good, 1 the answer is bad (a limit is exceeded), 2 usage or environment.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from leadline import __version__
from leadline.errors import LeadlineError

#: A module of this package each, in the order of the help. Only the one that runs is imported: the agent stays light.
COMMANDS = ("check", "verdict", "demo", "agent", "collector", "mesh", "token", "limits", "import", "grafana")
#: Module of a command below ``leadline_cli``, if it is not ``commands`` and the command's name.
_MODULES = {"check": "check.command", "import": "commands.import_"}
EXIT_USAGE = 2
#: 128 + SIGINT, as shells report it.
EXIT_INTERRUPTED = 130


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The command line of one command, or of all where ``command`` is none of them."""
    parser = argparse.ArgumentParser(
        prog="leadline",
        description="Measure the round trip between data centres and judge it against the published limits "
        "for live migration and stretched clusters.",
        epilog="example: leadline check 192.0.2.10 --profile vcf9-stretched-cluster --duration 60s",
    )
    parser.add_argument("--version", action="version", version=f"leadline {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in (command,) if command in COMMANDS else COMMANDS:
        import_module(f"leadline_cli.{_MODULES.get(name, 'commands.' + name)}").add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        args = build_parser(arguments[0] if arguments else None).parse_args(arguments)
        status: int = args.run(args)
        sys.stdout.flush()
    except LeadlineError as error:
        print(f"leadline: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`| head`): nothing is left to say, and the interpreter must not try at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


if __name__ == "__main__":
    sys.exit(main())
