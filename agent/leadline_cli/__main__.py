"""Entry point: parses the arguments, runs one command, and prints an error as one line.

Exit status: 0 success, 1 negative result (for example a limit is exceeded), 2 usage or environment error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from leadline import __version__
from leadline.errors import LeadlineError

#: One module each, in the order of the help. Only the running command is imported, to keep the agent light.
COMMANDS = ("check", "verdict", "demo", "agent", "collector", "mesh", "token", "limits", "import", "export", "grafana")
#: Modules below ``leadline_cli`` that are not named ``commands.COMMAND``.
_MODULES = {"check": "check.command", "import": "commands.import_"}
EXIT_USAGE = 2
#: 128 + SIGINT, as in shells.
EXIT_INTERRUPTED = 130


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of one command, or of all commands if ``command`` is unknown or None."""
    parser = argparse.ArgumentParser(
        prog="leadline",
        description="Measure round-trip times between data centres and compare them with the published limits "
        "for live migration and stretched clusters.",
        epilog="example: leadline check 192.0.2.10 --profile vcf9-stretched-cluster --duration 60s",
    )
    parser.add_argument("--version", action="version", version=f"leadline {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in (command,) if command in COMMANDS else COMMANDS:
        import_module(f"leadline_cli.{_MODULES.get(name, 'commands.' + name)}").add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
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
        # The reader closed the pipe (`| head`). Redirect stdout, so that the interpreter does not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


if __name__ == "__main__":
    sys.exit(main())
