"""What comes over the bus, and what can go wrong there."""

from collections.abc import Mapping

import msgspec

from playhead_contracts.errors import PlayheadError, Refused, Unavailable

NO_HEADERS: Mapping[str, str] = {}


class BusUnavailable(Unavailable):
    """The bus can not be reached, or does not take messages at the moment."""


class NobodyThere(BusUnavailable):
    """Nobody listens on the subject of a request."""

    def __init__(self, subject: str):
        super().__init__(f"nobody answers on {subject}")


class NoAnswer(BusUnavailable):
    """Somebody may have got the request, but no answer came: it may have had its effect."""


class NotAllowed(BusUnavailable):
    """The user of this connection may not publish there: somebody has to give it the right, or another user."""

    def __init__(self, subject: str):
        super().__init__(f"the bus does not let this user publish to {subject}")


class BusRejected(PlayheadError):
    """JetStream refused a message for what it is: a bug of ours, repeating does not help."""


class MessageTooLarge(Refused):
    """More bytes than the bus carries in one message (`max_payload` of its servers)."""

    problem, title, status = "too-large", "This is larger than the bus carries", 413


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message. `reply` is empty when nobody waits for an answer."""

    subject: str
    data: bytes
    reply: str
    headers: Mapping[str, str]
