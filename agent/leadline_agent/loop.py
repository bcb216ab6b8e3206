"""The life of an agent: start the probing process, keep its plan fresh, seal batches, send them until acknowledged.

Rule 1: measuring never waits for sending. The probing process has its own process, a thread here reads what it
writes, and the queue between them is bounded: when it is full the oldest batch goes, is counted and is logged.
Rule 2: a batch leaves the queue when it is acknowledged or refused for ever, and for no other reason.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from random import Random

from leadline import wire
from leadline.clock import Clock
from leadline.errors import UnavailableError
from leadline_agent.batches import BatchQueue, Sealer
from leadline_agent.frames import ProbePlan, Sealed, read_frame, write_frame
from leadline_agent.push import Accepted, CollectorClient, Refused, RetryLater
from leadline_agent.resolve import resolved
from leadline_agent.retry import backoff_s
from leadline_agent.state import AgentState

log = logging.getLogger(__name__)

#: A new mesh is in force at the next minute after it is known; asking once a minute matches that.
PLAN_EVERY_S = 60.0
#: A name that moves is followed within five minutes.
RESOLVE_EVERY_S = 300.0
#: What is left to send when the agent is told to stop gets this long; the rest is lost, counted and logged.
STOP_PUSH_S = 5.0
#: The probing process seals its windows within a second (probe_process.STOP_WAIT_NS); more means it hangs.
STOP_PROBER_S = 5.0


class AgentLoop:
    """Everything but the probing itself."""

    def __init__(
        self, *, agent: str, client: CollectorClient, state: AgentState, clock: Clock, rng: Random, queue: BatchQueue
    ) -> None:
        self._client, self._state, self._clock, self._rng = client, state, clock, rng
        self._queue = queue
        self._sealer = Sealer(agent, clock)
        self._stopping = threading.Event()
        self._plan: wire.Plan | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._handed_over: ProbePlan | None = None
        self._failures = 0
        self._next_push_ns = self._next_plan_ns = self._next_resolve_ns = 0

    def stop(self) -> None:
        """Ask the loop to end; safe from a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Measure and send until ``stop``; UnavailableError when the probing process cannot probe."""
        self._plan = self._state.load_plan()
        try:
            while not self._stopping.is_set():
                self._turn()
        finally:
            self._stop_probing()
        self._push_the_rest()

    def _turn(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._next_plan_ns:
            self._refresh_plan()
        if self._plan is not None and now_ns >= self._next_resolve_ns:
            self._hand_over(self._plan)
        if now_ns >= self._next_push_ns:
            self._push_oldest()
        if self._process is not None and self._process.poll() is not None:
            raise UnavailableError(f"the probing process ended with status {self._process.returncode}; see above")
        self._queue.wait(0.5)

    def _refresh_plan(self) -> None:
        answer = self._client.plan(self._plan.mesh_version if self._plan else None)
        self._next_plan_ns = self._clock.monotonic_ns() + int(PLAN_EVERY_S * 1e9)
        if isinstance(answer, RetryLater):
            self._failures += 1
            wait_s = min(backoff_s(self._failures, self._rng, answer.after_s), PLAN_EVERY_S)
            self._next_plan_ns = self._clock.monotonic_ns() + int(wait_s * 1e9)
            log.log(_level(answer), "no plan", extra={"reason": answer.reason, "retry_s": round(wait_s, 1)})
        elif answer is not None:
            self._failures = 0
            self._take(answer)

    def _take(self, plan: wire.Plan) -> None:
        """Put a plan in force, unless one of its targets cannot exist: then the plan in force stays."""
        try:
            for target in plan.targets:
                target.target()
        except ValueError as error:
            log.error("plan refused", extra={"mesh_version": plan.mesh_version, "reason": str(error)})
            return
        self._plan = plan
        self._next_resolve_ns = 0
        self._state.save_plan(plan)
        log.info("plan received", extra={"mesh_version": plan.mesh_version, "targets": len(plan.targets)})

    def _hand_over(self, plan: wire.Plan) -> None:
        """Resolve the plan's names and give it to the probing process, if anything changed."""
        self._next_resolve_ns = self._clock.monotonic_ns() + int(RESOLVE_EVERY_S * 1e9)
        probe_plan = resolved(plan)
        if probe_plan != self._handed_over:
            stream = self._probing().stdin
            assert stream is not None
            write_frame(stream, probe_plan)
            self._handed_over = probe_plan

    def _probing(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "leadline_agent.probe_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Ctrl-C at a terminal goes to the whole group; this process ends its child itself, in order.
                start_new_session=True,
            )
            self._reader = threading.Thread(
                target=self._read_windows, args=(self._process,), daemon=True, name="windows"
            )
            self._reader.start()
        return self._process

    def _read_windows(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        while (sealed := read_frame(process.stdout, Sealed)) is not None:
            for batch in self._sealer.seal(sealed):
                self._queue.put(batch)
        self._queue.wake()

    def _push_oldest(self) -> bool:
        """Send the oldest batch; True when it is out of the queue."""
        batch = self._queue.oldest()
        if batch is None:
            return False
        answer = self._client.push(batch.body)
        if isinstance(answer, RetryLater):
            self._failures += 1
            wait_s = backoff_s(self._failures, self._rng, answer.after_s)
            self._next_push_ns = self._clock.monotonic_ns() + int(wait_s * 1e9)
            log.log(_level(answer), "batch kept", extra={"seq": batch.seq, "reason": answer.reason})
            return False
        self._failures = 0
        self._queue.done(batch)
        if isinstance(answer, Refused):
            log.error("batch refused", extra={"seq": batch.seq, "windows": batch.windows, "reason": answer.reason})
        elif isinstance(answer, Accepted):
            log.info("batch accepted", extra={"seq": batch.seq, "windows": batch.windows})
            if self._plan is None or answer.ack.mesh_version != self._plan.mesh_version:
                self._next_plan_ns = 0
        return True

    def _stop_probing(self) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_PROBER_S)
        except subprocess.TimeoutExpired:
            log.error("the probing process hangs and is killed")
            self._process.kill()
            self._process.wait()
        assert self._reader is not None
        self._reader.join(STOP_PROBER_S)

    def _push_the_rest(self) -> None:
        deadline_ns = self._clock.monotonic_ns() + int(STOP_PUSH_S * 1e9)
        while self._clock.monotonic_ns() < deadline_ns and self._push_oldest():
            pass
        if len(self._queue):
            log.error("stopped with batches unsent", extra={"batches": len(self._queue)})


def _level(answer: RetryLater) -> int:
    return logging.ERROR if answer.loud else logging.WARNING
