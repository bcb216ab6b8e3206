"""Write ``vulture_allowlist.py``: names that vulture reports although they are in use, grouped by their reader.

Run ``make vulture-allowlist`` after a rename. A name without a group is unused code: delete it, or add it with its
reader to ``FRAMEWORKS`` or ``TESTS``. Routes, listeners and the variables of Alembic are in ``[tool.vulture]``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from vulture.config import make_config
from vulture.core import Vulture

ALLOWLIST = Path(__file__).with_name("vulture_allowlist.py")
TEMPLATES = Path("collector/leadline_collector/web/templates")
#: Files with fields that are read by name, and their readers.
FIELDS = {
    "agent/leadline/limits/catalogue.py": "The catalogue of limits (TOML) has these words.",
    "agent/leadline_cli/check/document.py": "Fields of `leadline check --json`.",
    "collector/leadline_collector/analysis/documents.py": "Fields of API responses.",
    "collector/leadline_verdict/document.py": "Fields of the verdict document (docs/verdict.schema.json).",
    "agent/leadline_agent/spool/manifest.py": "Fields of the spool's manifest on disk.",
    "collector/leadline_collector/http/documents.py": "Fields of API responses.",
    "collector/leadline_collector/journal/store.py": "Columns of a batch; the insert reads them by name.",
    "collector/leadline_collector/live/store.py": "Columns of the current state; the views of Grafana read them.",
}
IN_TEMPLATES = "The pages' templates read these fields."
BY_FRAMEWORKS = "Libraries read or call these names."
#: Name: its reader.
FRAMEWORKS = {
    "_checksum": "icmplib's ICMPSocket calls it",
    "all_": "the signature of progress functions",
    "collect": "prometheus_client calls it at a scrape",
    "components": "the merged dictionary is part of the OpenAPI document",
    "describe": "prometheus_client calls it at registration",
    "frame": "the signature of signal handlers",
    "filters": "Jinja2 reads it",
    "globals": "Jinja2 reads it",
    "id_val": "grafana-foundation-sdk writes it into the dashboard",
    "is_disconnect": "SQLAlchemy reads it after an error",
    "isolation_level": "sqlite3 reads it",
    "max_redirects": "requests reads it",
    "media_type": "Starlette reads it",
    "schema_version": "grafana-foundation-sdk writes it into the dashboard",
    "should_exit": "uvicorn reads it",
    "subsequent_indent": "textwrap reads it",
}

BY_TESTS = "Tests check the product through these names."
#: Name: its reader.
TESTS = {
    "count_at_or_below": "the stored histograms are read by tests until a page draws them",
    "find_drift": "tests of migrations compare tables and database",
    "make_empty_columns": "tests build series of windows with it",
    "list_dead_letters": "the spool's tests read its dead letters",
}


def groups() -> tuple[dict[str, set[str]], list[str]]:
    """Return the reported names by reader, and the reports without a reader."""
    config = make_config([])
    vulture = Vulture(ignore_names=config["ignore_names"], ignore_decorators=config["ignore_decorators"])
    vulture.scavenge([path for path in config["paths"] if path != str(ALLOWLIST.relative_to(Path.cwd()))])
    in_templates = set(re.findall(r"\w+", " ".join(path.read_text() for path in sorted(TEMPLATES.glob("*.html")))))
    grouped: dict[str, set[str]] = {}
    unused: list[str] = []
    for item in vulture.get_unused_code(min_confidence=config["min_confidence"]):
        path = str(item.filename.relative_to(Path.cwd()) if item.filename.is_absolute() else item.filename)
        if reason := FIELDS.get(path):
            pass
        elif path.startswith("collector/leadline_collector/web/") and item.name in in_templates:
            reason = IN_TEMPLATES
        elif item.name in FRAMEWORKS:
            reason = BY_FRAMEWORKS
        elif item.name in TESTS:
            reason = BY_TESTS
        else:
            unused.append(item.get_report())
            continue
        grouped.setdefault(reason, set()).add(item.name)
    return grouped, unused


def main() -> int:
    """Write the file; return 1 if there is unused code."""
    grouped, unused = groups()
    lines = [
        '"""Made by `make vulture-allowlist`: names in use that vulture does not see."""',
        "",
        "from typing import Any",
    ]
    lines += ["", "_: Any = None"]
    readers = {BY_FRAMEWORKS: FRAMEWORKS, BY_TESTS: TESTS}
    for reason, names in sorted(grouped.items()):
        lines += ["", f"# {reason}"]
        lines += [f"_.{name}" + (f"  # {readers[reason][name]}" if reason in readers else "") for name in sorted(names)]
    ALLOWLIST.write_text("\n".join(lines) + "\n")
    sys.stderr.writelines(line + "\n" for line in unused)
    return 1 if unused else 0


if __name__ == "__main__":
    sys.exit(main())
