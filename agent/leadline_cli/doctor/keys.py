"""What ``leadline agent doctor`` finds about the agent's own keys: when one ends, whether it can sign."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from leadline.errors import LeadlineError
from leadline.wire.signing import derive_key_id
from leadline_agent.identity.signer import Signer, load_signer
from leadline_agent.identity.state_dir import Credential
from leadline_agent.status import AgentStatus
from leadline_cli.doctor.report import Diagnostic, fail, ok, warn

#: An agent rotates after a half, six tenths at most, of a key's life; what is older has not been rotated.
KEY_LIFETIME_SHARE_MAX = 0.75


def check_key_expiry(credential: Credential, status: AgentStatus | None, now_s: int) -> Iterator[Diagnostic]:
    """When the agent's key ends, and whether the running agent could rotate it; nothing for a key without an end."""
    end_s, begin_s = credential.expires_at_s, credential.issued_at_s
    if end_s is None:
        return
    left_s = end_s - now_s
    detail = f"ends {datetime.fromtimestamp(end_s, UTC):%Y-%m-%d %H:%M} UTC, in {left_s / 86_400:.1f} days"
    if left_s <= 0:
        yield fail("key", detail, "enrol again: leadline token create, then leadline agent enroll")
    elif status is not None and status.key_error is not None:
        yield warn("key", f"{detail}; rotating it failed: {status.key_error}", "leadline agent rotate, and see the log")
    elif begin_s is not None and left_s < (1 - KEY_LIFETIME_SHARE_MAX) * (end_s - begin_s):
        yield warn("key", f"{detail}, and no agent rotates it", "is the agent running? else: leadline agent rotate")
    else:
        yield ok("key", detail)


def check_signing(credential: Credential) -> tuple[list[Diagnostic], Signer | None]:
    """Whether an agent that has to sign can; nothing for one that does not."""
    if credential.signing_key is None:
        return [], None
    try:
        found = load_signer(credential.signing_key)
    except LeadlineError as error:
        return [fail("signing", str(error), "the agent does not start without it")], None
    return [ok("signing", f"signs with key {derive_key_id(found.public_key)}")], found
