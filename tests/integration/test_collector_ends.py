"""A collector that ends under load, by SIGKILL or SIGTERM: acknowledged batches are stored, each once."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3
from sqlalchemy.engine import URL

from leadline_collector.db.engine import Database
from leadline_collector.db.transactions import Store
from tests.integration.conftest import Client
from tests.integration.test_ingest import batches, rows
from tests.integration.test_serve import environment, serving
from tests.support.documents import NOW_S, build_batch, build_steady_window, encode_body

BATCHES = 120
#: Number of acknowledged batches at which the test ends the collector.
ACKNOWLEDGED = 30
SENDERS = 8


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_acknowledged_batches_are_stored_when_the_collector_ends(
    url: URL, tmp_path: Path, number: signal.Signals
) -> None:
    """Eight connections send 120 batches. After the end, the journal has every acknowledged one, and the next
    collector accepts all of them again and stores each once.
    """
    env = environment(url, tmp_path / "data")
    bodies = [
        encode_body(build_batch(("ams1", build_steady_window(4_900, NOW_S + 60 * seq)), seq=seq))
        for seq in range(BATCHES)
    ]
    acknowledged: list[int] = []
    enough = threading.Event()

    def post(client: Client, key: str, seq: int) -> None:
        try:
            answer = client.post_bytes(bodies[seq], key)
        except urllib3.exceptions.HTTPError:
            return
        if answer.status == 200:
            acknowledged.append(seq)
        if len(acknowledged) >= ACKNOWLEDGED:
            enough.set()

    with serving(env) as (process, address), ThreadPoolExecutor(SENDERS) as pool:
        client = Client(url=address, admin_key=(tmp_path / "data" / "admin.key").read_text().strip())
        client.apply()
        key = client.key("fra1", "fra")
        futures = [pool.submit(post, client, key, seq) for seq in range(BATCHES)]
        assert enough.wait(30)
        process.send_signal(number)
        process.communicate(timeout=30)
        for future in futures:
            future.result(30)
        client.pool.clear()

    assert ACKNOWLEDGED <= len(acknowledged) < BATCHES
    assert set(acknowledged) <= load_journal_seqs(url)
    with serving(env) as (_, address):
        client = Client(url=address, admin_key="")
        answers = [client.post_bytes(body, key) for body in bodies]
        client.pool.clear()
    assert {answer.status for answer in answers} == {200}
    assert {seq for seq in acknowledged if not answers[seq].json()["duplicate"]} == set()
    database = Database(url)
    assert (len(rows(Store(database))), batches(Store(database))) == (BATCHES, BATCHES)
    database.close()


def load_journal_seqs(url: URL) -> set[int]:
    """Return the sequence numbers of the batches in the journal."""
    database = Database(url)
    with database.read() as connection:
        seqs = set(connection.exec_driver_sql("SELECT seq FROM batch").scalars())
    database.close()
    return seqs
