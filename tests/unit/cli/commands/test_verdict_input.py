"""``leadline verdict --input``: which rule evaluates the file, and which limits it was exported with."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from leadline.limits.catalogue import load_catalogue
from leadline_cli.__main__ import main
from leadline_cli.commands import verdict
from leadline_verdict import csv_exchange, report
from leadline_verdict.rule_edition import RuleEdition
from tests.support.window_factories import build_columns, build_pair

FIRST, SECOND = RuleEdition


@cache
def write_file(edition: RuleEdition) -> str:
    """Return one good day, exported for an edition of the rule."""
    file = io.StringIO()
    csv_exchange.write_windows(file, [build_pair(build_columns(1))], [], edition=edition)
    return file.getvalue()


def to_first_format(text: str) -> str:
    """Return the file as a version before the second edition wrote it."""
    header, *rows = text.splitlines()
    fields = json.loads(header[2:])
    for name in ("rule", "sha256", "catalogue"):
        del fields[name]
    del fields["pairs"][0]["outages"], fields["pairs"][0]["measured_since_s"]
    fields["format"] = "leadline windows 1"
    lines = [f"# {json.dumps(fields)}", *(row.rpartition(",")[0] for row in rows)]
    return "\n".join(lines) + "\n"


@pytest.fixture(name="editions")
def _editions(monkeypatch: pytest.MonkeyPatch) -> list[RuleEdition]:
    """Return a list that gets the edition of each report; the reports are built as usual."""
    editions: list[RuleEdition] = []
    build_report: Callable[..., Any] = report.build_report

    def record(params: report.ReportParams, *args: Any) -> Any:
        editions.append(params.rule.edition)
        return build_report(params, *args)

    monkeypatch.setattr(report, "build_report", record)
    return editions


def evaluate(path: Path, text: str, *options: str) -> int:
    path.write_text(text)
    return main(["verdict", "--input", str(path), "--limit", "p95 <= 5 ms", *options])


@pytest.mark.parametrize(
    ("text", "options", "edition"),
    [
        (write_file(SECOND), [], SECOND),
        (write_file(FIRST), [], FIRST),
        (to_first_format(write_file(SECOND)), [], FIRST),
        (write_file(SECOND), ["--rule", "leadline-2026-1"], FIRST),
        (write_file(FIRST), ["--rule", "leadline-2026-2"], SECOND),
        (to_first_format(write_file(SECOND)), ["--rule", "leadline-2026-2"], SECOND),
    ],
    ids=["format 2", "exported with --rule", "format 1", "--rule for format 2", "--rule", "--rule for format 1"],
)
def test_a_file_is_evaluated_by_the_rule_that_it_names(
    text: str,
    options: list[str],
    edition: RuleEdition,
    tmp_path: Path,
    editions: list[RuleEdition],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A file without a rule has the first edition; ``--rule`` chooses another one. There is no warning."""
    assert evaluate(tmp_path / "windows.csv", text, *options) == 1
    assert editions == [edition]
    assert capsys.readouterr().err == ""


def test_a_file_with_other_limits_gives_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both digests are on standard error; the verdict follows on standard output."""
    path, digest = tmp_path / "windows.csv", load_catalogue().digest

    assert evaluate(path, write_file(SECOND).replace(digest, "0" * 64, 1), "--json") == 1

    output = capsys.readouterr()
    assert output.err == (
        f"leadline: warning: {path} was exported with another limit catalogue (sha256 {'0' * 64} instead of {digest}), "
        "so its limits may differ; use the version that wrote the file to repeat its verdict\n"
    )
    assert json.loads(output.out)["catalogue"] == digest


def test_a_changed_row_is_an_error_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The remedy is another export."""
    assert evaluate(tmp_path / "windows.csv", write_file(SECOND).replace(",4000,4000,", ",4001,4000,", 1)) == 2
    error = capsys.readouterr().err
    assert "line 1: the rows were changed after the export" in error
    assert error.endswith("export it again\n")
    assert error.count("\n") == 1


def parse(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    verdict.add_parser(parser.add_subparsers())
    return parser.parse_args(["verdict", *options])


@pytest.mark.parametrize("edition", RuleEdition)
def test_the_collector_gets_the_rule(edition: RuleEdition) -> None:
    """Every edition can be chosen; the default is the collector's."""
    assert parse_qs(verdict._build_query(parse("--rule", edition))[1:]) == {"rule": [edition.value]}
    assert verdict._build_query(parse()) == ""


def test_an_unknown_rule_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The error has the known ids."""
    with pytest.raises(SystemExit, match="2"):
        main(["verdict", "--rule", "leadline-2099-1"])
    error = capsys.readouterr().err
    assert all(repr(edition.value) in error for edition in RuleEdition)
