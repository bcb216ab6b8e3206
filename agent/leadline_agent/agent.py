"""Main loop of an agent: runs the prober process, refreshes its plan, spools its windows and uploads the batches.

Rule 1: measuring never waits for uploads or for the disk. The prober is a process of its own; a thread here reads its
messages, spools the windows and commits.
Rule 2: a batch is accepted once the spool has written it to disk. It leaves the spool only by an acknowledgement, a
refusal (it becomes a dead letter) or an eviction that is reported as a loss.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from leadline import __version__
from leadline.clock import Clock
from leadline.errors import ConfigError
from leadline.model import WINDOW_S
from leadline.wire.control import Plan
from leadline_agent.delivery.backoff import draw_backoff_s
from leadline_agent.delivery.batch_builder import BatchBuilder
from leadline_agent.delivery.collector_client import RequestFailed
from leadline_agent.delivery.uploader import Uploader
from leadline_agent.host_clock import read_clock_state
from leadline_agent.identity.rotation_schedule import RotationScheduler
from leadline_agent.identity.state_dir import StateDirectory
from leadline_agent.probe.counters import ProberCounters
from leadline_agent.probe.dns import Resolver, resolve_plan
from leadline_agent.probe.ipc import PlanMessage, WindowsMessage
from leadline_agent.probe.process import PROBER_COMMAND, ProberProcess
from leadline_agent.spool.spool import Spool
from leadline_agent.status import WRITE_INTERVAL_S, AgentStatus, SpoolStatus, write_status

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
US_PER_S = 1_000_000
#: A new mesh takes effect at the next full minute, so one request a minute is enough.
PLAN_INTERVAL_S = 60.0
#: The shortest key lifetime is one hour.
KEY_CHECK_INTERVAL_S = 60.0
#: A changed DNS record is noticed within five minutes.
RESOLVE_INTERVAL_S = 300.0
#: Retry interval of names without an address: a target can start at the next full minute.
RESOLVE_RETRY_S = 60.0
#: A healthy name server answers within this time. Resolved targets and uploads do not wait for a slow one.
RESOLVE_TIMEOUT_S = 1.0
#: Retry interval after the prober process failed to start (no file descriptor, no memory).
START_RETRY_S = 10.0
#: Interval of spool clean-up and of retries after a failed write (group commit, docs/spool.md).
COMMIT_INTERVAL_S = 5.0
#: Time limit for uploads during shutdown. Other batches are on disk and are uploaded after the next start.
SHUTDOWN_UPLOAD_S = 5.0
#: Longest sleep of one iteration; an appended batch ends it early.
SLEEP_S_MAX = 0.5


@dataclass(slots=True)
class _Timer:
    """Next due time of a periodic task, monotonic nanoseconds; 0 means immediately."""

    due_ns: int = 0

    def is_due(self, now_ns: int) -> bool:
        return now_ns >= self.due_ns

    def restart(self, now_ns: int, seconds: float) -> None:
        self.due_ns = now_ns + int(seconds * NS_PER_S)


class AgentLoop:
    """Main loop of the agent; the probing itself runs in the prober process."""

    def __init__(
        self,
        *,
        agent: str,
        site: str,
        uploader: Uploader,
        batch_builder: BatchBuilder,
        spool: Spool,
        state_dir: StateDirectory,
        clock: Clock,
        rng: Random,
        prober_command: Sequence[str] = PROBER_COMMAND,
        resolver: Resolver | None = None,
    ) -> None:
        self._agent, self._site = agent, site
        self._uploader, self._batch_builder, self._spool, self._state_dir = uploader, batch_builder, spool, state_dir
        self._clock, self._rng, self._prober_command = clock, rng, prober_command
        self._resolver = resolver or Resolver()
        self._stop_event = threading.Event()
        self._plan: Plan | None = None
        self._plan_failures = 0
        self._prober_process: ProberProcess | None = None
        self._last_sent_plan: PlanMessage | None = None
        self._plan_timer, self._resolve_timer, self._commit_timer = _Timer(), _Timer(), _Timer()
        self._status_timer, self._key_timer = _Timer(), _Timer()
        self._rotation_scheduler = RotationScheduler(state_dir, rng)
        self._started_at_s = clock.wall_ns() // NS_PER_S
        self._flushed_until_s: int | None = None
        self._prober_counters, self._targets_refused = ProberCounters(), 0

    def stop(self) -> None:
        """Request the end of the loop. Safe from a signal handler."""
        self._uploader.shorten_timeouts()
        self._stop_event.set()

    def run(self) -> None:
        """Measure and upload until ``stop`` is called.

        Raise UnavailableError if the prober process cannot probe.
        """
        self._plan = self._state_dir.load_plan()
        threading.Thread(target=self._stop_prober_on_shutdown, daemon=True, name="end").start()
        try:
            while not self._stop_event.is_set():
                due_ns = self._run_once(self._clock.monotonic_ns())
                self._spool.wait(_compute_sleep_s(due_ns, self._clock.monotonic_ns()))
        finally:
            self.stop()
            if self._prober_process is not None:
                self._prober_process.request_stop()
                self._prober_process.wait()
            self._upload_remaining()
            self._spool.close()

    def _stop_prober_on_shutdown(self) -> None:
        """Stop the prober as soon as ``stop`` is called, so that its last windows do not wait for a slow collector."""
        self._stop_event.wait()
        if self._prober_process is not None:
            self._prober_process.request_stop()

    def _run_once(self, now_ns: int) -> int | None:
        """Run the tasks that are due; return when the next batch is due (monotonic), or None without a batch."""
        if self._plan is not None:
            self._resolve_and_send_plan(self._plan, now_ns)
        # After a start, the saved plan is already being measured while this requests a newer one.
        if self._plan_timer.is_due(now_ns):
            self._refresh_plan(now_ns)
        if self._commit_timer.is_due(now_ns):
            self._commit_timer.restart(now_ns, COMMIT_INTERVAL_S)
            self._spool.commit()
        if self._key_timer.is_due(now_ns):
            self._key_timer.restart(now_ns, KEY_CHECK_INTERVAL_S)
            self._rotate_key_if_due()
        due_ns = self._uploader.upload_next()
        if self._plan is not None and self._uploader.mesh_version not in {None, self._plan.mesh_version}:
            self._plan_timer.due_ns = min(self._plan_timer.due_ns, now_ns + NS_PER_S)
        if self._status_timer.is_due(now_ns):
            self._status_timer.restart(now_ns, WRITE_INTERVAL_S)
            self._write_status()
        if self._prober_process is not None and not self._stop_event.is_set():
            self._prober_process.check_running()
        return due_ns

    def _rotate_key_if_due(self) -> None:
        """Rotate the key if it is due by the collector's clock, or by the local clock while no offset is known."""
        offset = self._batch_builder.clock_offset
        now_s = (self._clock.wall_ns() // 1_000 - (offset.offset_us if offset else 0)) // US_PER_S
        credential = self._rotation_scheduler.rotate_if_due(
            self._uploader.client.url, now_s, self._uploader.key_expires_at_s
        )
        if credential is not None:
            self._uploader.use_credential(credential)

    def _refresh_plan(self, now_ns: int) -> None:
        response = self._uploader.client.fetch_plan(self._plan.mesh_version if self._plan else None)
        self._plan_timer.restart(now_ns, PLAN_INTERVAL_S)
        if isinstance(response, RequestFailed):
            self._plan_failures += 1
            wait_s = min(draw_backoff_s(self._plan_failures, self._rng), PLAN_INTERVAL_S)
            self._plan_timer.restart(now_ns, wait_s)
            log.warning("cannot fetch the plan", extra={"reason": response.reason, "retry_s": round(wait_s, 1)})
        elif response is not None:
            self._plan_failures = 0
            self._apply_plan(response)

    def _apply_plan(self, plan: Plan) -> None:
        """Activate a plan. Keep the current one if a target of the new plan is invalid."""
        try:
            for target in plan.targets:
                target.to_target()
        except ValueError as error:
            log.error(
                "invalid plan rejected, the current plan stays active",
                extra={"mesh_version": plan.mesh_version, "reason": str(error)},
            )
            return
        self._plan = plan
        self._resolve_timer.due_ns = 0
        try:
            self._state_dir.save_plan(plan)
        except ConfigError as error:
            log.error("cannot save the plan for the next start", extra={"reason": error.problem})
        log.info("plan received", extra={"mesh_version": plan.mesh_version, "targets": len(plan.targets)})

    def _resolve_and_send_plan(self, plan: Plan, now_ns: int) -> None:
        """Start DNS lookups when they are due, and send the plan when new addresses are known."""
        if self._resolve_timer.is_due(now_ns):
            self._resolve_timer.restart(now_ns, RESOLVE_INTERVAL_S)
            self._resolver.start_lookups(plan)
            self._resolver.wait(RESOLVE_TIMEOUT_S)
        elif not self._resolver.has_new_addresses:
            return
        self._send_plan(resolve_plan(plan, self._resolver.read_addresses()), now_ns)

    def _send_plan(self, plan: PlanMessage, now_ns: int) -> None:
        """Send the plan to the prober process if it changed."""
        unresolved = [target.name for target in plan.targets if target.address is None]
        if unresolved:
            self._resolve_timer.due_ns = min(self._resolve_timer.due_ns, now_ns + int(RESOLVE_RETRY_S * NS_PER_S))
        if plan == self._last_sent_plan:
            return
        if unresolved:
            log.warning("targets without an address are not measured", extra={"targets": " ".join(unresolved[:10])})
        if self._prober_process is None and not self._start_prober(now_ns):
            return
        assert self._prober_process is not None
        self._prober_process.send_plan(plan)
        self._last_sent_plan = plan

    def _start_prober(self, now_ns: int) -> bool:
        """Start the prober process; return False if the host cannot start it now."""
        try:
            self._prober_process = ProberProcess(self._prober_command, self._spool_windows, self._spool.wake)
        except OSError as error:
            log.error("cannot start the prober process", extra={"reason": error.strerror})
            self._resolve_timer.restart(now_ns, START_RETRY_S)
            return False
        return True

    def _spool_windows(self, message: WindowsMessage) -> None:
        """Spool windows of the prober process. Runs in the thread that reads its messages."""
        self._batch_builder.build(message)
        self._spool.commit()
        self._prober_counters, self._targets_refused = message.counters, message.targets_refused
        last_s = max((window.start_s for window in message.windows), default=None)
        self._flushed_until_s = self._flushed_until_s if last_s is None else last_s + WINDOW_S

    def _upload_remaining(self) -> None:
        """Upload until the first failure or the shutdown limit. The other batches stay on disk."""
        self._uploader.skip_delays()
        deadline_ns = self._clock.monotonic_ns() + int(SHUTDOWN_UPLOAD_S * NS_PER_S)
        failures = self._uploader.failures
        while self._clock.monotonic_ns() < deadline_ns and self._uploader.failures == failures:
            due_ns = self._uploader.upload_next()
            if due_ns is None or due_ns > self._clock.monotonic_ns():
                return

    def _write_status(self) -> None:
        usage, offset = self._spool.get_usage(), self._batch_builder.clock_offset
        status = AgentStatus(
            written_at_s=self._clock.wall_ns() // NS_PER_S,
            started_at_s=self._started_at_s,
            version=__version__,
            agent=self._agent,
            site=self._site,
            collector=self._uploader.client.url,
            process_id=self._prober_process.pid if self._prober_process else 0,
            plan_version=self._plan.mesh_version if self._plan else None,
            targets=len(self._plan.targets) if self._plan else 0,
            targets_refused=self._targets_refused,
            sealed_until_s=self._flushed_until_s,
            last_ack_at_s=self._uploader.last_ack_at_s,
            last_error=self._uploader.last_error,
            last_error_at_s=self._uploader.last_error_at_s,
            failures=self._uploader.failures,
            cloned_at_s=self._uploader.cloned_at_s,
            spool=SpoolStatus(
                bytes=usage.bytes,
                bytes_max=usage.bytes_max,
                pending=usage.pending,
                unacked=usage.unacked,
                acked=usage.acked,
                dead=usage.dead,
                unreadable=usage.unreadable,
                oldest_unacked_s=usage.oldest_unacked_s,
                days_left=usage.days_left,
                degraded=usage.degraded,
            ),
            prober=self._prober_counters,
            clock=read_clock_state(),
            clock_offset_us=offset.offset_us if offset else None,
            clock_offset_error_us=offset.error_us if offset else None,
            key_expires_at_s=self._rotation_scheduler.key_state.expires_at_s,
            key_error=self._rotation_scheduler.key_state.error,
            key_failures=self._rotation_scheduler.key_state.failures,
            key_failed_at_s=self._rotation_scheduler.key_state.failed_at_s,
        )
        try:
            write_status(self._state_dir.path, status)
        except OSError as error:
            log.warning("cannot write status.json", extra={"reason": error.strerror})


def _compute_sleep_s(due_ns: int | None, now_ns: int) -> float:
    """Return the sleep of one iteration: until the next batch is due, at most SLEEP_S_MAX."""
    return SLEEP_S_MAX if due_ns is None else min(SLEEP_S_MAX, max(0.0, (due_ns - now_ns) / NS_PER_S))
