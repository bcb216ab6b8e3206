"""Rules of imports that import-linter cannot express; layers and forbidden imports are in ``[tool.importlinter]``."""

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
import leadline_migrations
import leadline_verdict

PACKAGES = (
    leadline, leadline_agent, leadline_cli, leadline_collector, leadline_dashboards, leadline_migrations,
    leadline_verdict,
)  # fmt: skip
#: Permitted libraries of a package besides the standard library.
LIBRARIES = {
    "leadline": {"leadline", "msgspec", "geographiclib"},
    "leadline_verdict": {"leadline_verdict", "leadline", "msgspec", "numpy", "scipy", "ruptures"},
}
HEAVY = (
    "fastapi", "starlette", "pydantic", "sqlalchemy", "alembic", "jinja2", "numpy", "scipy", "rich", "httpx",
    "cryptography",
)  # fmt: skip


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            yield ".".join((package.__name__, *path.relative_to(root).with_suffix("").parts)), path


MODULES = dict(modules())


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """Yield module and name of every import in a file, at any level; the name is empty for a whole module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_no_private_name_of_another_package(name: str) -> None:
    """Packages are two levels deep here: ``leadline_agent.spool``."""
    package = name.split(".")[:2]
    private = [
        f"{module}.{imported_name}"
        for module, imported_name in imported(MODULES[name])
        if module.split(".")[:2] != package and is_private(imported_name)
    ]

    assert not private


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[0] in LIBRARIES])
def test_a_pure_package_has_few_libraries(name: str) -> None:
    """Pure packages import only permitted libraries; import-linter can only list forbidden ones."""
    allowed = LIBRARIES[name.split(".")[0]] | sys.stdlib_module_names

    assert not {module for module, _ in imported(MODULES[name]) if module.split(".")[0] not in allowed}


@pytest.mark.parametrize("name", [name for name in MODULES if name != "leadline.clock"])
def test_random_numbers_come_from_a_parameter(name: str) -> None:
    """Only ``leadline.clock`` imports ``random``; ``from random import Random`` is permitted for the type."""
    assert not [item for module, item in imported(MODULES[name]) if module == "random" and item != "Random"]


@pytest.mark.parametrize("module", ["leadline_agent.agent", "leadline_agent.probe.__main__", "leadline_cli.__main__"])
def test_the_agent_is_light(module: str) -> None:
    """The programs of an agent host import no library of the server; runs in a separate process."""
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not set(HEAVY) & set(loaded)


def test_loading_dashboards_needs_no_generator() -> None:
    """The library of the generator is a development dependency; the product loads the generated files."""
    code = "import sys, leadline_dashboards as d; d.load_dashboards(), d.load_alert_rules(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not [name for name in loaded if name.startswith("grafana_foundation_sdk")]
