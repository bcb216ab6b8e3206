"""New keys for an agent that has one: asked for, kept, then used. At every point of this, one key works.

The collector keeps the old key good until the new one was used once. So a lost answer, a full disk or a crash between
the steps costs nothing but another rotation. A signing key is changed in the same way, and the one before signs it.
"""

from __future__ import annotations

import msgspec
import urllib3

from leadline.errors import UnavailableError
from leadline.wire import codec, control
from leadline_agent.identity.signer import Signer, generate_seed, load_signer
from leadline_agent.identity.state_dir import Credential, StateDirectory

#: Two requests in a row, while a running agent sends nothing: together within the patience of one batch.
TIMEOUT = urllib3.Timeout(connect=5.0, read=10.0)


def rotate_key(state_dir: StateDirectory, *, with_signing_key: bool = False, url: str | None = None) -> str | None:
    """Replace the key in ``state``; None when the old one is refused from now on, or why the new one is not used yet.

    ``sign`` replaces the signing key too, or makes the first one; ``url`` is the collector to ask, or else that of the
    enrolment. UnavailableError when the collector gives no new key; the old ones are then good as before.
    """
    with state_dir.lock_credential():
        credential = state_dir.load_credential()
        return _rotate_credential(
            state_dir, credential, generate_seed() if with_signing_key else None, url or credential.collector
        )


def _rotate_credential(state: StateDirectory, credential: Credential, seed: str | None, url: str) -> str | None:
    public = None if seed is None else load_signer(seed).public_key
    answer = _request(credential, url, "POST", "/api/v1/rotate", _encode_request(credential, public))
    if answer.status != 200:
        raise UnavailableError(f"{url} gave no new key: {_describe_problem(answer)}")
    given = codec.decode(answer.data, control.EnrolResponse)
    is_registered = public is not None and given.signing_key == public.hex()
    renewed = msgspec.structs.replace(
        credential,
        key=given.key,
        issued_at_s=given.issued_at_s,
        expires_at_s=given.expires_at_s,
        signing_key=seed if is_registered else credential.signing_key,
    )
    state.replace_credential(renewed)
    if public is not None and not is_registered:
        raise UnavailableError(f"{url} knows nothing of signing keys: upgrade the collector first")
    return _confirm_new_key(renewed, url)


def _encode_request(credential: Credential, public: bytes | None) -> bytes:
    """The body of the request; nothing where nothing is said, as an older collector expects."""
    if public is None:
        return b""
    before: Signer | None = None if credential.signing_key is None else load_signer(credential.signing_key)
    endorsement = None if before is None else before.endorse(credential.agent, public).hex()
    return codec.encode(control.KeyRotationRequest(signing_key=public.hex(), endorsement=endorsement))


def _confirm_new_key(renewed: Credential, url: str) -> str | None:
    try:
        used = _request(renewed, url, "GET", "/api/v1/plan", None)
    except UnavailableError as error:
        return str(error)
    return None if used.status == 200 else _describe_problem(used)


def _request(credential: Credential, url: str, method: str, path: str, body: bytes | None) -> urllib3.BaseHTTPResponse:
    pool = urllib3.PoolManager(timeout=TIMEOUT, retries=False, maxsize=1, ca_certs=credential.ca_file)
    headers = {"Authorization": f"Bearer {credential.key}", "Content-Type": "application/json"}
    try:
        with pool:
            return pool.request(method, url.rstrip("/") + path, body=body, headers=headers, redirect=False)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnavailableError(f"no answer from {url}: {error}") from error


def _describe_problem(answer: urllib3.BaseHTTPResponse) -> str:
    try:
        problem = msgspec.json.decode(answer.data, type=dict[str, object])
    except msgspec.DecodeError:
        problem = {}
    return f"{answer.status} {problem.get('detail') or problem.get('title') or 'without a reason'}"
