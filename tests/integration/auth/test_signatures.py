"""Signed batches: accepted only with a valid signature, stored with it, and verified against later changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, text
from sqlalchemy.engine import URL

from leadline.wire import batch as wire
from leadline.wire import codec, control, signing
from leadline_agent.delivery.collector_client import CollectorClient
from leadline_agent.identity.signer import Signer, generate_seed, load_signer
from leadline_agent.identity.state_dir import Credential, StateDirectory
from leadline_cli.__main__ import main
from leadline_collector.auth.enrolment import AUDITED_REFUSALS_MAX
from leadline_collector.db import tables
from leadline_collector.db.transactions import Store
from tests.integration.conftest import Answer, Client
from tests.support.clock import FakeClock
from tests.support.documents import NOW_S, build_batch, build_steady_window, encode_body

SECOND = 1_000_000_000


@pytest.fixture(name="state")
def _state(client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> StateDirectory:
    """Agent fra1, enrolled with ``--sign`` by the command line."""
    client.apply()
    return enrolled(client, tmp_path / "agent", "--sign")


def enrolled(client: Client, directory: Path, *options: str) -> StateDirectory:
    """Enrol agent fra1 and return its state directory."""
    token = directory.with_suffix(".token")
    token.write_text(client.token("fra"))
    words = ["agent", "enroll", client.url, "--agent", "fra1", "--token-file", str(token)]
    assert main([*words, "--state-dir", str(directory), *options]) == 0
    return StateDirectory(directory)


def minute(seq: int) -> bytes:
    """Return the body of a batch of fra1."""
    return encode_body(build_batch(("ams1", build_steady_window(4_900, NOW_S + 60 * seq)), seq=seq))


def key_of(state: StateDirectory) -> Signer:
    """Return the agent's signer."""
    seed = state.load_credential().signing_key
    assert seed is not None
    return load_signer(seed)


def post(client: Client, state: StateDirectory, data: bytes, headers: dict[str, str]) -> Answer:
    """Send a batch of fra1 with these signature headers."""
    key = state.load_credential().key
    options = {name.replace("-", "_"): value for name, value in headers.items()}
    return client.send("POST", "/api/v1/batches", data, key, Content_Encoding="gzip", **options)


def send(client: Client, state: StateDirectory, *sequence: int) -> list[int]:
    """Send these batches signed; return the statuses."""
    return [post(client, state, minute(seq), key_of(state).build_headers(minute(seq))).status for seq in sequence]


def audit(client: Client) -> list[tuple[str, dict[str, Any]]]:
    """Return action and detail of the audit entries, newest first."""
    entries = client.get("/api/v1/audit?limit=1000", Authorization=f"Bearer {client.admin_key}")["entries"]
    return [(entry["what"], entry["detail"]) for entry in entries]


