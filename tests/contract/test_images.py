"""Rules for the Dockerfile; each is also tested with a file that breaks it."""

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


def build_stages(text: str, name: str) -> list[Stage]:
    """Return a target and the stages it is based on."""
    return find_ancestry(parse_stages(text), name)


def both_targets_exist(text: str) -> Iterator[str]:
    """Require agent and collector as the last stages; the collector is the default."""
    if [stage.name for stage in parse_stages(text)][-2:] != list(TARGETS):
        yield "agent and collector are not the last stages"


def bases_are_pinned(text: str) -> Iterator[str]:
    """Require a full version."""
    names = {stage.name for stage in parse_stages(text)}
    for stage in parse_stages(text):
        if stage.image not in names and not PINNED.fullmatch(stage.image):
            yield f"{stage.name} is based on {stage.image}"


def images_do_not_run_as_root(text: str) -> Iterator[str]:
    """Require a numeric user, for runAsNonRoot of Kubernetes."""
    for name in TARGETS:
        users = [user for stage in build_stages(text, name) for user in stage.get_arguments("USER")]
        if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
            yield f"{name} runs as {users[-1:] or 'root'}"


def images_have_health_checks(text: str) -> Iterator[str]:
    """Require a command of leadline: the images have no curl."""
    for name in TARGETS:
        checks = [check for stage in build_stages(text, name) for check in stage.get_arguments("HEALTHCHECK")]
        command = json.loads(checks[-1][checks[-1].index("CMD") + 4 :]) if checks and "CMD" in checks[-1] else []
        if command[:1] != ["leadline"]:
            yield f"{name} has the health check {checks}"


def images_are_labelled(text: str) -> Iterator[str]:
    """Require the labels of the Open Container Initiative, with the version of the package."""
    for name in TARGETS:
        labels = " ".join(label for stage in build_stages(text, name) for label in stage.get_arguments("LABEL"))
        yield from (f"{name} lacks {key}" for key in LABELS if f"org.opencontainers.image.{key}=" not in labels)
        if f'image.version="{__version__}"' not in labels:
            yield f"{name} has another version than {__version__}"


def the_agent_has_its_own_dependencies(text: str) -> Iterator[str]:
    """Require only the locked requirements of each target."""
    for name in TARGETS:
        lines = [
            line
            for stage in parse_stages(text)
            if stage.name == f"{name}-environment"
            for line in (*stage.get_arguments("COPY"), *stage.get_arguments("RUN"))
        ]
        if not any(f"requirements/{name}.txt" in line for line in lines):
            yield f"{name} is not built from requirements/{name}.txt"
        copied = [line for stage in build_stages(text, name) for line in stage.get_arguments("COPY")]
        if copied != [f"--from={name}-environment /opt/leadline /opt/leadline"]:
            yield f"{name} contains {copied}"


def downloads_are_checked_against_hashes(text: str) -> Iterator[str]:
    """Require hashes for all downloads; the own wheel comes from the build."""
    for stage in parse_stages(text):
        for line in stage.get_arguments("RUN"):
            for command in re.findall(r"pip (?:--\S+ \S+ )?(?:install|wheel) [^&]*", line):
                if not re.search(r"--require-hashes|--no-deps", command) or re.search(r"https?:|--index-url", command):
                    yield f"{stage.name}: {command}"


def the_entrypoint_is_the_program(text: str) -> Iterator[str]:
    """Require the program as entrypoint, without a shell."""
    for name in TARGETS:
        entrypoints = [entry for stage in build_stages(text, name) for entry in stage.get_arguments("ENTRYPOINT")]
        if entrypoints != ['["leadline"]']:
            yield f"{name} starts with {entrypoints}"


BROKEN: list[tuple[Rule, str, str]] = [
    (both_targets_exist, "FROM base AS agent\n", "FROM base AS probe\n"),
    (bases_are_pinned, "python:3.13.11-slim-bookworm AS", "python:3.13-slim AS"),
    (images_do_not_run_as_root, "USER 8427:8427\n", ""),
    (images_do_not_run_as_root, "USER 8427:8427\n", "USER leadline\n"),
    (images_have_health_checks, 'CMD ["leadline", "agent", "status"]', 'CMD ["curl", "http://127.0.0.1/"]'),
    (images_have_health_checks, "HEALTHCHECK --interval", "# HEALTHCHECK --interval"),
    (images_are_labelled, f'version="{__version__}"', 'version="0.0.0"'),
    (images_are_labelled, "org.opencontainers.image.title=", "title="),
    (the_agent_has_its_own_dependencies, "COPY requirements/agent.txt", "COPY requirements/collector.txt"),
    (the_agent_has_its_own_dependencies, "--from=agent-environment /opt", "--from=collector-environment /opt"),
    (downloads_are_checked_against_hashes, "--require-hashes ", ""),
    (downloads_are_checked_against_hashes, "--no-deps --no-index", "--no-deps --index-url=http://x/"),
    (the_entrypoint_is_the_program, 'ENTRYPOINT ["leadline"]', "ENTRYPOINT pip install leadline && leadline"),
]
RULES = list(dict.fromkeys(rule for rule, *_ in BROKEN))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_file_follows_the_rule(rule: Rule) -> None:
    """The Dockerfile does not break the rule."""
    assert list(rule(DOCKERFILE.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("rule", "old", "new"), BROKEN, ids=[f"{entry[0].__name__}-{number}" for number, entry in enumerate(BROKEN)]
)
def test_a_broken_rule_is_detected(rule: Rule, old: str, new: str) -> None:
    """The rule reports one changed line."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert old in text

    assert list(rule(text.replace(old, new, 1)))


def test_the_commands_of_the_images_parse() -> None:
    """Default commands and health checks parse with the real command line."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    for name in TARGETS:
        last = build_stages(text, name)[-1]
        for arguments in (
            json.loads(last.get_arguments("CMD")[0]),
            *map(health_words, last.get_arguments("HEALTHCHECK")),
        ):
            build_parser().parse_args(arguments)


def health_words(check: str) -> list[str]:
    """Return the arguments of leadline in a health check."""
    words: list[str] = json.loads(check[check.index("CMD") + 4 :])
    return words[1:]


def test_mounted_directories_exist_in_the_image() -> None:
    """An empty volume gets the owner of its mount point; only root could write to a missing directory."""
    lines = " ".join(
        line for stage in build_stages(DOCKERFILE.read_text(encoding="utf-8"), "agent") for line in stage.lines
    )
    for service in load_compose()["services"].values():
        for volume in service.get("volumes", []) if "build" in service else []:
            source, target = volume.split(":")[:2]
            assert source.startswith("./") or f" {target} " in f"{lines} ", target


def test_the_build_context_is_minimal() -> None:
    """Keys, databases and the local environment are excluded; every source root is included."""
    lines = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]

    assert lines[0] == "*"
    for path in ("agent", "collector", "migrations", "requirements", "pyproject.toml", "README.md", "LICENSE"):
        assert is_sent(path, lines), path
    for path in (".git", ".venv", "tests", "admin.key", "leadline.sqlite", "fra.token", "dist"):
        assert not is_sent(path, lines), path


def is_sent(path: str, lines: list[str]) -> bool:
    """Return True if .dockerignore includes a path; the last matching line decides, as in Docker."""
    included = True
    for line in lines:
        if fnmatch.fnmatch(path, line.removeprefix("!")):
            included = line.startswith("!")
    return included
