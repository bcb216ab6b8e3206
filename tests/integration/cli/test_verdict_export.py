"""``leadline verdict --export`` and ``--input``: files are complete or absent, and never replaced unasked."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from leadline_cli.__main__ import main

BODY = b"# {}\nsource,destination\nfra,ams\n"


class _Handler(BaseHTTPRequestHandler):
    """Responds with ``BODY``; the announced length is that of the server."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(self.server.announced_length))  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def collector() -> Iterator[HTTPServer]:
    """Run a collector that has one file."""
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    server.announced_length = len(BODY)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def export(server: HTTPServer, file: Path | str, *options: str) -> int:
    key = Path(os.environ["HOME"]) / "admin.key"
    key.write_text("key")
    url = f"http://127.0.0.1:{server.server_port}"
    return main(["verdict", "--export", str(file), "--collector", url, "--admin-key-file", str(key), *options])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the key out of the folder of the exports."""
    (tmp_path / "home").mkdir()
    (tmp_path / "out").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def test_an_existing_file_is_replaced_with_force_only(
    collector: HTTPServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error has the file and the option; the file does not change."""
    file = tmp_path / "out" / "windows.csv"
    file.write_text("evidence of last month")

    assert export(collector, file) == 2
    assert f"--export: {file} exists; add --force to replace it" in capsys.readouterr().err
    assert file.read_text() == "evidence of last month"

    assert export(collector, file, "--force") == 0
    assert file.read_bytes() == BODY
    assert list(file.parent.iterdir()) == [file]


def test_the_permissions_are_those_of_a_new_file(collector: HTTPServer, tmp_path: Path) -> None:
    """The umask applies, as for a file written by a shell."""
    file, other = tmp_path / "out" / "windows.csv", tmp_path / "other"
    other.touch()

    assert export(collector, file) == 0
    assert file.stat().st_mode == other.stat().st_mode


def test_force_keeps_a_symbolic_link(collector: HTTPServer, tmp_path: Path) -> None:
    """The target of the link is replaced; a link to a missing file needs --force as well."""
    link, target = tmp_path / "out" / "link.csv", tmp_path / "home" / "windows.csv"
    link.symlink_to(target)

    assert export(collector, link) == 2
    assert export(collector, link, "--force") == 0
    assert link.is_symlink()
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("before", [None, b"evidence"])
def test_an_interrupted_download_leaves_nothing(collector: HTTPServer, tmp_path: Path, before: bytes | None) -> None:
    """The body is shorter than announced: no file, or the previous one."""
    collector.announced_length = len(BODY) + 1  # type: ignore[attr-defined]
    check_nothing_changes(collector, tmp_path, before)


@pytest.mark.parametrize("before", [None, b"evidence"])
def test_a_full_disk_leaves_nothing(
    collector: HTTPServer, tmp_path: Path, before: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No part remains under any name."""

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    check_nothing_changes(collector, tmp_path, before)


def check_nothing_changes(server: HTTPServer, folder: Path, before: bytes | None) -> None:
    file = folder / "out" / "windows.csv"
    if before is not None:
        file.write_bytes(before)

    assert export(server, file, "--force") == 2
    assert [path.read_bytes() for path in file.parent.iterdir()] == ([] if before is None else [before])


def test_a_dash_is_standard_output(collector: HTTPServer, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """The windows can be piped; the number of windows is on standard error."""
    assert export(collector, "-") == 0
    assert capfdbinary.readouterr().out == BODY
    assert not Path("-").exists()


def test_a_device_is_written_without_force(collector: HTTPServer) -> None:
    """A device is not replaced by a file."""
    assert export(collector, "/dev/null") == 0
    assert Path("/dev/null").is_char_device()


def test_a_directory_is_refused(collector: HTTPServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error says what to name instead."""
    assert export(collector, tmp_path / "out", "--force") == 2
    assert "is a directory; name a file in it" in capsys.readouterr().err


def test_force_requires_export(capsys: pytest.CaptureFixture[str]) -> None:
    """The option has no other meaning."""
    assert main(["verdict", "--force"]) == 2
    assert "--force: requires --export" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08\x00", b"\xff\xfe#\x00", b"# {}\n", b"\0" * 1_000])
def test_a_bad_input_is_an_error_with_the_line(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback: the message has one line."""
    file = tmp_path / "windows.csv"
    file.write_bytes(content)

    assert main(["verdict", "--input", str(file), "--limit", "p95 <= 8 ms"]) == 2
    error = capsys.readouterr().err
    assert "line 1: " in error
    assert error.count("\n") == 1
