"""What the readers of lines have in common: how they complain, and what is an address."""

from __future__ import annotations

import ipaddress
import re

from leadline.errors import ConfigError

#: As much of a line as an error repeats.
QUOTE_LENGTH_MAX = 100


def build_line_error(number: int, problem: str) -> ConfigError:
    """The error of a line."""
    return ConfigError(f"line {number}", problem)


def build_unknown_line_error(number: int, line: str, program: str) -> ConfigError:
    """The error of a line that the program is not known to print."""
    shown = "".join(character if character.isprintable() else "?" for character in line[:QUOTE_LENGTH_MAX])
    return build_line_error(number, f"is no output of {program}: {shown!r}; if it does not belong there, take it out")


def extract_address(host: str) -> str | None:
    """The IP address a host is named by or with: ``192.0.2.1`` or ``fra1.example (192.0.2.1)``; None without one."""
    found = re.fullmatch(r"(?:.* \()?([0-9A-Fa-f.:]+)\)?", host)
    try:
        return str(ipaddress.ip_address(found[1])) if found else None
    except ValueError:
        return None
