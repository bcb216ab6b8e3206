"""The rules of the Dockerfile, one by one; each is shown to fail on a file that breaks it."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Iterator

import pytest

from leadline import __version__
from leadline_cli.__main__ import build_parser
from tests.support.compose import DOCKERFILE, ROOT, Stage, find_ancestry, load_compose, parse_stages

pytestmark = pytest.mark.source_tree

TARGETS = ("agent", "collector")
LABELS = ("title", "description", "licenses", "version")
PINNED = re.compile(r"python:3\.\d+\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?")

Rule = Callable[[str], Iterator[str]]


def built(text: str, name: str) -> list[Stage]:
    """What a target is made of."""
    return find_ancestry(parse_stages(text), name)


def both_targets_are_there(text: str) -> Iterator[str]:
    """The collector is the last, so the default."""
    if [stage.name for stage in parse_stages(text)][-2:] != list(TARGETS):
        yield "agent and collector are not the last stages"


def bases_are_pinned(text: str) -> Iterator[str]:
    """By their full version."""
    names = {stage.name for stage in parse_stages(text)}
    for stage in parse_stages(text):
        if stage.image not in names and not PINNED.fullmatch(stage.image):
            yield f"{stage.name} stands on {stage.image}"


def images_do_not_run_as_root(text: str) -> Iterator[str]:
    """By number, so that whoever asks for it can tell (runAsNonRoot)."""
    for name in TARGETS:
        users = [user for stage in built(text, name) for user in stage.get_arguments("USER")]
        if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
            yield f"{name} runs as {users[-1:] or 'root'}"


def images_say_how_they_are(text: str) -> Iterator[str]:
    """With leadline's own commands: there is no curl in them."""
    for name in TARGETS:
        checks = [check for stage in built(text, name) for check in stage.get_arguments("HEALTHCHECK")]
        command = json.loads(checks[-1][checks[-1].index("CMD") + 4 :]) if checks and "CMD" in checks[-1] else []
        if command[:1] != ["leadline"]:
            yield f"{name} has the health check {checks}"


def images_are_labelled(text: str) -> Iterator[str]:
    """As the Open Container Initiative names it; the version is the package's."""
    for name in TARGETS:
        labels = " ".join(label for stage in built(text, name) for label in stage.get_arguments("LABEL"))
        yield from (f"{name} lacks {key}" for key in LABELS if f"org.opencontainers.image.{key}=" not in labels)
        if f'image.version="{__version__}"' not in labels:
            yield f"{name} has another version than {__version__}"


def the_agent_has_its_own_dependencies(text: str) -> Iterator[str]:
    """And none of the collector's."""
    for name in TARGETS:
        lines = [
            line
            for stage in parse_stages(text)
            if stage.name == f"{name}-environment"
            for line in (*stage.get_arguments("COPY"), *stage.get_arguments("RUN"))
        ]
        if not any(f"requirements/{name}.txt" in line for line in lines):
            yield f"{name} is not made from requirements/{name}.txt"
        copied = [line for stage in built(text, name) for line in stage.get_arguments("COPY")]
        if copied != [f"--from={name}-environment /opt/leadline /opt/leadline"]:
            yield f"{name} contains {copied}"


def downloads_are_held_against_hashes(text: str) -> Iterator[str]:
    """What is installed is what was locked; our own wheel comes from the build."""
    for stage in parse_stages(text):
        for line in stage.get_arguments("RUN"):
            for command in re.findall(r"pip (?:--\S+ \S+ )?(?:install|wheel) [^&]*", line):
                if not re.search(r"--require-hashes|--no-deps", command) or re.search(r"https?:|--index-url", command):
                    yield f"{stage.name}: {command}"


def nothing_is_fetched_at_the_start(text: str) -> Iterator[str]:
    """The entrypoint is the program, and no shell."""
    for name in TARGETS:
        entrypoints = [entry for stage in built(text, name) for entry in stage.get_arguments("ENTRYPOINT")]
        if entrypoints != ['["leadline"]']:
            yield f"{name} starts with {entrypoints}"


