"""docker-compose.yml in a container engine, as a newcomer starts it. Skipped where no engine answers."""

from __future__ import annotations

import base64
import secrets
import subprocess
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import urllib3

from tests.support.compose import ROOT

UP_S = 1_500

pytestmark = [pytest.mark.source_tree, pytest.mark.slow, pytest.mark.timeout(UP_S + 300)]


def reason_to_skip() -> str | None:
    """None where ``docker compose`` has an engine to command."""
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"`{' '.join(command)}`: {error}"
        if done.returncode:
            return f"`{' '.join(command)}`: {(done.stderr or done.stdout).strip().splitlines()[-1]}"
    return None


@pytest.fixture(name="project", scope="module")
def _project() -> Iterator[list[str]]:
    """The command of a project of its own, up; down with its volumes at the end."""
    if reason := reason_to_skip():
        pytest.skip(f"no container engine: {reason}")
    command = ["docker", "compose", "--project-name", f"leadline-test-{secrets.token_hex(4)}"]
    try:
        run(command, "up", "--build", "--detach", "--wait", "--wait-timeout", str(UP_S))
        yield command
    finally:
        subprocess.run([*command, "down", "--volumes", "--rmi", "local"], cwd=ROOT, capture_output=True, timeout=300)


def run(command: list[str], *arguments: str) -> str:
    """One command on the project; what it said."""
    done = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=UP_S + 60)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


def get(url: str, password: str | None = None) -> tuple[int, Any]:
    """Status and document."""
    headers = {}
    if password is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        answer = pool.request("GET", url, headers=headers)
    return answer.status, msgspec.json.decode(answer.data)


def test_collector_and_grafana_answer(project: list[str]) -> None:
    """History is there, the datasource answers, the dashboards are there, and nobody enters without the password."""
    assert get("http://127.0.0.1:8427/readyz")[0] == 200
    matrix = get("http://127.0.0.1:8427/api/v1/matrix?profile=vsan-stretched&group=europe-simulated&from=-7d")[1]
    assert len(matrix["pairs"]) == 12
    assert get("http://127.0.0.1:3000/api/search")[0] == 401
    password = run(project, "exec", "grafana", "cat", "/srv/leadline/grafana/password").strip()
    status, found = get("http://127.0.0.1:3000/api/search?type=dash-db", password)
    assert (status, len(found) >= 3) == (200, True)
    (source,) = get("http://127.0.0.1:3000/api/datasources", password)[1]
    status, health = get(f"http://127.0.0.1:3000/api/datasources/uid/{source['uid']}/health", password)
    assert (status, health["status"]) == (200, "OK"), health


def test_it_may_be_started_again(project: list[str]) -> None:
    """Services that have ended run once more, and nothing is made anew."""
    before = run(project, "exec", "grafana", "cat", "/srv/leadline/grafana/password")
    run(project, "up", "--detach", "--wait", "--wait-timeout", str(UP_S))

    assert run(project, "exec", "grafana", "cat", "/srv/leadline/grafana/password") == before
