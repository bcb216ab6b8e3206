"""docker-compose.yml in a container engine. Skipped without an engine."""

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
    """Return why ``docker compose`` cannot run; None if it can."""
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        try:
            process = subprocess.run(command, capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"`{' '.join(command)}`: {error}"
        if process.returncode:
            return f"`{' '.join(command)}`: {(process.stderr or process.stdout).strip().splitlines()[-1]}"
    return None


@pytest.fixture(name="project", scope="module")
def _project() -> Iterator[list[str]]:
    """Start a new project and yield its command; remove it with its volumes at the end."""
    if reason := reason_to_skip():
        pytest.skip(f"no container engine: {reason}")
    command = ["docker", "compose", "--project-name", f"leadline-test-{secrets.token_hex(4)}"]
    try:
        run(command, "up", "--build", "--detach", "--wait", "--wait-timeout", str(UP_S))
        yield command
    finally:
        subprocess.run([*command, "down", "--volumes", "--rmi", "local"], cwd=ROOT, capture_output=True, timeout=300)


def run(command: list[str], *arguments: str) -> str:
    """Run one command on the project and return its output."""
    process = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=UP_S + 60)
    assert process.returncode == 0, (arguments, process.stdout, process.stderr)
    return process.stdout


def get(url: str, password: str | None = None) -> tuple[int, Any]:
    """Return the status and the JSON document of a GET."""
    headers = {}
    if password is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        response = pool.request("GET", url, headers=headers)
    return response.status, msgspec.json.decode(response.data)


def test_collector_and_grafana_work(project: list[str]) -> None:
    """The history, the datasource and the dashboards are present; Grafana requires the password."""
    assert get("http://127.0.0.1:8427/readyz")[0] == 200
    matrix = get("http://127.0.0.1:8427/api/v1/matrix?profile=vsan-stretched&group=europe-simulated&from=-7d")[1]
    assert len(matrix["pairs"]) == 12
    assert get("http://127.0.0.1:3000/api/search")[0] == 401
    password = run(project, "exec", "grafana", "cat", "/srv/leadline/grafana/password").strip()
    status, dashboards = get("http://127.0.0.1:3000/api/search?type=dash-db", password)
    assert (status, len(dashboards) >= 3) == (200, True)
    (datasource,) = get("http://127.0.0.1:3000/api/datasources", password)[1]
    status, health = get(f"http://127.0.0.1:3000/api/datasources/uid/{datasource['uid']}/health", password)
    assert (status, health["status"]) == (200, "OK"), health


def test_a_second_start_changes_nothing(project: list[str]) -> None:
    """One-time services run again and create nothing."""
    before = run(project, "exec", "grafana", "cat", "/srv/leadline/grafana/password")
    run(project, "up", "--detach", "--wait", "--wait-timeout", str(UP_S))

    assert run(project, "exec", "grafana", "cat", "/srv/leadline/grafana/password") == before
