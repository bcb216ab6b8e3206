"""Pages are tested on SQLite; a test marked ``both_databases`` runs on PostgreSQL too.

Pages draw from readers that tests/integration tests on both databases.
"""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the database of the fixture ``url``."""
    test = metafunc.definition
    is_chosen = any(mark.args[0] == "url" for mark in test.iter_markers("parametrize"))
    if "url" in metafunc.fixturenames and not is_chosen and not test.get_closest_marker("both_databases"):
        test.add_marker(pytest.mark.parametrize("url", ["sqlite"], indirect=True))
