"""Durations as people write them: `250ms`, `15m`, `1h30m`, `2d`, or ISO 8601 (`PT15M`, `P2D`)."""

import re
from datetime import timedelta

_NUMBER = r"(\d{1,15}(?:\.\d{1,9})?)"
_SHORT = re.compile(
    rf"(?:{_NUMBER}w)?(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m(?!s))?(?:{_NUMBER}s)?(?:{_NUMBER}ms)?"
)
_ISO = re.compile(
    rf"P(?:{_NUMBER}W)?(?:{_NUMBER}D)?(?:T(?=\d)(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?",
    re.IGNORECASE,
)
_ISO_CALENDAR = re.compile(r"P(?:\d+[YM])+[^T]*(?:T.*)?", re.IGNORECASE)
_UNITS = ("weeks", "days", "hours", "minutes", "seconds", "milliseconds")
_EXAMPLES = "write 250ms, 30s, 15m, 2h, 2d, 1h30m, or ISO 8601 such as PT15M"

LONGEST = timedelta(days=36_500)
"""A hundred years: any moment plus a duration is still a date."""


def parse_duration(text: str) -> timedelta:
    """The length of time that `text` names; never negative, at most `LONGEST`.

    Raises ValueError with a message that says how to write it.
    """
    written = text.strip()
    if re.fullmatch(r"[-+]?\d+(\.\d*)?", written):
        raise ValueError(f"a duration needs a unit: say {written.lstrip('+-')}s")
    if _ISO_CALENDAR.fullmatch(written):
        raise ValueError("years and months have no fixed length: say it in days")
    found = _SHORT.fullmatch(written) or _ISO.fullmatch(written)
    if found is None or not any(found.groups()):
        raise ValueError(f"{_shortened(text)} is not a duration: {_EXAMPLES}")
    amounts = {unit: float(amount) for unit, amount in zip(_UNITS, found.groups(), strict=False) if amount}
    try:
        duration = timedelta(**amounts)
    except OverflowError:
        duration = timedelta.max
    if duration > LONGEST:
        raise ValueError(f"{_shortened(text)} is longer than a hundred years")
    return duration


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
