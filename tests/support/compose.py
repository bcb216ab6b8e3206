"""docker-compose.yml and Dockerfile as the tests read them: services, their commands, the stages of the images."""

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
    """The file with its anchors resolved."""
    document: Document = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return document


def unescape(text: str) -> str:
    """As the container gets it: Compose reads ``$$`` as a dollar sign."""
    return text.replace("$$", "$")


def get_container_command(service: Document) -> list[str]:
    """What the container runs: a script for ``sh``, or arguments of ``leadline``, its entrypoint in the image."""
    entrypoint = service.get("entrypoint", ["leadline"])
    return [unescape(word) for word in [*entrypoint, *service["command"]]]


def find_leadline_commands(service: Document) -> Iterator[list[str]]:
    """The arguments of every call of ``leadline`` in a service: its command, the lines of its script, its health."""
    if "build" in service:
        started = get_container_command(service)
        scripts = started[2:] if started[0] == "sh" else [shlex.join(started)]
        for script in scripts:
            for line in re.findall(r"^\s*leadline (.*)$", script, re.MULTILINE):
                yield shlex.split(line.rstrip(" |"))
    test = service.get("healthcheck", {}).get("test", [])
    if test[1:2] == ["leadline"]:
        yield test[2:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One ``FROM`` of a Dockerfile and what follows; instructions with continued lines joined."""

    image: str
    name: str
    lines: tuple[str, ...]

    def get_arguments(self, instruction: str) -> list[str]:
        """What every such instruction says."""
        return [line.partition(" ")[2].strip() for line in self.lines if line.split(" ")[0] == instruction]


def parse_stages(text: str) -> list[Stage]:
    """The stages of a Dockerfile, in order."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    found: list[Stage] = []
    for line in (line.strip() for line in joined.splitlines() if line.strip()):
        if line.startswith("FROM "):
            image, _, name = line.removeprefix("FROM ").partition(" AS ")
            found.append(Stage(image=image, name=name, lines=()))
        else:
            last = found.pop()
            found.append(Stage(image=last.image, name=last.name, lines=(*last.lines, line)))
    return found


def find_ancestry(all_stages: list[Stage], name: str) -> list[Stage]:
    """A stage and those it is built from, the outermost first."""
    by_name = {stage.name: stage for stage in all_stages}
    stage, found = by_name.get(name), list[Stage]()
    while stage is not None:
        found.insert(0, stage)
        stage = by_name.get(stage.image)
    return found
