"""Telling the sender of a message what became of it, on the subject that it asked for.

Not on the reply subject of NATS: there JetStream itself says that it has stored the message.
"""

import re
from collections.abc import Mapping

import msgspec

from playhead_contracts.errors import Fault, InvalidInput
from playhead_contracts.pointers import pointer
from playhead_contracts.requests import REPLY_TO_HEADER, Receipt, Refused, Result
from playhead_gateway.handlers.listening import Reply, links_of
from playhead_gateway.problems import Told
from playhead_runtime.bus import Bus, MessageTooLarge

_SUBJECT = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")
_LONGEST = 255
_OURS = ("playhead.", "$")
_TOO_LARGE = 413

_encode = msgspec.json.Encoder().encode


class NoSuchReply(InvalidInput):
    problem, title = "invalid-reply-to", "Answers cannot go there"


class _Loose(msgspec.Struct, frozen=True):
    """As much of a message as says whom to tell, even if nothing else of it can be read."""

    id: str | None = None
    reply_to: str | None = None


class Answers:
    """Where the answers to one message go; nowhere, if nobody asked for any."""

    def __init__(self, bus: Bus, command_id: str, subject: str | None):
        self._bus = bus
        self._command_id = command_id
        self._subject = subject

    @property
    def are_wanted(self) -> bool:
        return self._subject is not None

    async def receipt(self, reply: Reply, *, repeated: bool) -> None:
        """It is recorded."""
        await self._tell(
            Receipt(command_id=self._command_id, status=reply.status, body=reply.body, repeated=repeated), reply.body
        )

    async def result(self, reply: Reply) -> None:
        """This came of it."""
        await self._tell(Result(command_id=self._command_id, status=reply.status, body=reply.body), reply.body)

    async def refused(self, told: Told) -> None:
        """Nothing was recorded."""
        problem = msgspec.json.decode(told.body)
        await self._tell(Refused(command_id=self._command_id, status=told.status, problem=problem), None)

    async def _tell(self, answer: Receipt | Result | Refused, body: object) -> None:
        if self._subject is None:
            return
        try:
            await self._bus.publish(self._subject, _encode(answer))
        except MessageTooLarge:
            if isinstance(answer, Refused):
                short = msgspec.structs.replace(answer, problem={**answer.problem, "errors": []})
            else:
                short = msgspec.structs.replace(answer, status=_TOO_LARGE, body=_shortened(body))
            await self._bus.publish(self._subject, _encode(short))


def answers_of(bus: Bus, headers: Mapping[str, str], data: bytes, otherwise: str) -> Answers:
    """Where answers to a message go, and under which id: `otherwise`, if it gives itself none.

    Raises NoSuchReply. The body's own words go before the header.
    """
    try:
        said = msgspec.json.decode(data, type=_Loose)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = _Loose()
    subject = said.reply_to or headers.get(REPLY_TO_HEADER.lower())
    if subject is not None:
        _check(subject)
    return Answers(bus, said.id or otherwise, subject)


def _check(subject: str) -> None:
    if len(subject) > _LONGEST or not subject.isascii() or not _SUBJECT.fullmatch(subject):
        detail = "should be a subject of NATS without wildcards"
    elif subject.casefold().startswith(_OURS):
        detail = "this subject is not one for answers: subscribe to one of your own, such as _INBOX.<something>"
    else:
        return
    raise NoSuchReply("answers cannot go there", errors=[Fault(pointer("reply_to"), detail)])


def _shortened(body: object) -> object:
    """What says where to get the whole."""
    members = msgspec.to_builtins(body)
    kept = {name: members[name] for name in ("execution_id", "workflow_id", "version", "status") if name in members}
    return kept | {"links": links_of(kept["execution_id"])} if "execution_id" in kept else kept
