"""Schedule of the automatic key rotation: after half of the key's lifetime, so that an outage of the other half is
harmless.

Rule 1: the collector sets the expiry, and the agent compares it with the collector's clock (known from the last
acknowledgement). A wrong host clock does not affect the rotation.
Rule 2: failures are logged as errors and retried until the expiry. The current key stays valid (``key_rotation``).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from random import Random

import msgspec

from leadline.errors import LeadlineError
from leadline_agent.identity.key_rotation import rotate_key
from leadline_agent.identity.state_dir import Credential, StateDirectory

log = logging.getLogger(__name__)

#: Fractions of the key lifetime. The jitter spreads the rotations of agents that were enrolled together.
ROTATION_START_SHARE, ROTATION_JITTER_SHARE = 0.5, 0.1
#: Retries in the remaining lifetime: every minute for a one-hour key (the shortest), every hour for a 90-day key.
RETRIES_PER_LIFETIME = 24
RETRY_S_MIN, RETRY_S_MAX = 60.0, 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyState:
    """State of the agent's key. Times are epoch seconds of the collector's clock."""

    #: None if the key does not expire, or if the expiry is unknown.
    expires_at_s: int | None = None
    #: Reason and time of the last failed rotation; None after a successful one.
    error: str | None = None
    failed_at_s: int | None = None
    #: Consecutive failures.
    failures: int = 0


def compute_rotation_time_s(issued_at_s: int, expires_at_s: int, jitter: float) -> int:
    """Return when to rotate a key, epoch seconds; ``jitter`` is in [0, 1)."""
    return issued_at_s + int((ROTATION_START_SHARE + jitter * ROTATION_JITTER_SHARE) * (expires_at_s - issued_at_s))


def compute_retry_delay_s(remaining_s: float, jitter: float) -> float:
    """Return the delay after a failure, ``remaining_s`` before the expiry; ``jitter`` is in [0, 1)."""
    return (0.75 + jitter / 2) * min(RETRY_S_MAX, max(RETRY_S_MIN, remaining_s / RETRIES_PER_LIFETIME))


class RotationScheduler:
    """Rotates the key of a running agent. Not thread-safe."""

    def __init__(self, state_dir: StateDirectory, rng: Random) -> None:
        self._state_dir, self._rng = state_dir, rng
        self._jitter = rng.random()
        self._not_before_s = 0.0
        self.key_state = KeyState()

    def rotate_if_due(self, url: str, now_s: int, reported_expires_at_s: int | None) -> Credential | None:
        """Rotate the key at the collector ``url`` if it is due; return the new credential, or None without a change.

        ``reported_expires_at_s`` is the expiry in the last acknowledgement. It is needed for credentials of older
        versions, which do not contain the expiry.
        """
        try:
            credential = self._load_credential_with_expiry(now_s, reported_expires_at_s)
            self.key_state = KeyState(
                expires_at_s=credential.expires_at_s,
                error=self.key_state.error,
                failed_at_s=self.key_state.failed_at_s,
                failures=self.key_state.failures,
            )
            if not self._is_due(credential, now_s):
                return None
            unconfirmed_reason = rotate_key(self._state_dir, url=url)
            new_credential = self._state_dir.load_credential()
        except LeadlineError as error:
            self._record_failure(str(error), now_s)
            return None
        self.key_state = KeyState(expires_at_s=new_credential.expires_at_s)
        self._jitter, self._not_before_s = self._rng.random(), 0.0
        log.info("key rotated", extra={"expires_at_s": new_credential.expires_at_s, "not_used_yet": unconfirmed_reason})
        return new_credential

    def _load_credential_with_expiry(self, now_s: int, reported_expires_at_s: int | None) -> Credential:
        """Return the credential; complete and save its key times if they are missing and the expiry is known."""
        credential = self._state_dir.load_credential()
        expires_at_s = reported_expires_at_s if credential.expires_at_s is None else credential.expires_at_s
        if expires_at_s is None or (credential.expires_at_s is not None and credential.issued_at_s is not None):
            return credential
        with self._state_dir.lock_credential():
            if self._state_dir.load_credential() != credential:
                return self._state_dir.load_credential()
            completed = msgspec.structs.replace(credential, expires_at_s=expires_at_s, issued_at_s=now_s)
            self._state_dir.replace_credential(completed)
            return completed

    def _is_due(self, credential: Credential, now_s: int) -> bool:
        if credential.expires_at_s is None or credential.issued_at_s is None or now_s < self._not_before_s:
            return False
        return now_s >= compute_rotation_time_s(credential.issued_at_s, credential.expires_at_s, self._jitter)

    def _record_failure(self, reason: str, now_s: int) -> None:
        expires_at_s, failures = self.key_state.expires_at_s, self.key_state.failures + 1
        remaining_s = None if expires_at_s is None else expires_at_s - now_s
        retry_s = compute_retry_delay_s(remaining_s or 0, self._rng.random())
        self._not_before_s = now_s + retry_s
        self.key_state = KeyState(expires_at_s=expires_at_s, error=reason, failed_at_s=now_s, failures=failures)
        extra = {"reason": reason, "failures": failures, "left_s": remaining_s, "retry_s": round(retry_s)}
        log.error("key rotation failed: the key expires unless the cause is fixed", extra=extra)
