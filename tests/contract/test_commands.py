"""The command line as it is documented: every command has help with an example, every documented command parses."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadline_cli.__main__ import build_parser, main

ROOT = Path(__file__).parents[2]


def commands(
    parser: argparse.ArgumentParser, name: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Every command that runs something."""
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not actions:
        yield name, parser
    for action in actions:
        for word, sub in action.choices.items():
            yield from commands(sub, (*name, word))


COMMANDS = dict(commands(build_parser()))


@pytest.mark.parametrize("name", list(COMMANDS), ids=" ".join)
def test_every_command_shows_an_example(name: tuple[str, ...]) -> None:
    """And the example parses."""
    epilog = COMMANDS[name].epilog or ""
    examples = re.findall(r"(?:^|\s)leadline ((?:[^\s>]+ ?)+)", epilog)

    assert examples, f"leadline {' '.join(name)} has no example"
    for example in examples:
        build_parser().parse_args(shlex.split(example))


def test_help_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    """And names every command."""
    with pytest.raises(SystemExit) as caught:
        main(["--help"])

    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert all(name[0] in said for name in COMMANDS)


def test_a_usage_error_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    """As everywhere."""
    with pytest.raises(SystemExit) as caught:
        main(["check"])

    assert caught.value.code == 2
    assert "HOST" in capsys.readouterr().err


@pytest.mark.source_tree
@pytest.mark.parametrize("page", ["README.md", *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))])
def test_the_commands_of_the_documents_parse(page: str) -> None:
    """A command in a shell block is one that exists."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL):
        for line in re.findall(r"^\$? ?leadline (.*)$", block, re.MULTILINE):
            words = shlex.split(re.split(r" [>|<#] ?| &$", line)[0])
            if "--help" not in words:
                build_parser().parse_args(words)
