"""The words of the page: who, when, what was decided, and what is wrong with an answer."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from playhead_contracts.events import Actor, PauseAction
from playhead_engine.pauses.answering import actions_of
from playhead_engine.state import PauseState
from playhead_gateway.page.fields import named

_DONE = {"approve": "approved", "deny": "denied", "reject": "rejected", "accept": "accepted", "decline": "declined"}

_MISSING = re.compile(r'("(?:[^"\\]|\\.)*") is a required property')
_FAULTS = {
    r".* is shorter than (\d+) characters?": "must have at least {} characters",
    r".* is longer than (\d+) characters?": "must have at most {} characters",
    r".* is less than the minimum of (\S+)": "must be at least {}",
    r".* is less than or equal to the minimum of (\S+)": "must be more than {}",
    r".* is greater than the maximum of (\S+)": "must be at most {}",
    r".* is greater than or equal to the maximum of (\S+)": "must be less than {}",
    r".* is not a multiple of (\S+)": "must be a multiple of {}",
    r".* has less than (\d+) items?": "must have at least {}",
    r".* has more than (\d+) items?": "must have at most {}",
    r".* has non-unique elements": "must not have the same thing twice",
    r'.* is not a "date"': "must be a date, such as 2026-01-31",
    r'.* is not a "time"': "must be a time, such as 14:30",
    r'.* is not a "date-time"': "must be a date and a time, such as 2026-01-31T14:30",
    r'.* is not a "email"': "must be an e-mail address, such as name@example.com",
    r'.* is not a "uri"': "must be a web address, such as https://example.com",
    r'.* is not a "(\S+)"': "must be of the form “{}”",
    r'.* does not match "(.*)"': "does not have the form that is wanted ({})",
    r"true was expected": "must be ticked",
    r'.* is not of type "(\S+)"': "must be of type {}",
    r".* is not valid under any of .*": "does not fit any of what is possible here",
}
_LONGEST_DETAIL = 200
"""What is longer quotes the value itself."""
_WORDS = [(re.compile(pattern, re.DOTALL), words) for pattern, words in _FAULTS.items()]


def fault_words(detail: str) -> str:
    """What a fault of a schema means for whoever fills in the form."""
    if missing := _MISSING.fullmatch(detail):
        return f"“{named(json.loads(missing[1]))}” is missing"
    for pattern, words in _WORDS:
        if found := pattern.fullmatch(detail):
            return words.format(*found.groups())
    return detail if len(detail) <= _LONGEST_DETAIL else "does not fit"


def sentence(text: str) -> str:
    """With a capital letter at its beginning."""
    return text[:1].upper() + text[1:]


def moment(at: datetime) -> str:
    """A moment to the minute, in UTC."""
    at = at.astimezone(UTC)
    return f"{at.day} {at:%B %Y, %H:%M} UTC"


def left(until: datetime, now: datetime) -> str:
    """How much time there is, roughly: `in 3 hours`."""
    seconds = (until - now).total_seconds()
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length or (unit == "minute" and seconds >= length):
            count = int(seconds // length)
            return f"in {count} {unit}{'' if count == 1 else 's'}"
    return "in less than a minute" if until - now > timedelta(0) else "now"


def who(actor: Actor | None, me: Actor | None = None) -> str:
    """Who did something, as it stands at the beginning of a sentence."""
    if actor is None:
        return "Somebody"
    if me is not None and actor.name == me.name:
        return "You"
    match actor.kind:
        case "system":
            return "Playhead"
        case "person" if actor.name.startswith("link:"):
            return "Somebody with a link"
        case _:
            return actor.name


def action_label(action: PauseAction) -> str:
    """What stands on the button of an action."""
    return action.label or named(action.name)


def label_of(pause: PauseState, name: str | None) -> str:
    """What the action of this name is called."""
    action = actions_of(pause).get(name or "")
    return action_label(action) if action is not None else named(name or "answered")


def decided(pause: PauseState, name: str | None) -> str:
    """What somebody did who took this action: `approved this`, or `chose “Send to legal”`."""
    if name is None:
        return "answered this"
    action = actions_of(pause).get(name)
    is_named = action is not None and action.label is not None and action.label.lower() != name
    return f"chose “{label_of(pause, name)}”" if is_named or name not in _DONE else f"{_DONE[name]} this"


def names(people: Sequence[str]) -> str:
    """`ann, ben and everybody in finance`."""
    told = [_person(name) for name in people]
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"


def _person(name: str) -> str:
    kind, is_kind, rest = name.partition(":")
    if is_kind and kind == "group":
        return f"everybody in {rest}"
    if is_kind and kind == "scope":
        return f"everybody who has {rest}"
    return rest if is_kind and kind == "user" else name
