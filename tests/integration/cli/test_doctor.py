"""The doctor's checks that need a socket: DNS, the collector, and the whole command."""

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
from tests.unit.cli.doctor.test_doctor import credential, levels

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
def collector(plan: tuple[int, bytes], post: tuple[int, bytes]) -> Iterator[str]:
    """A server that answers a GET and a POST; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(*plan)

        def do_POST(self) -> None:
            assert self.headers["Authorization"] == "Bearer k"
            self.rfile.read(int(self.headers["Content-Length"]))
            self._say(*post)

        def _say(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Tests are quiet."""

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
def test_the_credential(plan: tuple[int, bytes], level: DiagnosticLevel) -> None:
    """It is good when a plan comes back."""
    with collector(plan, REFUSAL) as url:
        finding, found = doctor_network.DoctorClient(credential(url), SystemClock()).fetch_plan()

    assert (finding.level, found is not None) == (level, level is DiagnosticLevel.OK)


@pytest.mark.parametrize(
    ("post", "level"),
    [
        (REFUSAL, DiagnosticLevel.OK), ((422, b"<html>"), DiagnosticLevel.FAIL), ((200, b"<html>"), DiagnosticLevel.FAIL), ((404, b""), DiagnosticLevel.FAIL),
        ((503, b""), DiagnosticLevel.WARN),
    ],
)  # fmt: skip
def test_the_dry_post(post: tuple[int, bytes], level: DiagnosticLevel) -> None:
    """Refused by a collector in its own words: the way is open and nothing was stored."""
    with collector(GOOD_PLAN, post) as url:
        assert doctor_network.DoctorClient(credential(url), SystemClock()).send_dry_post().level is level


def test_a_collector_that_is_not_there() -> None:
    """The line about the connection fails, and so does all that needs it."""
    asking = doctor_network.DoctorClient(credential("http://127.0.0.1:9"), SystemClock())

    assert levels(doctor_network.check_connection(credential("http://127.0.0.1:9"), SystemClock())) == [
        ("fail", "collector")
    ]
    assert (asking.fetch_plan()[0].level, asking.send_dry_post().level) == (DiagnosticLevel.FAIL, DiagnosticLevel.FAIL)


def test_a_server_without_tls_fails_https() -> None:
    """And the remedy speaks of certificates."""
    with collector(GOOD_PLAN, REFUSAL) as url:
        (finding,) = doctor_network.check_connection(credential(url.replace("http:", "https:")), SystemClock())

    assert (finding.level, "TLS failed" in finding.detail) == (DiagnosticLevel.FAIL, True)


def test_names_and_what_the_policy_forbids() -> None:
    """A name without an address and a forbidden target are told; the rest would be probed."""
    findings, addresses = doctor_network.check_dns(PLAN)
    refused, allowed = doctor_network.check_target_policy(addresses, parse_policy('denied_networks = ["192.0.2.0/24"]'))

    assert levels(findings) == [("warn", "DNS")]
    assert [finding.detail for finding in refused] == ["forbids far (192.0.2.9)"]
    assert allowed == {"own": "127.0.0.9"}


def test_without_a_credential_the_exit_status_is_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And every line says what to do; as JSON too."""
    assert main(["agent", "doctor", "--state-dir", str(tmp_path), "--json"]) == 1

    found = json.loads(capsys.readouterr().out)
    assert found[-1]["what"] == "credential"
    assert "leadline agent enroll" in found[-1]["remedy"]
    assert all((finding["level"] == "ok") == (finding["remedy"] is None) for finding in found)


def test_warnings_alone_are_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An agent with a plan that nobody serves any more is examined to the end."""
    with collector(GOOD_PLAN, REFUSAL) as url:
        StateDirectory(tmp_path).save_credential(credential(url))
        status = main(["agent", "doctor", "--state-dir", str(tmp_path), "--policy-file", str(_narrow(tmp_path))])

    lines = capsys.readouterr().out.splitlines()
    assert {line[:4] for line in lines} <= {"ok  ", "warn", "fail"}
    assert any("forbids far" in line for line in lines)
    assert status == any(line.startswith("fail") for line in lines)


def _narrow(directory: Path) -> Path:
    file = directory / "policy.toml"
    file.write_text('denied_networks = ["192.0.2.0/24"]')
    file.chmod(0o644)
    return file
