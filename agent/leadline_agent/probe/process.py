"""The probing process, seen from the agent's loop: plans go in, sealed windows come out.

Rule: what comes out is taken in a thread of its own, so that nothing the loop waits for makes the process wait.
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
#: It seals its windows within a second (probe_process.STOP_WAIT_NS); more means it hangs.
STOP_TIMEOUT_S = 5.0


class ProberProcess:
    """One life of the process. Belongs to one thread, but for ``end``."""

    def __init__(
        self, command: Sequence[str], on_windows: Callable[[WindowsMessage], None], on_end: Callable[[], None]
    ) -> None:
        """``on_sealed`` and ``on_end`` (its output has ended) are called in the thread that reads. OSError if it cannot
        be started.
        """
        self._on_windows, self._on_end = on_windows, on_end
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C at a terminal goes to the whole group; the agent ends its child itself, in order.
            start_new_session=True,
        )
        self._reader_thread = threading.Thread(target=self._read_messages, daemon=True, name="windows")
        self._reader_thread.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send_plan(self, plan: PlanMessage) -> None:
        """Give it a plan, in force from the next whole minute on (the first: at once)."""
        assert self._process.stdin is not None
        # It may have ended, or be told to: whoever looks after it (``check``) finds that out.
        with suppress(BrokenPipeError, ValueError):
            write_message(self._process.stdin, plan)

    def check_running(self) -> None:
        """UnavailableError when it has ended by itself."""
        if not self._reader_thread.is_alive():
            raise UnavailableError(f"the probing process ended with status {self._wait_for_exit()}; see above")

    def request_stop(self) -> None:
        """Tell it to seal what it has and to end. Safe from any thread, and more than once."""
        assert self._process.stdin is not None
        # What a broken pipe did not take cannot be flushed either.
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def wait(self) -> None:
        """Return when it has ended and its last windows are taken; one that hangs is killed."""
        self._wait_for_exit()
        self._reader_thread.join(STOP_TIMEOUT_S)
        if not self._reader_thread.is_alive():
            assert self._process.stdout is not None
            self._process.stdout.close()

    def _wait_for_exit(self) -> int:
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            log.error("the probing process hangs and is killed")
            self._process.kill()
            return self._process.wait()

    def _read_messages(self) -> None:
        assert self._process.stdout is not None
        try:
            while (sealed := read_message(self._process.stdout, WindowsMessage)) is not None:
                self._dispatch_windows(sealed)
        finally:
            self._on_end()

    def _dispatch_windows(self, sealed: WindowsMessage) -> None:
        try:
            self._on_windows(sealed)
        except Exception:
            # The next minute may be good again, and a reader that ends would end the measuring.
            log.exception("windows lost", extra={"windows": len(sealed.windows)})
