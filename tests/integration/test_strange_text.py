"""Text that PostgreSQL cannot store is refused like any unknown name, on both databases."""

from __future__ import annotations

import pytest

from tests.integration.conftest import Client

#: NUL, which PostgreSQL cannot store, the longest names, and an emoji.
STRANGE = ["a%00b", "%00", "x" * 63, "%F0%9F%9A%80"]


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_name_is_an_unknown_name(client: Client, fra1: str, name: str) -> None:
    """404 or 422, never 500."""
    requests = [
        ("DELETE", f"/api/v1/agents/{name}/keys", 404),
        ("DELETE", f"/api/v1/tokens/{name}", 422),
        ("GET", f"/api/v1/agents/{name}/gaps", 404),
        ("GET", f"/api/v1/pairs/{name}/fra/windows", 404),
        ("GET", f"/api/v1/matrix?profile={name}", 422),
        ("GET", f"/api/v1/matrix?profile=vcf9-stretched-cluster&group={name}", 422),
    ]

    statuses = [client.send(method, path, key=client.admin_key).status for method, path, _ in requests]

    assert statuses == [status for _, _, status in requests]


@pytest.mark.parametrize("site", ["a\\u0000b", "\\u0000", "x", "\\ud83d\\ude80"])
def test_a_strange_site_is_an_unknown_site(client: Client, fra1: str, site: str) -> None:
    """422 for characters escaped in the body."""
    body = f'{{"site": "{site}"}}'.encode()

    assert client.send("POST", "/api/v1/tokens", body, client.admin_key).status == 422


def test_a_strange_agent_does_not_enrol(client: Client, fra1: str) -> None:
    """422 with a valid token, which stays unused."""
    token = client.token("fra")
    body = f'{{"token": "{token}", "agent": "\\u0000"}}'.encode()

    assert client.send("POST", "/api/v1/enroll", body).status == 422
    assert client.enrol(token, "fra2").status == 200
