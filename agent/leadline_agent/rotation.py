"""A new key for an agent that has one: asked for, kept, then used. At every point of this, one key works.

The collector keeps the old key good until the new one was used once. So a lost answer, a full disk or a crash between
the steps costs nothing but another rotation.
"""

from __future__ import annotations

import msgspec
import urllib3

from leadline import wire
from leadline.errors import UnavailableError
from leadline_agent.state import AgentState, Credential

TIMEOUT = urllib3.Timeout(connect=5.0, read=30.0)


def rotate(state: AgentState) -> str | None:
    """Replace the key in ``state``; None when the old one is refused from now on, or why the new one is not used yet.

    UnavailableError when the collector gives no new key; the old one is then good as before.
    """
    credential = state.load_credential()
    answer = _request(credential, "POST", "/api/v1/rotate")
    if answer.status != 200:
        raise UnavailableError(f"{credential.collector} gave no new key: {_reason(answer)}")
    renewed = msgspec.structs.replace(credential, key=wire.decode(answer.data, wire.EnrolAnswer).key)
    state.replace_credential(renewed)
    try:
        used = _request(renewed, "GET", "/api/v1/plan")
    except UnavailableError as error:
        return str(error)
    return None if used.status == 200 else _reason(used)


def _request(credential: Credential, method: str, path: str) -> urllib3.BaseHTTPResponse:
    pool = urllib3.PoolManager(timeout=TIMEOUT, retries=False, maxsize=1, ca_certs=credential.ca_file)
    headers = {"Authorization": f"Bearer {credential.key}"}
    try:
        with pool:
            return pool.request(method, credential.collector.rstrip("/") + path, headers=headers, redirect=False)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnavailableError(f"no answer from {credential.collector}: {error}") from error


def _reason(answer: urllib3.BaseHTTPResponse) -> str:
    try:
        problem = msgspec.json.decode(answer.data, type=dict[str, object])
    except msgspec.DecodeError:
        problem = {}
    return f"{answer.status} {problem.get('detail') or problem.get('title') or 'without a reason'}"
