"""How a caller wants to be answered: as the body says, else `Accept`, else `Prefer` (RFC 7240), else as is usual."""

import re
from collections.abc import Mapping

import msgspec

from playhead_contracts.events import Mode

EVENT_STREAM = "text/event-stream"

_MOST_SECONDS = 86_400
_QUALITY = re.compile(r"q\s*=\s*0(\.0{0,3})?")


class Manner(msgspec.Struct, frozen=True):
    """How to answer. `wait_seconds` is how long the caller wants a sync call to wait, None if they do not say."""

    mode: Mode
    wait_seconds: float | None = None
    applied: str | None = None
    """Which preferences counted: the header `Preference-Applied`."""

    def wait_at_most(self, limit_seconds: float) -> float:
        """How long a sync call waits."""
        return limit_seconds if self.wait_seconds is None else min(self.wait_seconds, limit_seconds)


def manner_wanted(body_mode: Mode | None, headers: Mapping[str, str], otherwise: Mode) -> Manner:
    """What was asked for. `headers` have names in lower case; those that cannot be read are no preference.

    `respond-async` together with `wait` means what RFC 7240 says (4.3): sync for so long, async if it takes longer.
    """
    preferences = _preferences(headers.get("prefer", ""))
    wait = _seconds(preferences.get("wait"))
    mode = body_mode
    if mode is None and _accepts_events(headers.get("accept", "")):
        mode = "stream"
    prefers_async = mode is None and "respond-async" in preferences
    if mode is None:
        mode = otherwise if not prefers_async else "sync" if wait else "async"
    applied = ["respond-async"] if prefers_async else []
    if mode != "sync":
        return Manner(mode, None, ", ".join(applied) or None)
    applied += [] if wait is None else [f"wait={wait}"]
    return Manner(mode, wait, ", ".join(applied) or None)


def mode_wanted(body_mode: Mode | None, headers: Mapping[str, str], otherwise: Mode) -> Mode:
    """The mode alone of `manner_wanted`."""
    return manner_wanted(body_mode, headers, otherwise).mode


def _preferences(header: str) -> dict[str, str]:
    """The preferences of a header by name; the first of a name counts. Parameters are passed over."""
    found: dict[str, str] = {}
    for preference in header.split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found


def _seconds(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdigit()):
        return None
    return min(int(text[:9]), _MOST_SECONDS)


def _accepts_events(header: str) -> bool:
    """Whether a caller names server-sent events; `*/*` does not, for everybody sends it."""
    for media_range in header.split(","):
        media_type, *parameters = media_range.split(";")
        if media_type.strip().lower() == EVENT_STREAM:
            return not any(_QUALITY.fullmatch(parameter.strip().lower()) for parameter in parameters)
    return False
