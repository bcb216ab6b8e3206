"""Doctor checks that need a socket: DNS, the collector, and the complete command."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from leadline.clock import SystemClock
from leadline.wire import codec, control
from leadline_agent.identity.state_dir import StateDirectory
from leadline_agent.probe.policy_file import parse_policy
from leadline_cli.__main__ import main
from leadline_cli.doctor import network as doctor_network
from leadline_cli.doctor.report import DiagnosticLevel
from tests.unit.cli.doctor.test_doctor import build_credential, get_levels

PLAN = control.Plan(
    mesh_version=4,
    agent="fra-a1",
    site="fra",
    targets=[
        control.PlanTarget(
            name=name, site="far", address=address, interval_ms=1_000, timeout_ms=1_000, payload_bytes=56, dscp=0,
            dont_fragment=False,
        )
        for name, address in (("own", "127.0.0.9"), ("far", "192.0.2.9"), ("bad", "no.such.name.invalid"))
    ],
)  # fmt: skip


@contextmanager
def run_collector(plan: tuple[int, bytes], post: tuple[int, bytes]) -> Iterator[str]:
    """Run a server with fixed responses to GET and POST; yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._respond(*plan)

        def do_POST(self) -> None:
            assert self.headers["Authorization"] == "Bearer k"
            self.rfile.read(int(self.headers["Content-Length"]))
            self._respond(*post)

        def _respond(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


GOOD_PLAN = (200, codec.encode(PLAN))
REFUSAL = (422, b'{"status": 422, "title": "Unprocessable", "detail": "v: missing"}')


@pytest.mark.parametrize(
    ("plan", "level"),
    [
        (GOOD_PLAN, DiagnosticLevel.OK),
        ((401, b"{}"), DiagnosticLevel.FAIL),
        ((403, b"{}"), DiagnosticLevel.FAIL),
        ((200, b"<html>"), DiagnosticLevel.FAIL),
    ],
)
def test_credential_levels(plan: tuple[int, bytes], level: DiagnosticLevel) -> None:
    """The credential is valid if the response is a plan."""
    with run_collector(plan, REFUSAL) as url:
        diagnostic, result = doctor_network.DoctorClient(build_credential(url), SystemClock()).fetch_plan()

    assert (diagnostic.level, result is not None) == (level, level is DiagnosticLevel.OK)


@pytest.mark.parametrize(
    ("post", "level"),
    [
        (REFUSAL, DiagnosticLevel.OK),
        ((422, b"<html>"), DiagnosticLevel.FAIL),
        ((200, b"<html>"), DiagnosticLevel.FAIL),
        ((404, b""), DiagnosticLevel.FAIL),
        ((503, b""), DiagnosticLevel.WARN),
    ],
)
def test_dry_post_levels(post: tuple[int, bytes], level: DiagnosticLevel) -> None:
    """A refusal with a problem document shows an open path; nothing was stored."""
    with run_collector(GOOD_PLAN, post) as url:
        assert doctor_network.DoctorClient(build_credential(url), SystemClock()).send_dry_post().level is level


def test_unreachable_collector_is_a_failure() -> None:
    """The connection check fails, and so do all checks that need it."""
    client = doctor_network.DoctorClient(build_credential("http://127.0.0.1:9"), SystemClock())

    assert get_levels(doctor_network.check_connection(build_credential("http://127.0.0.1:9"), SystemClock())) == [
        ("fail", "collector")
    ]
    assert (client.fetch_plan()[0].level, client.send_dry_post().level) == (DiagnosticLevel.FAIL, DiagnosticLevel.FAIL)


def test_server_without_tls_is_a_failure_for_https() -> None:
    """The detail reports the TLS failure."""
    with run_collector(GOOD_PLAN, REFUSAL) as url:
        (diagnostic,) = doctor_network.check_connection(build_credential(url.replace("http:", "https:")), SystemClock())

    assert (diagnostic.level, "TLS failed" in diagnostic.detail) == (DiagnosticLevel.FAIL, True)


def test_unresolved_and_forbidden_targets_are_reported() -> None:
    """The other targets stay in the list to probe."""
    diagnostics, addresses = doctor_network.check_dns(PLAN)
    policy_diagnostics, allowed = doctor_network.check_target_policy(
        addresses, parse_policy('denied_networks = ["192.0.2.0/24"]')
    )

    assert get_levels(diagnostics) == [("warn", "DNS")]
    assert [diagnostic.detail for diagnostic in policy_diagnostics] == ["forbids far (192.0.2.9)"]
    assert allowed == {"own": "127.0.0.9"}


def test_missing_credential_has_exit_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every line that is not OK has a remedy, also in JSON."""
    assert main(["agent", "doctor", "--state-dir", str(tmp_path), "--json"]) == 1

    result = json.loads(capsys.readouterr().out)
    assert result[-1]["what"] == "credential"
    assert "leadline agent enroll" in result[-1]["remedy"]
    assert all((diagnostic["level"] == "ok") == (diagnostic["remedy"] is None) for diagnostic in result)


def test_warnings_alone_have_exit_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All checks run, and only failures set the exit status."""
    with run_collector(GOOD_PLAN, REFUSAL) as url:
        StateDirectory(tmp_path).save_credential(build_credential(url))
        status = main(["agent", "doctor", "--state-dir", str(tmp_path), "--policy-file", str(_write_policy(tmp_path))])

    lines = capsys.readouterr().out.splitlines()
    assert {line[:4] for line in lines} <= {"ok  ", "warn", "fail"}
    assert any("forbids far" in line for line in lines)
    assert status == any(line.startswith("fail") for line in lines)


def _write_policy(directory: Path) -> Path:
    file = directory / "policy.toml"
    file.write_text('denied_networks = ["192.0.2.0/24"]')
    file.chmod(0o644)
    return file
