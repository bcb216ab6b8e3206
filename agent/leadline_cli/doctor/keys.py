"""Key checks of ``leadline agent doctor``: expiry and signing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from leadline.errors import LeadlineError
from leadline.wire.signing import derive_key_id
from leadline_agent.identity.signer import Signer, load_signer
from leadline_agent.identity.state_dir import Credential
from leadline_agent.status import AgentStatus
from leadline_cli.doctor.report import Diagnostic, fail, ok, warn

#: An agent rotates a key after 50 % to 60 % of its lifetime. An older key shows that rotation does not work.
KEY_LIFETIME_SHARE_MAX = 0.75


def check_key_expiry(credential: Credential, status: AgentStatus | None, now_s: int) -> Iterator[Diagnostic]:
    """Check the expiry and the rotation of the agent's key. Yield nothing for a key without expiry."""
    expires_at_s, issued_at_s = credential.expires_at_s, credential.issued_at_s
    if expires_at_s is None:
        return
    left_s = expires_at_s - now_s
    detail = f"expires {datetime.fromtimestamp(expires_at_s, UTC):%Y-%m-%d %H:%M} UTC, in {left_s / 86_400:.1f} days"
    if left_s <= 0:
        yield fail("key", detail, "enrol again: leadline token create, then leadline agent enroll")
    elif status is not None and status.key_error is not None:
        yield warn(
            "key", f"{detail}; rotating it failed: {status.key_error}", "run leadline agent rotate, and check the log"
        )
    elif issued_at_s is not None and left_s < (1 - KEY_LIFETIME_SHARE_MAX) * (expires_at_s - issued_at_s):
        yield warn("key", f"{detail}, and no agent rotates it", "start the agent, or run leadline agent rotate")
    else:
        yield ok("key", detail)


def check_signing(credential: Credential) -> tuple[list[Diagnostic], Signer | None]:
    """Check that the agent can sign. Return an empty list for an agent without a signing key."""
    if credential.signing_key is None:
        return [], None
    try:
        signer = load_signer(credential.signing_key)
    except LeadlineError as error:
        return [fail("signing", str(error), "the agent does not start without signing")], None
    return [ok("signing", f"signs with key {derive_key_id(signer.public_key)}")], signer
