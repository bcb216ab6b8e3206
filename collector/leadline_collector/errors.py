"""Errors of the collector's domain. ``http/problems.py`` maps each class to an HTTP status and a problem document.

CollectorError
├── MalformedError              the bytes cannot be decoded
├── UnauthenticatedError        no valid key
├── ForbiddenError              the key does not permit this
│   └── SignatureError          a missing or wrong signature
├── NotFoundError               the requested item does not exist
├── ConflictError               the name or the minute is taken
│   └── BatchConflictError      the batch is stored with different bytes
├── InvalidRequestError         well-formed, but a value is wrong
├── TooLargeError               more bytes than accepted
├── SlowBodyError               the body took too long
├── UnsupportedEncodingError    unknown Content-Encoding
├── UnsupportedVersionError     a newer wire version
├── TooManyAttemptsError        wait before the next attempt
└── TryLaterError               the collector cannot do it now
"""

from __future__ import annotations

from leadline.errors import LeadlineError


class CollectorError(LeadlineError):
    """A request that the collector refuses; ``members`` are added to the problem document."""

    def __init__(self, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members = members


class MalformedError(CollectorError):
    """The bytes cannot be decoded."""


class UnauthenticatedError(CollectorError):
    """The request has no valid key; ``challenge`` is the WWW-Authenticate value (RFC 9110 §11.6.1), or None."""

    def __init__(self, detail: str, challenge: str | None = None) -> None:
        super().__init__(detail)
        self.challenge = challenge


class ForbiddenError(CollectorError):
    """The key is valid and does not permit this request."""


class SignatureError(ForbiddenError):
    """The signature or endorsement is missing or wrong."""


class NotFoundError(CollectorError):
    """The requested item does not exist."""


class ConflictError(CollectorError):
    """The name or the minute is already taken by other data."""


class BatchConflictError(ConflictError):
    """The batch is already stored with different bytes; members ``epoch`` and ``seq`` name it."""


class InvalidRequestError(CollectorError):
    """The request is well-formed and a value in it is wrong; member ``path`` names the value."""


class TooLargeError(CollectorError):
    """The body has more bytes than the collector accepts."""


class SlowBodyError(CollectorError):
    """The body did not arrive in time."""


class UnsupportedEncodingError(CollectorError):
    """The Content-Encoding is unknown."""


class UnsupportedVersionError(CollectorError):
    """The document has a newer wire version than this collector reads."""


class TooManyAttemptsError(CollectorError):
    """The client has to wait ``retry_after_s`` seconds before its next attempt."""

    def __init__(self, detail: str, retry_after_s: int) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class TryLaterError(CollectorError):
    """The collector cannot do it now; the client sends the request again after ``retry_after_s`` seconds."""

    def __init__(self, detail: str, retry_after_s: int, **members: object) -> None:
        super().__init__(detail, **members)
        self.retry_after_s = retry_after_s
