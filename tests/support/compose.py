"""Readers of docker-compose.yml and Dockerfile: services, their commands, stages of the images."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"

Document = dict[str, Any]


def load_compose() -> Document:
    """Load docker-compose.yml with its anchors resolved."""
    document: Document = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return document


def unescape(text: str) -> str:
    """Return the text as the container gets it: Compose replaces ``$$`` by a dollar sign."""
    return text.replace("$$", "$")


def get_container_command(service: Document) -> list[str]:
    """Return the command of a container: a script for ``sh``, or arguments of ``leadline``, the image's entrypoint."""
    entrypoint = service.get("entrypoint", ["leadline"])
    return [unescape(word) for word in [*entrypoint, *service["command"]]]


def find_leadline_commands(service: Document) -> Iterator[list[str]]:
    """Yield the arguments of every ``leadline`` call of a service: command, script lines, health check."""
    if "build" in service:
        command = get_container_command(service)
        scripts = command[2:] if command[0] == "sh" else [shlex.join(command)]
        for script in scripts:
            for line in re.findall(r"^\s*leadline (.*)$", script, re.MULTILINE):
                yield shlex.split(line.rstrip(" |"))
    test = service.get("healthcheck", {}).get("test", [])
    if test[1:2] == ["leadline"]:
        yield test[2:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A ``FROM`` of a Dockerfile and its instructions, continued lines joined."""

    image: str
    name: str
    lines: tuple[str, ...]

    def get_arguments(self, instruction: str) -> list[str]:
        """Return the arguments of every such instruction."""
        return [line.partition(" ")[2].strip() for line in self.lines if line.split(" ")[0] == instruction]


def parse_stages(text: str) -> list[Stage]:
    """Return the stages of a Dockerfile, in order."""
    instructions = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    stages: list[Stage] = []
    for line in (line.strip() for line in instructions.splitlines() if line.strip()):
        if line.startswith("FROM "):
            image, _, name = line.removeprefix("FROM ").partition(" AS ")
            stages.append(Stage(image=image, name=name, lines=()))
        else:
            stage = stages.pop()
            stages.append(Stage(image=stage.image, name=stage.name, lines=(*stage.lines, line)))
    return stages


def find_ancestry(all_stages: list[Stage], name: str) -> list[Stage]:
    """Return a stage and its base stages, the outermost base first."""
    by_name = {stage.name: stage for stage in all_stages}
    stage, ancestry = by_name.get(name), list[Stage]()
    while stage is not None:
        ancestry.insert(0, stage)
        stage = by_name.get(stage.image)
    return ancestry