BROKEN: list[tuple[Rule, str, str]] = [
    (both_targets_are_there, "FROM base AS agent\n", "FROM base AS probe\n"),
    (bases_are_pinned, "python:3.13.11-slim-bookworm AS", "python:3.13-slim AS"),
    (images_do_not_run_as_root, "USER 8427:8427\n", ""),
    (images_do_not_run_as_root, "USER 8427:8427\n", "USER leadline\n"),
    (images_say_how_they_are, 'CMD ["leadline", "agent", "status"]', 'CMD ["curl", "http://127.0.0.1/"]'),
    (images_say_how_they_are, "HEALTHCHECK --interval", "# HEALTHCHECK --interval"),
    (images_are_labelled, f'version="{__version__}"', 'version="0.0.0"'),
    (images_are_labelled, "org.opencontainers.image.title=", "title="),
    (the_agent_has_its_own_dependencies, "COPY requirements/agent.txt", "COPY requirements/collector.txt"),
    (the_agent_has_its_own_dependencies, "--from=agent-environment /opt", "--from=collector-environment /opt"),
    (downloads_are_held_against_hashes, "--require-hashes ", ""),
    (downloads_are_held_against_hashes, "--no-deps --no-index", "--no-deps --index-url=http://x/"),
    (nothing_is_fetched_at_the_start, 'ENTRYPOINT ["leadline"]', "ENTRYPOINT pip install leadline && leadline"),
]
RULES = list(dict.fromkeys(rule for rule, *_ in BROKEN))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_file_keeps_the_rule(rule: Rule) -> None:
    """For both images."""
    assert list(rule(DOCKERFILE.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("rule", "old", "new"), BROKEN, ids=[f"{entry[0].__name__}-{number}" for number, entry in enumerate(BROKEN)]
)
def test_a_file_that_breaks_the_rule_is_found(rule: Rule, old: str, new: str) -> None:
    """One line at a time."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert old in text

    assert list(rule(text.replace(old, new, 1)))


def test_the_commands_of_the_images_parse() -> None:
    """What they run when nothing else is said, and their health checks."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    for name in TARGETS:
        last = built(text, name)[-1]
        for arguments in (
            json.loads(last.get_arguments("CMD")[0]),
            *map(health_words, last.get_arguments("HEALTHCHECK")),
        ):
            build_parser().parse_args(arguments)


def health_words(check: str) -> list[str]:
    """The arguments of leadline in a health check."""
    found: list[str] = json.loads(check[check.index("CMD") + 4 :])
    return found[1:]


def test_what_compose_mounts_has_its_owner_in_the_image() -> None:
    """An empty volume takes the owner of the directory it is mounted on: without one, nobody but root could write."""
    made = " ".join(line for stage in built(DOCKERFILE.read_text(encoding="utf-8"), "agent") for line in stage.lines)
    for service in load_compose()["services"].values():
        for volume in service.get("volumes", []) if "build" in service else []:
            source, target = volume.split(":")[:2]
            assert source.startswith("./") or f" {target} " in f"{made} ", target


def test_only_what_the_build_needs_is_sent_to_it() -> None:
    """Keys, databases and this machine's environment stay out; every source root is in."""
    lines = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]

    assert lines[0] == "*"
    for path in ("agent", "collector", "migrations", "requirements", "pyproject.toml", "README.md", "LICENSE"):
        assert sent(path, lines), path
    for path in (".git", ".venv", "tests", "admin.key", "leadline.sqlite", "fra.token", "dist"):
        assert not sent(path, lines), path


def sent(path: str, lines: list[str]) -> bool:
    """The last line that fits decides, as Docker has it."""
    verdict = True
    for line in lines:
        if fnmatch.fnmatch(path, line.removeprefix("!")):
            verdict = line.startswith("!")
    return verdict
