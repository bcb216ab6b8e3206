"""Errors and address parsing shared by the readers."""

from __future__ import annotations

import ipaddress
import re

from leadline.errors import ConfigError

#: Characters of a line that an error quotes.
QUOTE_LENGTH_MAX = 100


def build_line_error(number: int, problem: str) -> ConfigError:
    """Return the error of a line."""
    return ConfigError(f"line {number}", problem)


def build_unknown_line_error(number: int, line: str, program: str) -> ConfigError:
    """Return the error of an unknown line."""
    quote = "".join(character if character.isprintable() else "?" for character in line[:QUOTE_LENGTH_MAX])
    return build_line_error(number, f"is not output of {program}: {quote!r}; remove it if it does not belong there")


def extract_address(host: str) -> str | None:
    """Return the IP address in ``192.0.2.1`` or ``fra1.example (192.0.2.1)``; None without one."""
    match = re.fullmatch(r"(?:.* \()?([0-9A-Fa-f.:]+)\)?", host)
    try:
        return str(ipaddress.ip_address(match[1])) if match else None
    except ValueError:
        return None
