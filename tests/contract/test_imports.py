"""Who may import what, and why: the arrows of docs/architecture.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import leadline
import leadline_agent
import leadline_cli
import leadline_collector
import leadline_dashboards
import leadline_verdict

#: Package: what it must not import, and the reason.
FORBIDDEN = {
    leadline: {
        "leadline_agent": "the core is imported by both sides and imports neither",
        "leadline_collector": "the core is imported by both sides and imports neither",
        "leadline_verdict": "the core is imported by both sides and imports neither",
        "leadline_cli": "the core knows no command line",
        "socket": "the core is pure: it touches no network",
        "sqlalchemy": "the core is pure: it touches no database",
        "urllib3": "the core is pure: it touches no network",
        "icmplib": "only leadline_agent.probe.icmp speaks ICMP",
        "cryptography": "the core says what is signed, and signs nothing",
    },
    leadline_agent: {
        "leadline_collector": "an agent host has no collector",
        "leadline_verdict": "an agent measures and does not judge",
        "leadline_cli": "a library does not know who calls it",
        "fastapi": "an agent host carries no web server",
        "pydantic": "msgspec is the one contract of the wire",
        "sqlalchemy": "an agent has no database",
        "rich": "the agent draws nothing",
    },
    leadline_verdict: {
        "leadline_collector": "verdicts are arithmetic: they are computed offline as well",
        "leadline_agent": "verdicts measure nothing",
        "leadline_cli": "a library does not know who calls it",
        "sqlalchemy": "verdicts touch no database",
        "fastapi": "verdicts touch no network",
    },
    leadline_collector: {
        "leadline_agent": "the collector measures nothing",
        "leadline_cli": "a library does not know who calls it",
        "icmplib": "only leadline_agent.probe.icmp speaks ICMP",
    },
    leadline_dashboards: {
        "leadline_collector": "a dashboard knows the views of the database and nothing behind them",
        "leadline_agent": "a dashboard measures nothing",
        "leadline_verdict": "a dashboard shows what was judged and judges nothing",
        "sqlalchemy": "a dashboard is a file",
    },
}
#: What only these modules import, and why.
ONLY = {
    "icmplib": ({"leadline_agent.probe.icmp"}, "its ping functions are no evidence; one module keeps them out"),
    "time": ({"leadline.clock"}, "time comes in through a Clock, so that tests can hold it"),
    "random": ({"leadline.clock"}, "randomness comes in by a parameter, so that tests can seed it"),
    "cryptography": (
        {"leadline_agent.identity.signer", "leadline_collector.auth.signatures"},
        "an extra on the agent; what is signed and how is decided in one place",
    ),
    "grafana_api": ({"leadline_cli.grafana.client"}, "archived upstream: one module holds it at arm's length"),
    "requests": ({"leadline_cli.grafana.client"}, "it comes with grafana_api; everything else uses urllib3"),
    "psycopg": (
        {
            "leadline_collector.db.engine",
            "leadline_collector.db.transactions",
            "leadline_collector.db.grafana_role",
            "leadline_collector.windows.store",
        },
        "the database is behind the store; users of PostgreSQL are made in one place",
    ),
}
#: Types may be named anywhere: ``from random import Random`` draws nothing.
TYPES = {("random", "Random")}
HEAVY = (
    "fastapi", "starlette", "pydantic", "sqlalchemy", "alembic", "jinja2", "numpy", "scipy", "rich", "httpx",
    "cryptography",
)  # fmt: skip


def modules() -> Iterator[tuple[str, Path]]:
    for package in (leadline, leadline_agent, leadline_cli, leadline_collector, leadline_dashboards, leadline_verdict):
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            yield ".".join((package.__name__, *path.relative_to(root).with_suffix("").parts)), path


def imported(path: Path) -> Iterator[str]:
    """Every module a file imports, anywhere in it, but for types."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module for alias in node.names if (node.module, alias.name) not in TYPES)


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_one_way(name: str, path: Path) -> None:
    """No module imports what its package must not, nor what is another module's business."""
    package = name.split(".")[0]
    forbidden = next((rules for root, rules in FORBIDDEN.items() if root.__name__ == package), {})
    for module in imported(path):
        top = module.split(".")[0]
        assert top not in forbidden, f"{name} imports {module}: {forbidden.get(top)}"
        allowed, reason = ONLY.get(top, ({name}, ""))
        assert name in allowed, f"{name} imports {module}: {reason}"


@pytest.mark.parametrize("module", ["leadline_agent.agent", "leadline_agent.probe.__main__", "leadline_cli.__main__"])
def test_the_agent_is_light(module: str) -> None:
    """In a process of its own: what an agent host runs pulls in nothing of the server, and the CLI is lazy."""
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not set(HEAVY) & set(loaded)


def test_reading_dashboards_needs_no_generator() -> None:
    """The library that makes them is a development dependency; what Grafana is given are files."""
    code = "import sys, leadline_dashboards as d; d.documents(), d.alert_rules(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not [name for name in loaded if name.startswith("grafana_foundation_sdk")]
