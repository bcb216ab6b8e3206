"""Parent handle of the prober process: sends plans, receives windows.

Rule: a separate thread reads the windows, so that the agent loop never blocks the prober.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from leadline.errors import UnavailableError
from leadline_agent.probe.ipc import PlanMessage, WindowsMessage, read_message, write_message

log = logging.getLogger(__name__)

PROBER_COMMAND = (sys.executable, "-m", "leadline_agent.probe.__main__")
#: The process flushes its windows within a second (__main__.DRAIN_TIMEOUT_NS). After this time it counts as hung.
STOP_TIMEOUT_S = 5.0


class ProberProcess:
    """A running prober process. Only ``request_stop`` is thread-safe."""

    def __init__(
        self, command: Sequence[str], on_windows: Callable[[WindowsMessage], None], on_end: Callable[[], None]
    ) -> None:
        """Start the process; raise OSError if that fails.

        The reader thread calls ``on_windows`` for each message and ``on_end`` at the end of the output.
        """
        self._on_windows, self._on_end = on_windows, on_end
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C signals the whole process group of a terminal. The agent stops its child itself, in order.
            start_new_session=True,
        )
        self._reader_thread = threading.Thread(target=self._read_messages, daemon=True, name="windows")
        self._reader_thread.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send_plan(self, plan: PlanMessage) -> None:
        """Send a plan. It applies from the next whole minute; the first plan applies at once."""
        assert self._process.stdin is not None
        # The process may have ended or may be stopping. ``check_running`` reports that.
        with suppress(BrokenPipeError, ValueError):
            write_message(self._process.stdin, plan)

    def check_running(self) -> None:
        """Raise UnavailableError if the process has ended unexpectedly."""
        if not self._reader_thread.is_alive():
            raise UnavailableError(
                f"the prober process ended with status {self._wait_for_exit()}; see the log lines above"
            )

    def request_stop(self) -> None:
        """Ask the process to flush its windows and exit. Thread-safe and idempotent."""
        assert self._process.stdin is not None
        # close() flushes, which fails again on a broken pipe.
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def wait(self) -> None:
        """Wait until the process has ended and its last windows are read. Kill it if it hangs."""
        self._wait_for_exit()
        self._reader_thread.join(STOP_TIMEOUT_S)
        if not self._reader_thread.is_alive():
            assert self._process.stdout is not None
            self._process.stdout.close()

    def _wait_for_exit(self) -> int:
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            log.error("prober process does not exit: killing it")
            self._process.kill()
            return self._process.wait()

    def _read_messages(self) -> None:
        assert self._process.stdout is not None
        try:
            while (message := read_message(self._process.stdout, WindowsMessage)) is not None:
                self._dispatch_windows(message)
        finally:
            self._on_end()

    def _dispatch_windows(self, message: WindowsMessage) -> None:
        try:
            self._on_windows(message)
        except Exception:
            # Continue: the next minute may succeed, and the end of this thread would stop the measurement.
            log.exception("windows lost", extra={"windows": len(message.windows)})
