"""Key rotation protocol: request a new key, save it, use it. At every step, at least one key is valid.

The collector accepts the old key until the first use of the new one. A lost response, a full disk or a crash between
the steps therefore only requires another rotation. The signing key is rotated the same way; the old key endorses it.
"""

from __future__ import annotations

import msgspec
import urllib3

from leadline.errors import UnavailableError
from leadline.wire import codec
from leadline.wire.control import EnrolResponse, KeyRotationRequest
from leadline_agent.identity.signer import Signer, generate_seed, load_signer
from leadline_agent.identity.state_dir import Credential, StateDirectory

#: Limit for each of the two requests of a rotation, which block the uploads of a running agent.
TIMEOUT = urllib3.Timeout(connect=5.0, read=10.0)


def rotate_key(state_dir: StateDirectory, *, with_signing_key: bool = False, url: str | None = None) -> str | None:
    """Replace the key in the state directory; return None, or the reason why the new key is not confirmed yet.

    None means that the collector refuses the old key from now on. ``with_signing_key`` also replaces the signing key,
    or creates the first one. ``url`` is the collector; by default the one of the enrolment. Raise UnavailableError if
    the collector issues no key; the old keys are then still valid.
    """
    with state_dir.lock_credential():
        credential = state_dir.load_credential()
        return _rotate_credential(
            state_dir, credential, generate_seed() if with_signing_key else None, url or credential.collector
        )


def _rotate_credential(state_dir: StateDirectory, credential: Credential, seed: str | None, url: str) -> str | None:
    public_key = None if seed is None else load_signer(seed).public_key
    response = _request(credential, url, "POST", "/api/v1/rotate", _encode_request(credential, public_key))
    if response.status != 200:
        raise UnavailableError(f"{url} issued no new key: {_describe_problem(response)}")
    issued = codec.decode(response.data, EnrolResponse)
    is_registered = public_key is not None and issued.signing_key == public_key.hex()
    new_credential = msgspec.structs.replace(
        credential,
        key=issued.key,
        issued_at_s=issued.issued_at_s,
        expires_at_s=issued.expires_at_s,
        signing_key=seed if is_registered else credential.signing_key,
    )
    state_dir.replace_credential(new_credential)
    if public_key is not None and not is_registered:
        raise UnavailableError(f"{url} does not support signing keys: upgrade the collector first")
    return _confirm_new_key(new_credential, url)


def _encode_request(credential: Credential, public_key: bytes | None) -> bytes:
    """Return the request body; empty without a new signing key, as older collectors expect."""
    if public_key is None:
        return b""
    old_signer: Signer | None = None if credential.signing_key is None else load_signer(credential.signing_key)
    endorsement = None if old_signer is None else old_signer.endorse(credential.agent, public_key).hex()
    return codec.encode(KeyRotationRequest(signing_key=public_key.hex(), endorsement=endorsement))


def _confirm_new_key(credential: Credential, url: str) -> str | None:
    """Use the new key once; return None, or the reason why that failed."""
    try:
        response = _request(credential, url, "GET", "/api/v1/plan", None)
    except UnavailableError as error:
        return str(error)
    return None if response.status == 200 else _describe_problem(response)


def _request(credential: Credential, url: str, method: str, path: str, body: bytes | None) -> urllib3.BaseHTTPResponse:
    pool = urllib3.PoolManager(timeout=TIMEOUT, retries=False, maxsize=1, ca_certs=credential.ca_file)
    headers = {"Authorization": f"Bearer {credential.key}", "Content-Type": "application/json"}
    try:
        with pool:
            return pool.request(method, url.rstrip("/") + path, body=body, headers=headers, redirect=False)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnavailableError(f"no answer from {url}: {error}") from error


def _describe_problem(response: urllib3.BaseHTTPResponse) -> str:
    try:
        problem = msgspec.json.decode(response.data, type=dict[str, object])
    except msgspec.DecodeError:
        problem = {}
    return f"{response.status} {problem.get('detail') or problem.get('title') or 'without a reason'}"
