"""The `Retry-After` header (RFC 9110, section 10.2.3)."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_SECONDS = 86_400.0
"""Nobody is obeyed for longer than a day."""


def retry_after_seconds(said: str | None) -> float | None:
    """How long the other side asks to be left alone: seconds, or a date; None if it says neither."""
    if said is None:
        return None
    if said.isascii() and said.isdecimal():
        return min(float(said), LONGEST_SECONDS)
    try:
        at = parsedate_to_datetime(said)
    except (ValueError, OverflowError):
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return min(max((at - datetime.now(UTC)).total_seconds(), 0.0), LONGEST_SECONDS)
