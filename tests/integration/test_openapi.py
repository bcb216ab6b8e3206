"""Every response conforms to the OpenAPI document, for valid and invalid requests with any key; none is a 5xx.

schemathesis generates the requests from the document, a bounded number for each operation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from requests import Session
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from leadline_collector.config import CollectorConfig
from leadline_collector.db.transactions import Store
from leadline_collector.server.serve import serve_in_thread
from tests.integration.conftest import Client
from tests.support.clock import FakeClock
from tests.support.documents import MESH

VIEWER_KEY = "ll_viewer_0123456789abcdef"
#: Valid, and invalid, requests for each operation and key; generating a batch is slow.
EXAMPLES = 3
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@schemathesis.serializer("application/toml")
def toml(context: Any, value: Any) -> bytes:
    """Serialise any text as a mesh file."""
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")


@pytest.fixture(name="guarded")
def _guarded(config: CollectorConfig, store: Store, clock: FakeClock, tmp_path: Path) -> Iterator[Client]:
    """Yield a collector with a mesh and a viewer key."""
    file = tmp_path / "viewer.key"
    file.write_text(VIEWER_KEY)
    with serve_in_thread(replace(config, viewer_key_file=file), store, clock) as url:
        client = Client(url=url, admin_key=(config.data_dir / "admin.key").read_text().strip())
        assert client.apply(MESH).status == 200
        yield client
        client.pool.clear()


@pytest.mark.parametrize(
    ("url", "role"),
    [("sqlite", "none"), ("sqlite", "viewer"), ("postgresql", "agent"), ("postgresql", "admin")],
    indirect=["url"],
)
def test_responses_conform_to_the_openapi_document(guarded: Client, role: str) -> None:
    """Status, media type and schema of every response, for valid and invalid requests with the key of each role."""
    keys = {"none": None, "agent": guarded.key("fra1", "fra"), "viewer": VIEWER_KEY, "admin": guarded.admin_key}
    headers = {} if keys[role] is None else {"Authorization": f"Bearer {keys[role]}"}
    document = guarded.get("/openapi.json", Authorization=f"Bearer {guarded.admin_key}")
    schema = schemathesis.openapi.from_dict(document)
    operations: list[Any] = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
    assert len(operations) >= 17

    with Session() as session:
        for operation in operations:
            description = document["paths"][operation.path][operation.method.lower()]
            exercise(operation, GenerationMode.POSITIVE, guarded.url, headers, session)
            if description.keys() & {"parameters", "requestBody"}:  # other operations have no invalid requests
                with suppress(Unsatisfiable):  # the only parameter is a header of any text
                    exercise(operation, GenerationMode.NEGATIVE, guarded.url, headers, session)


def exercise(operation: Any, mode: GenerationMode, url: str, headers: dict[str, str], session: Session) -> None:
    """Send valid or invalid requests to one operation and check each response."""

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Any) -> None:
        response = case.call(base_url=url, headers=headers, session=session, timeout=20)
        case.validate_response(response, checks=CHECKS)

    send()
