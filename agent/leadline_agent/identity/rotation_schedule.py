"""When a running agent gets itself a new key: after half of the life of the one it has, so that an outage of the other
half of that time harms nobody.

Rule 1: ends are told by the collector and held against its clock, as the last acknowledgement showed it: a host whose
clock is wrong keeps its key all the same.
Rule 2: what fails is said loudly and tried again until the end; the key in use stays good meanwhile (``rotation``).
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

#: Of the key's life; the second is drawn by chance, so that agents enrolled together do not come back together.
ROTATION_START_SHARE, ROTATION_JITTER_SHARE = 0.5, 0.1
#: Tries in what is left of a life: an hour's key (the shortest) is tried every minute, one of 90 days every hour.
RETRIES_PER_LIFETIME = 24
RETRY_S_MIN, RETRY_S_MAX = 60.0, 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyState:
    """How the agent's key is; times are epoch seconds by the collector's clock."""

    #: None for a key without an end, or where nobody told it.
    expires_at_s: int | None = None
    #: Why the last try to rotate failed, and when; None after one that did not.
    error: str | None = None
    failed_at_s: int | None = None
    #: Tries that failed in a row.
    failures: int = 0


def compute_rotation_time_s(issued_at_s: int, expires_at_s: int, jitter: float) -> int:
    """When to rotate a key; ``share`` is in [0, 1)."""
    return issued_at_s + int((ROTATION_START_SHARE + jitter * ROTATION_JITTER_SHARE) * (expires_at_s - issued_at_s))


def compute_retry_delay_s(left_s: float, jitter: float) -> float:
    """How long to wait after a failure, so much before the end."""
    return (0.75 + jitter / 2) * min(RETRY_S_MAX, max(RETRY_S_MIN, left_s / RETRIES_PER_LIFETIME))


class RotationScheduler:
    """One running agent's care for its key. Belongs to one thread."""

    def __init__(self, state_dir: StateDirectory, rng: Random) -> None:
        self._state_dir, self._rng = state_dir, rng
        self._jitter = rng.random()
        self._not_before_s = 0.0
        self.key_state = KeyState()

    def rotate_if_due(self, url: str, now_s: int, reported_expires_at_s: int | None) -> Credential | None:
        """Rotate at the collector ``url`` if it is time; what to use from now on, None for what is in use.

        ``told_s`` is the end of the key in use as an acknowledgement told it: an agent of an older version, or a
        collector, may not have said it when the key was made.
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
            unused = rotate_key(self._state_dir, url=url)
            renewed = self._state_dir.load_credential()
        except LeadlineError as error:
            self._record_failure(str(error), now_s)
            return None
        self.key_state = KeyState(expires_at_s=renewed.expires_at_s)
        self._jitter, self._not_before_s = self._rng.random(), 0.0
        log.info("key rotated", extra={"expires_at_s": renewed.expires_at_s, "not_used_yet": unused})
        return renewed

    def _load_credential_with_expiry(self, now_s: int, told_s: int | None) -> Credential:
        """The credential, with the beginning and the end of its key as far as anybody knows them; kept."""
        credential = self._state_dir.load_credential()
        expires_at_s = told_s if credential.expires_at_s is None else credential.expires_at_s
        if expires_at_s is None or (credential.expires_at_s is not None and credential.issued_at_s is not None):
            return credential
        with self._state_dir.lock_credential():
            if self._state_dir.load_credential() != credential:
                return self._state_dir.load_credential()
            known = msgspec.structs.replace(credential, expires_at_s=expires_at_s, issued_at_s=now_s)
            self._state_dir.replace_credential(known)
            return known

    def _is_due(self, credential: Credential, now_s: int) -> bool:
        if credential.expires_at_s is None or credential.issued_at_s is None or now_s < self._not_before_s:
            return False
        return now_s >= compute_rotation_time_s(credential.issued_at_s, credential.expires_at_s, self._jitter)

    def _record_failure(self, reason: str, now_s: int) -> None:
        end_s, failures = self.key_state.expires_at_s, self.key_state.failures + 1
        left_s = None if end_s is None else end_s - now_s
        wait_s = compute_retry_delay_s(left_s or 0, self._rng.random())
        self._not_before_s = now_s + wait_s
        self.key_state = KeyState(expires_at_s=end_s, error=reason, failed_at_s=now_s, failures=failures)
        facts = {"reason": reason, "failures": failures, "left_s": left_s, "retry_s": round(wait_s)}
        log.error("key not rotated: it ends unless this is put right", extra=facts)
