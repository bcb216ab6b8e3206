"""Tests of the documented command line: every command has an example, every documented command parses."""

from __future__ import annotations

import argparse
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadline.mesh.parser import parse_mesh
from leadline_cli.__main__ import build_parser, main

ROOT = Path(__file__).parents[2]


def commands(
    parser: argparse.ArgumentParser, name: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Yield every command without subcommands, with its parser."""
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not actions:
        yield name, parser
    for action in actions:
        for word, sub in action.choices.items():
            yield from commands(sub, (*name, word))


COMMANDS = dict(commands(build_parser()))


@pytest.mark.parametrize("name", list(COMMANDS), ids=" ".join)
def test_every_command_shows_an_example(name: tuple[str, ...]) -> None:
    """Every command has an example in its help, and the example parses."""
    epilog = COMMANDS[name].epilog or ""
    examples = re.findall(r"(?:^|\s)leadline ((?:[^\s>]+ ?)+)", epilog)

    assert examples, f"leadline {' '.join(name)} has no example"
    for example in examples:
        build_parser().parse_args(shlex.split(example))


def test_help_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` lists every command."""
    with pytest.raises(SystemExit) as caught:
        main(["--help"])

    assert caught.value.code == 0
    output = capsys.readouterr().out
    assert all(name[0] in output for name in COMMANDS)


def test_a_usage_error_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    """A missing argument is a usage error."""
    with pytest.raises(SystemExit) as caught:
        main(["check"])

    assert caught.value.code == 2
    assert "HOST" in capsys.readouterr().err


#: A call of the program: alone, by its path, in a container, or behind a pipe.
_CALL = re.compile(r"(?:^|\||&&|;| exec \S+ )\s*(?:\$ )?(?:/opt/leadline/bin/)?leadline ([^|&;]*)")
#: The arguments of a container of one of the images.
_IN_IMAGE = re.compile(r"^docker run .* leadline-(?:agent|collector) ((?:agent|collector) .*)$")


def documented_calls(text: str) -> Iterator[list[str]]:
    """Yield the arguments of every call of ``leadline`` in the shell blocks of a page."""
    for block in re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL):
        for line in re.sub(r"\\\n\s*", "", textwrap.dedent(block)).splitlines():
            for call in [*_CALL.findall(line), *_IN_IMAGE.findall(line)]:
                yield shlex.split(re.split(r" 2?[>|<#] ?| &$", call)[0])


def test_calls_are_found_in_all_forms() -> None:
    """Alone, by path, continued on the next line, in containers, after a pipe; service names do not count."""
    block = """```sh
leadline a > file
/opt/leadline/bin/leadline b \\
  --c d
docker exec agent leadline e
docker run --rm leadline-agent agent f - < token
cat x | leadline g
systemctl restart leadline-agent
```"""

    assert list(documented_calls(block)) == [["a"], ["b", "--c", "d"], ["e"], ["agent", "f", "-"], ["g"]]


@pytest.mark.source_tree
@pytest.mark.parametrize("page", ["README.md", *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))])
def test_the_commands_of_the_documents_parse(page: str) -> None:
    """Every command in a shell block exists."""
    for words in documented_calls((ROOT / page).read_text(encoding="utf-8")):
        if "--help" not in words and "--version" not in words:
            build_parser().parse_args(words)


@pytest.mark.source_tree
def test_the_files_of_the_deployment_guide_exist() -> None:
    """Units, requirements and linked pages of the guide exist."""
    text = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    files = {*re.findall(r"(?:deploy|requirements)/[\w.-]+\.\w+", text)}
    pages = {f"docs/{page}" for page in re.findall(r"\]\(([\w/.-]+\.md)", text)}

    assert len(files) >= 4
    assert [path for path in sorted(files | pages) if not (ROOT / path).exists()] == []


@pytest.mark.source_tree
def test_the_meshes_of_the_guide_are_valid() -> None:
    """The mesh file of the guide is valid, with and without the override."""
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/deploy.md").read_text(encoding="utf-8"), re.DOTALL)
    mesh, override = (textwrap.dedent(block) for block in blocks)

    assert len(parse_mesh(mesh).pairs) == 2
    assert len(parse_mesh(mesh + override).pairs) == 2
