"""Automatic key rotation of a running agent before the key expires, also after lost responses."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
import urllib3

from leadline.clock import make_rng
from leadline_agent.agent import AgentLoop
from leadline_agent.delivery.batch_builder import BatchBuilder
from leadline_agent.delivery.collector_client import CollectorClient
from leadline_agent.delivery.uploader import Uploader
from leadline_agent.host_clock import ClockOffset
from leadline_agent.identity.rotation_schedule import RotationScheduler
from leadline_agent.identity.state_dir import StateDirectory
from leadline_agent.spool.filesystem import DirectoryFileSystem
from leadline_agent.spool.quota import SpoolQuota
from leadline_agent.spool.spool import Spool
from leadline_agent.status import read_status
from leadline_cli.__main__ import main
from leadline_collector.config import CollectorConfig
from leadline_collector.db.transactions import Store
from leadline_collector.server.serve import serve_in_thread
from tests.integration.conftest import Client
from tests.support.clock import FakeClock
from tests.support.documents import NOW_S, build_batch, build_steady_window, encode_body

NS_PER_S = 1_000_000_000
DAY_S = 86_400
TTL_S = 90 * DAY_S


@pytest.fixture(name="ending")
def _ending(config: CollectorConfig, store: Store, clock: FakeClock) -> Iterator[Client]:
    """A collector with a key lifetime of 90 days."""
    with serve_in_thread(replace(config, key_ttl_s=TTL_S), store, clock) as url:
        client = Client(url=url, admin_key=(config.data_dir / "admin.key").read_text().strip())
        assert client.apply().status == 200
        yield client
        client.pool.clear()


@pytest.fixture(name="state")
def _state(ending: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> StateDirectory:
    """Agent fra1, enrolled by the command line."""
    token = tmp_path / "token"
    token.write_text(ending.token("fra"))
    words = ["agent", "enroll", ending.url, "--agent", "fra1", "--token-file", str(token)]
    assert main([*words, "--state-dir", str(tmp_path / "agent")]) == 0
    return StateDirectory(tmp_path / "agent")


def now_s(clock: FakeClock) -> int:
    return clock.wall_ns() // NS_PER_S


def is_good(client: Client, key: str) -> bool:
    """Return True if the key is accepted."""
    return client.send("GET", "/api/v1/plan", key=key).status == 200


def test_the_agent_knows_when_its_key_ends(ending: Client, state: StateDirectory, clock: FakeClock) -> None:
    """From the enrolment and from every acknowledgement."""
    credential = state.load_credential()
    answer = CollectorClient(ending.url, credential).send_batch(
        encode_body(build_batch(("ams1", build_steady_window(4_900))))
    )

    assert (credential.issued_at_s, credential.expires_at_s) == (now_s(clock), now_s(clock) + TTL_S)
    assert answer.ack is not None
    assert answer.ack.key_expires_at_s == credential.expires_at_s


def test_a_running_agent_always_has_a_valid_key(ending: Client, state: StateDirectory, clock: FakeClock) -> None:
    """For two years the key is rotated about every 50 days and always works."""
    scheduler, client = RotationScheduler(state, make_rng(7)), CollectorClient(ending.url, state.load_credential())
    keys = {state.load_credential().key}

    for day in range(730):
        clock.advance(DAY_S * NS_PER_S)
        renewed = scheduler.rotate_if_due(ending.url, now_s(clock), None)
        if renewed is not None:
            client.use_credential(renewed)
            keys.add(renewed.key)
        if day % 10 == 0:
            assert getattr(client.fetch_plan(None), "agent", None) == "fra1"

    assert 730 // 54 <= len(keys) - 1 <= 730 // 45
    assert scheduler.key_state.failures == 0


def test_it_rotates_once_when_it_is_time(
    ending: Client, state: StateDirectory, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Not before half of the lifetime; then the old key is revoked and the new key is on disk with its expiry."""
    old = state.load_credential().key
    scheduler = RotationScheduler(state, make_rng(1))
    clock.advance((TTL_S // 2 - 60) * NS_PER_S)
    before = scheduler.rotate_if_due(ending.url, now_s(clock), None)
    clock.advance(TTL_S // 10 * NS_PER_S)

    renewed = scheduler.rotate_if_due(ending.url, now_s(clock), None)

    assert before is None
    assert renewed == state.load_credential()
    assert renewed is not None
    assert (is_good(ending, old), is_good(ending, renewed.key)) == (False, True)
    assert renewed.expires_at_s == now_s(clock) + TTL_S == scheduler.key_state.expires_at_s
    assert scheduler.rotate_if_due(ending.url, now_s(clock), None) is None
    assert renewed.key not in caplog.text


@contextmanager
def losing_answers(url: str, count: int) -> Iterator[str]:
    """Run a proxy that drops the first ``count`` responses to rotations; yield its URL."""
    left = [count]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._pass_on()

        def do_GET(self) -> None:
            self._pass_on()

        def _pass_on(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {"Authorization": self.headers["Authorization"]}
            answer = urllib3.request(self.command, url + self.path, body=data, headers=headers)
            if self.path.endswith("rotate") and left[0]:
                left[0] -= 1
                self.close_connection = True
                return
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.data)))
            self.end_headers()
            self.wfile.write(answer.data)

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


def test_lost_responses_only_cost_attempts(
    ending: Client, state: StateDirectory, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The collector created keys that the agent never received: the old key works until a new one arrives."""
    old = state.load_credential().key
    scheduler = RotationScheduler(state, make_rng(1))
    clock.advance(TTL_S * 6 // 10 * NS_PER_S)
    with losing_answers(ending.url, 3) as url:
        for failures in (1, 2, 3):
            assert scheduler.rotate_if_due(url, now_s(clock), None) is None
            assert (scheduler.key_state.failures, is_good(ending, old)) == (failures, True)
            clock.advance(2 * 3_600 * NS_PER_S)

        renewed = scheduler.rotate_if_due(url, now_s(clock), None)

    assert renewed is not None
    assert [is_good(ending, key) for key in (old, renewed.key)] == [False, True]
    assert scheduler.key_state.error is None
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors] == [
        "key rotation failed: the key expires unless the cause is fixed"
    ] * 3


def test_a_key_that_cannot_be_stored_leaves_the_old_one_valid(
    ending: Client, state: StateDirectory, clock: FakeClock
) -> None:
    """The key that could not be stored was never used, so the old key stays valid."""
    old = state.load_credential().key
    scheduler = RotationScheduler(state, make_rng(1))
    clock.advance(TTL_S * 6 // 10 * NS_PER_S)
    in_the_way = state.path / "credential.new"
    in_the_way.mkdir()

    assert scheduler.rotate_if_due(ending.url, now_s(clock), None) is None
    assert ("cannot write" in (scheduler.key_state.error or ""), is_good(ending, old)) == (True, True)

    in_the_way.rmdir()
    clock.advance(2 * 3_600 * NS_PER_S)
    assert scheduler.rotate_if_due(ending.url, now_s(clock), None) is not None


def test_a_command_and_the_agent_take_turns(ending: Client, state: StateDirectory, clock: FakeClock) -> None:
    """A lock on the credential serialises rotations; otherwise the later file could contain the earlier key."""
    clock.advance(TTL_S * 6 // 10 * NS_PER_S)
    scheduler, old = RotationScheduler(state, make_rng(1)), state.load_credential()
    rotation = threading.Thread(target=scheduler.rotate_if_due, args=(ending.url, now_s(clock), None))
    with state.lock_credential():
        rotation.start()
        rotation.join(1.0)
        entries = ending.get("/api/v1/audit", Authorization=f"Bearer {ending.admin_key}")["entries"]
    rotation.join()

    assert "key rotated" not in {entry["what"] for entry in entries}
    assert state.load_credential().key != old.key


def test_an_older_agent_learns_the_expiry_from_an_acknowledgement(
    ending: Client, state: StateDirectory, clock: FakeClock
) -> None:
    """A credential without an expiry is rotated after half of the remaining lifetime."""
    credential = state.load_credential()
    state.replace_credential(msgspec.structs.replace(credential, issued_at_s=None, expires_at_s=None))
    scheduler = RotationScheduler(state, make_rng(1))
    answer = CollectorClient(ending.url, credential).send_batch(
        encode_body(build_batch(("ams1", build_steady_window(4_900, NOW_S))))
    )
    assert answer.ack is not None

    assert scheduler.rotate_if_due(ending.url, now_s(clock), answer.ack.key_expires_at_s) is None
    clock.advance(TTL_S * 6 // 10 * NS_PER_S)
    assert scheduler.rotate_if_due(ending.url, now_s(clock), None) is not None


def test_the_loop_rotates_by_the_collectors_clock(
    ending: Client, state: StateDirectory, clock: FakeClock, tmp_path: Path
) -> None:
    """An agent with a wall clock 80 days late rotates in time, uses the new key, and reports its expiry."""
    late = FakeClock(wall_ns=clock.wall_ns() + (TTL_S * 6 // 10 - 80 * DAY_S) * NS_PER_S)
    clock.advance(TTL_S * 6 // 10 * NS_PER_S)
    old = state.load_credential()
    spool = Spool(
        file_system=DirectoryFileSystem(tmp_path / "spool"), clock=late, make_epoch=lambda: "0" * 32, quota=SpoolQuota()
    )
    batch_builder = BatchBuilder("fra1", spool, late)
    batch_builder.clock_offset = ClockOffset(offset_us=-80 * DAY_S * 1_000_000, error_us=1_000)
    client = CollectorClient(ending.url, old)
    loop = AgentLoop(
        agent="fra1",
        site="fra",
        uploader=Uploader(clients=[client], spool=spool, batch_builder=batch_builder, clock=late, rng=make_rng(1)),
        batch_builder=batch_builder,
        spool=spool,
        state_dir=state,
        clock=late,
        rng=make_rng(1),
    )

    loop._run_once(late.monotonic_ns())
    loop._write_status()
    spool.close()

    assert state.load_credential().key != old.key
    assert getattr(client.fetch_plan(None), "agent", None) == "fra1"
    assert (is_good(ending, old.key), is_good(ending, state.load_credential().key)) == (False, True)
    assert read_status(state.path).key_expires_at_s == now_s(clock) + TTL_S
