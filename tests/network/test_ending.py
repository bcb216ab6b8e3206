"""Tests of the end of the test bed, and of its errors without permission or under overload."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.network.namespaces import Namespace
from tests.network.ports import RECEIVE_BUFFER_BYTES
from tests.network.wan import B4, Wan, WanError

ROOT = Path(__file__).parents[2]
EXIT_TIMEOUT_S = 20.0
OWN_NAMESPACE = Path("/proc/thread-self/ns/net")
PR_CAPBSET_DROP, CAP_SYS_ADMIN = 24, 21

SIGTERM_IGNORER = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); signal.pause()"
#: A separate test run: prints the pids of its emulator and of a process inside, then waits for SIGKILL.
RUN = """
import signal
from tests.network.wan import Wan
wan = Wan()
wan.__enter__()
print(wan.emulator_pid, wan.popen("b", ["sleep", "60"]).pid, flush=True)
signal.pause()
"""
#: A test run as root without the capability to create namespaces.
WITHOUT_CAPABILITY = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl({PR_CAPBSET_DROP}, {CAP_SYS_ADMIN}, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *sys.argv[1:]])
"""


def _interrupt(wan: Wan, processes: list[subprocess.Popen[bytes]]) -> None:
    process = wan.popen("b", [sys.executable, "-c", SIGTERM_IGNORER], stdout=subprocess.PIPE)
    processes.append(process)
    assert process.stdout is not None
    process.stdout.readline()
    raise KeyboardInterrupt


def _use_interrupted(processes: list[subprocess.Popen[bytes]]) -> None:
    with Wan() as wan:
        _interrupt(wan, processes)


@pytest.mark.network
def test_the_end_of_the_test_bed_ends_its_processes() -> None:
    """After Ctrl-C in a test no process is left, not even one that ignores SIGTERM."""
    processes: list[subprocess.Popen[bytes]] = []

    with pytest.raises(KeyboardInterrupt):
        _use_interrupted(processes)

    assert [process.poll() for process in processes] == [-signal.SIGKILL]


@pytest.mark.network
def test_a_killed_test_run_leaves_no_process() -> None:
    """When a test run gets SIGKILL, its emulator kills the processes inside the namespaces and exits."""
    with subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE, cwd=ROOT) as run:
        assert run.stdout is not None
        pidfds = [os.pidfd_open(int(pid)) for pid in run.stdout.readline().split()]
        run.kill()

    has_ended = [bool(select.select((pidfd,), (), (), EXIT_TIMEOUT_S)[0]) for pidfd in pidfds]
    for pidfd in pidfds:
        os.close(pidfd)
    assert has_ended == [True, True]


@pytest.mark.network
def test_the_test_bed_leaves_no_descriptor() -> None:
    """Namespaces, log and pipes are closed with the test bed."""
    before = len(list(Path("/proc/self/fd").iterdir()))

    with Wan() as wan:
        wan.read_frame_log()

    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.network
def test_a_thread_returns_from_a_namespace() -> None:
    """``enter`` moves the thread into the namespace and back, also after an error."""
    home, space = OWN_NAMESPACE.stat().st_ino, Namespace()

    with pytest.raises(ValueError, match="inside"), space.enter():
        raise ValueError(f"inside {OWN_NAMESPACE.stat().st_ino == space.inode}")

    space.close()
    assert OWN_NAMESPACE.stat().st_ino == home


@pytest.mark.network
def test_a_call_after_the_end_raises_wan_error() -> None:
    """The error has the exit status of the emulator instead of an error of the pipe."""
    with Wan() as wan:
        pass

    with pytest.raises(WanError, match=f"exit status {-signal.SIGTERM}"):
        wan.read_frame_log()


@pytest.mark.network
def test_frames_lost_by_the_emulator_raise_wan_error() -> None:
    """``read_frame_log`` raises WanError if the kernel dropped frames before the emulator read them."""
    payload = bytes(8) + bytes(8_900)
    with Wan(mtu=9_000) as wan:
        with wan.enter("a"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            os.kill(wan.emulator_pid, signal.SIGSTOP)
            for _ in range(2 * RECEIVE_BUFFER_BYTES // len(payload)):
                sender.sendto(payload, (B4, 9))
            os.kill(wan.emulator_pid, signal.SIGCONT)

        with pytest.raises(WanError, match="could not keep up"):
            wan.read_frame_log()


@pytest.mark.network
@pytest.mark.parametrize(
    ("ci", "status", "expected_text"),
    [("", 0, "1 skipped"), ("true", 1, "network tests must run on CI: network namespaces")],
)
def test_a_machine_without_namespaces_skips_but_ci_fails(ci: str, status: int, expected_text: str) -> None:
    """Without the capability to create namespaces a network test is skipped with a reason; with CI set it fails."""
    test_id = f"{Path(__file__).with_name('test_wan.py')}::test_frames_leave_on_time"
    environment = {key: value for key, value in os.environ.items() if key != "CI"} | ({"CI": ci} if ci else {})

    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_CAPABILITY, test_id],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (run.returncode, expected_text in run.stdout) == (status, True), run.stdout + run.stderr
    assert "not allowed here (Operation not permitted)" in run.stdout