def test_enrolling_registers_the_public_key(
    client: Client, state: StateDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    """The private key is in a file that only its owner can read and is not printed; the public key is."""
    credential = state.load_credential()
    output = capsys.readouterr().out
    (agent,) = [
        entry
        for entry in client.get("/api/v1/agents", Authorization=f"Bearer {client.admin_key}")["agents"]
        if entry["name"] == "fra1"
    ]

    assert (state.path / "credential.json").stat().st_mode & 0o777 == 0o600
    assert f"fra1 {key_of(state).public_key.hex()}" in output
    assert (credential.signing_key or "") not in output
    assert credential.key not in output
    assert [key["public"] for key in agent["signing_keys"]] == [key_of(state).public_key.hex()]
    assert dict(audit(client))["agent enrolled"]["signing_key"] == agent["signing_keys"][0]["id"]


def test_a_signed_batch_is_stored_with_its_signature(client: Client, state: StateDirectory, store: Store) -> None:
    """With the agent's client; the same bytes again are a duplicate with the same signature."""
    agent = CollectorClient(client.url, state.load_credential())

    answers = [agent.send_batch(minute(1)) for _ in range(2)]

    assert [answer.ack and answer.ack.duplicate for answer in answers] == [False, True]
    with store.read() as reader:
        ((signed, public),) = reader.connection.execute(
            select(tables.batch.c.signature, tables.signing_key.c.public).join(
                tables.signing_key, tables.signing_key.c.id == tables.batch.c.signing_key_id
            )
        )
    assert signing.format_header(public, signed) == key_of(state).build_headers(minute(1))[signing.SIGNATURE_HEADER]


def test_an_agent_that_signs_must_sign_every_batch(client: Client, state: StateDirectory, store: Store) -> None:
    """A missing, mismatched, foreign or malformed signature gets 403 and an audit entry; nothing is stored."""
    stranger = load_signer(generate_seed())
    renamed = key_of(state).build_headers(minute(1))[signing.SIGNATURE_HEADER].split()
    wrong: list[dict[str, str]] = [
        {},
        key_of(state).build_headers(minute(2)),
        stranger.build_headers(minute(1)),
        {signing.SIGNATURE_HEADER: f"ed25519 {renamed[1]} {'0' * 128}"},
        {signing.SIGNATURE_HEADER: "ed25519"},
    ]

    answers = [post(client, state, minute(1), headers) for headers in wrong]

    assert [answer.status for answer in answers] == [403] * 5
    assert "signs its batches" in answers[0].json()["detail"]
    assert [what for what, _ in audit(client)[:5]] == ["signature refused"] * 5
    assert audit(client)[4][1] == {"reason": "no signature"}
    with store.read() as reader:
        assert reader.connection.execute(select(tables.batch.c.seq)).all() == []
    assert send(client, state, 1) == [200]


def test_refused_signatures_do_not_fill_the_audit(client: Client, state: StateDirectory) -> None:
    """The number of entries per minute is limited; the log has all refusals."""
    for _ in range(AUDITED_REFUSALS_MAX + 3):
        post(client, state, b"", {})

    assert [what for what, _ in audit(client)].count("signature refused") == AUDITED_REFUSALS_MAX


def test_an_agent_without_a_signing_key_need_not_sign(client: Client, fra1: str) -> None:
    """Unsigned batches are accepted, and a signature that is not required is ignored."""
    stray = load_signer(generate_seed()).build_headers(minute(2))[signing.SIGNATURE_HEADER]

    plain = client.post_bytes(minute(1), fra1)
    signed = client.send("POST", "/api/v1/batches", minute(2), fra1, Content_Encoding="gzip", Leadline_Signature=stray)

    assert (plain.status, signed.status) == (200, 200)


def test_a_new_signing_key_replaces_the_old_one_once_it_was_used(
    client: Client, state: StateDirectory, clock: FakeClock
) -> None:
    """Both keys are valid until the first batch with the new key; then the old key is refused. The audit has both."""
    old, bearer = key_of(state), state.load_credential().key
    assert send(client, state, 1) == [200]
    clock.advance(SECOND)

    assert main(["agent", "rotate", "--sign", "--state-dir", str(state.path)]) == 0

    new = key_of(state)
    assert (new.public_key != old.public_key, state.load_credential().key != bearer) == (True, True)
    assert post(client, state, minute(2), old.build_headers(minute(2))).status == 200
    assert send(client, state, 3) == [200]
    assert post(client, state, minute(4), old.build_headers(minute(4))).status == 403
    replaced = dict(audit(client))["signing key replaced"]
    assert replaced == {"key": signing.derive_key_id(old.public_key), "by": signing.derive_key_id(new.public_key)}


def test_a_running_agent_uses_the_new_signing_key(client: Client, state: StateDirectory) -> None:
    """An agent that started before the rotation signs its next batch with the key in the file."""
    agent = CollectorClient(client.url, state.load_credential(), state.load_credential)
    agent.send_batch(minute(1))

    main(["agent", "rotate", "--sign", "--state-dir", str(state.path)])

    assert [agent.send_batch(minute(seq)).status for seq in (2, 3)] == [200, 200]
    assert dict(audit(client))["signing key replaced"]["by"] == signing.derive_key_id(key_of(state).public_key)


def test_lost_signing_keys_do_not_lock_the_agent_out(client: Client, state: StateDirectory) -> None:
    """After lost responses to rotations the agent's signing key is still valid, used before or not."""
    for _ in range(3):
        lost = load_signer(generate_seed()).public_key
        request = control.KeyRotationRequest(
            signing_key=lost.hex(), endorsement=key_of(state).endorse("fra1", lost).hex()
        )
        assert client.send("POST", "/api/v1/rotate", codec.encode(request), state.load_credential().key).status == 200

    assert send(client, state, 1) == [200]


@pytest.mark.parametrize("forged", [None, "stranger", "other agent"])
def test_the_bearer_key_alone_changes_no_signing_key(client: Client, state: StateDirectory, forged: str | None) -> None:
    """403 without an endorsement by the previous signing key; the bearer key is not changed either."""
    mine = load_signer(generate_seed())
    endorsements = {
        None: None,
        "stranger": mine.endorse("fra1", mine.public_key),
        "other agent": key_of(state).endorse("fra2", mine.public_key),
    }
    endorsement = endorsements[forged]
    request = control.KeyRotationRequest(
        signing_key=mine.public_key.hex(), endorsement=None if endorsement is None else endorsement.hex()
    )

    answer = client.send("POST", "/api/v1/rotate", codec.encode(request), state.load_credential().key)

    assert (answer.status, audit(client)[0][0]) == (403, "signature refused")
    assert send(client, state, 1) == [200]


def test_an_agent_can_begin_to_sign(client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first rotation with ``--sign`` makes signatures mandatory."""
    client.apply()
    state = enrolled(client, tmp_path / "agent")
    assert post(client, state, minute(1), {}).status == 200

    main(["agent", "rotate", "--sign", "--state-dir", str(state.path)])

    assert post(client, state, minute(2), {}).status == 403
    assert send(client, state, 2) == [200]


def test_only_the_administrator_ends_signing(
    client: Client, state: StateDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An enrolment without ``--sign`` gets 422 and does not use the token; after a revocation it succeeds."""
    token = client.token("fra")
    refused = client.enrol(token, "fra1")

    client.send("DELETE", "/api/v1/agents/fra1/keys", key=client.admin_key)
    again = client.enrol(token, "fra1")

    assert (refused.status, refused.json()["path"], again.status) == (422, "signing_key", 200)
    assert dict(audit(client))["keys revoked"] == {"keys": 1, "signing_keys": 1}
    assert client.post_bytes(minute(1), again.json()["key"]).status == 200


def test_a_retired_key_cannot_be_registered_again(client: Client, state: StateDirectory) -> None:
    """An old signing key cannot be registered again."""
    request = control.KeyRotationRequest(
        signing_key=key_of(state).public_key.hex(),
        endorsement=key_of(state).endorse("fra1", key_of(state).public_key).hex(),
    )

    assert client.send("POST", "/api/v1/rotate", codec.encode(request), state.load_credential().key).status == 422


def test_the_doctors_dry_post_is_signed(
    client: Client, state: StateDirectory, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check passes and shows the key id; nothing is stored."""
    main(["agent", "doctor", "--json", "--state-dir", str(state.path)])

    printed = capsys.readouterr().out
    findings = {finding["what"]: finding for finding in json.loads(printed[printed.index("[") :])}
    assert findings["dry POST"]["level"] == "ok"
    assert signing.derive_key_id(key_of(state).public_key) in findings["signing"]["detail"]


# Verification of the journal


@pytest.fixture(name="journal")
def _journal(client: Client, state: StateDirectory, clock: FakeClock) -> list[int]:
    """A journal with an unsigned batch of fra2 and batches of fra1 signed with two keys; their sequence numbers."""
    fra2 = client.key("fra2", "fra")
    unsigned = encode_body(build_batch(("ams1", build_steady_window(4_800)), agent="fra2", seq=1))
    assert client.post_bytes(unsigned, fra2).status == 200
    clock.advance(120 * SECOND)
    assert send(client, state, 1, 2) == [200, 200]
    main(["agent", "rotate", "--sign", "--state-dir", str(state.path)])
    assert send(client, state, 3) == [200]
    return [1, 2, 3]


def verify(url: URL, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, Any]:
    """Run ``leadline collector verify``; return its exit status and its document."""
    capsys.readouterr()
    address = url.render_as_string(hide_password=False)
    status = main(["collector", "verify", "--json", "--database-url", address, *options])
    return status, msgspec.json.decode(capsys.readouterr().out)


def change(store: Store, what: str, seq: int = 2, **values: Any) -> None:
    """Change a row of the journal, like the database's owner."""
    with store.write() as writer:
        result = writer.connection.execute(
            text(f"UPDATE batch SET {what} WHERE seq = :seq AND signature IS NOT NULL"), {"seq": seq} | values
        )
        assert result.rowcount == 1


def faults(document: Any) -> list[tuple[int, str]]:
    """Return sequence number and fault of every finding."""
    return [(finding["seq"], finding["fault"]) for finding in document["findings"]]


def test_an_untouched_journal_is_good(url: URL, journal: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    """Every batch is counted, also while the collector runs; old batches are verified with the old key."""
    status, document = verify(url, capsys)

    assert (status, document["batches"], document["signed"], document["bad"], document["findings"]) == (0, 4, 3, 0, [])


def test_imported_files_are_checked_like_batches(url: URL, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """An import is unsigned and has its own source, so the agent's signing keys do not apply."""
    client.apply()
    data = codec.encode(build_batch(("ams1", build_steady_window(4_900)), agent="import:fra2"))
    path = f"/api/v1/imports/fra2?file=a.log&sha256={'0' * 64}&format=ping"
    assert client.send("POST", path, data, client.admin_key).status == 200

    status, document = verify(url, capsys, "--agent", "import:fra2")

    assert (status, document["batches"], document["signed"]) == (0, 1, 0)


def test_one_changed_byte_is_named(
    url: URL, store: Store, journal: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """A change of an unused byte (the operating system in the gzip header) is detected too."""
    sent = bytearray(minute(2))
    sent[9] ^= 1
    change(store, "body = :body", body=bytes(sent))

    status, document = verify(url, capsys)

    assert (status, faults(document)) == (1, [(2, "body"), (2, "signature")])
    assert (document["findings"][0]["agent"], document["bad"], document["batches"]) == ("fra1", 1, 4)


def test_a_changed_body_with_a_matching_digest_is_detected(
    url: URL, store: Store, journal: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """A changed body with a matching digest has no valid signature: only the agent can sign."""
    better = encode_body(build_batch(("ams1", build_steady_window(900, NOW_S + 120)), seq=2))
    change(store, "body = :body, sha256 = :sha256", body=better, sha256=bytes.fromhex(wire.compute_digest(better)))

    assert (verify(url, capsys)[0], faults(verify(url, capsys)[1])) == (1, [(2, "signature")])


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ("received_at = received_at + 1", None),
        ("t_last = t_last + 60", "row"),
        ("mesh_version = 9", "row"),
        ("sealed_at_us = 1", "row"),
        ("signature = NULL", "unsigned"),
        ("signing_key_id = 99", "key"),
        ("seq = 77", "row"),
    ],
)
def test_a_changed_row_is_named(
    url: URL, store: Store, journal: list[int], capsys: pytest.CaptureFixture[str], what: str, fault: str | None
) -> None:
    """Columns must match the body, except the time of receipt, which the body does not contain."""
    change(store, what)

    assert [code for _, code in faults(verify(url, capsys)[1])] == ([] if fault is None else [fault])


def test_trusted_keys_can_come_from_a_file(
    url: URL,
    store: Store,
    state: StateDirectory,
    journal: list[int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first key is enough to trust its successor; with an unknown key no batch of the agent is trusted."""
    with store.read() as reader:
        keys = reader.connection.execute(select(tables.signing_key.c.public).order_by(tables.signing_key.c.id))
        first = next(keys.scalars())
    file = tmp_path / "agents.keys"
    file.write_text(f"# kept elsewhere\nfra1 {first.hex()}\n")
    good = verify(url, capsys, "--trusted-keys", str(file))
    file.write_text(f"fra1 {load_signer(generate_seed()).public_key.hex()}\n")
    bad = verify(url, capsys, "--trusted-keys", str(file))

    assert (good[0], bad[0]) == (0, 1)
    assert faults(bad[1]) == [(seq, "key") for seq in journal]


def test_removed_signatures_are_detected_with_trusted_keys(
    url: URL,
    store: Store,
    state: StateDirectory,
    journal: list[int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without keys and signatures the database is consistent, but a trusted key from outside shows the change."""
    file = tmp_path / "agents.keys"
    with store.write() as writer:
        first = writer.connection.execute(select(tables.signing_key.c.public)).scalars().first()
        assert first is not None
        writer.connection.execute(text("UPDATE batch SET signature = NULL, signing_key_id = NULL"))
        writer.connection.execute(text("DELETE FROM signing_key"))

    file.write_text(f"fra1 {first.hex()} 2026-11-22T06:02:00Z\n")

    assert verify(url, capsys)[0] == 0
    assert faults(verify(url, capsys, "--trusted-keys", str(file))[1]) == [(2, "unsigned"), (3, "unsigned")]


@pytest.mark.parametrize("line", ["fra1", "fra1 00", f"fra1 {'0' * 64} yesterday", f"fra1 {'z' * 64}"])
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_an_invalid_line_of_the_key_file_is_named(
    url: URL, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    """Exit status 2 with its number."""
    file = tmp_path / "agents.keys"
    file.write_text(f"\n{line}\n")

    status = main(["collector", "verify", "--database-url", f"sqlite:///{url.database}", "--trusted-keys", str(file)])

    assert (status, "line 2" in capsys.readouterr().err) == (2, True)


def test_the_command_prints_findings_and_a_summary(
    url: URL, store: Store, journal: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """A line per finding and a summary; ``--agent`` selects one agent."""
    change(store, "sha256 = :sha256", sha256=bytes(32))
    words = ["collector", "verify", "--database-url", url.render_as_string(hide_password=False)]
    capsys.readouterr()

    status = main(words)
    lines = capsys.readouterr().out.splitlines()
    other = main([*words, "--agent", "fra2"])

    assert (status, other) == (1, 0)
    assert lines[0].startswith("body: agent fra1 epoch ")
    assert "seq 2, received 2026-11-22 07:02 UTC" in lines[0]
    assert lines[1].endswith("3 signed, 1 faulty")
    assert "1 batches" in capsys.readouterr().out
    assert main([*words, "--agent", "nobody"]) == 2


def test_a_file_that_is_not_a_collectors_database_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing file or another database: status 2 and no traceback."""
    empty = tmp_path / "empty.sqlite"
    missing = main(["collector", "verify", "--database-url", f"sqlite:///{tmp_path}/none.sqlite"])
    empty.touch()
    other = main(["collector", "verify", "--database-url", f"sqlite:///{empty}"])

    assert (missing, other) == (2, 2)
    errors = capsys.readouterr().err
    assert "there is no database" in errors
    assert "not a database of a collector" in errors


def test_the_credential_of_an_agent_that_does_not_sign_has_no_new_keys(tmp_path: Path) -> None:
    """The previous version can read it after a downgrade."""
    StateDirectory(tmp_path).save_credential(Credential(collector="http://h", agent="a", site="s", key="k"))

    document = msgspec.json.decode((tmp_path / "credential.json").read_bytes())
    assert document == {"collector": "http://h", "agent": "a", "site": "s", "key": "k"}
