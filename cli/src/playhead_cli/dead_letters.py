"""Commands that were given up, and sending them again."""

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from email.parser import BytesHeaderParser

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import AnyCommand
from playhead_contracts.errors import NotFound, Refused
from playhead_runtime.bus import Bus, BusRejected
from playhead_runtime.ids import new_id

_NO_MESSAGE = 10037
_SEQUENCE_GONE = 10043

_decode_command = msgspec.json.Decoder(AnyCommand).decode


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One command that kept failing. `command` is None when it could not even be read."""

    number: int
    subject: str
    command: AnyCommand | None
    error: str
    failed_at: datetime


class NoSuchLetter(NotFound):
    def __init__(self, number: int):
        super().__init__(f"there is no dead letter {number}; `playhead dlq list` shows those that are there")


class NotACommand(Refused):
    problem, title, status = "not-a-command", "The dead letter is not a command", 422

    def __init__(self, letter: DeadLetter):
        super().__init__(f"dead letter {letter.number} cannot be sent again: {letter.error}")


class _Message(msgspec.Struct):
    subject: str
    seq: int
    time: datetime
    data: bytes = b""
    hdrs: bytes = b""


class _ApiError(msgspec.Struct):
    code: int
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct):
    message: _Message | None = None
    error: _ApiError | None = None


async def dead_letters(bus: Bus) -> AsyncGenerator[DeadLetter]:
    """All of them, oldest first. Raises BusUnavailable."""
    number = 1
    while (message := await _next_message(bus, number)) is not None:
        yield _letter(message)
        number = message.seq + 1


async def redrive(bus: Bus, letter: DeadLetter) -> str:
    """Send the command again to where it came from, and remove the dead letter. Gives the new id of the command.

    A crash in between leaves the letter there; the command twice does no harm. Raises NotACommand, BusUnavailable.
    """
    if letter.command is None or not letter.subject:
        raise NotACommand(letter)
    again = msgspec.structs.replace(letter.command, id=f"{letter.command.id}:redrive:{new_id()}", failures=0)
    await bus.send(letter.subject, msgspec.json.encode(again), again.id)
    await _api(bus, "STREAM.MSG.DELETE", {"seq": letter.number})
    return again.id


async def find_letters(bus: Bus, numbers: list[int]) -> list[DeadLetter]:
    """The letters with these numbers; all when there are none. Raises NoSuchLetter, BusUnavailable."""
    found = {letter.number: letter async for letter in dead_letters(bus)}
    if not numbers:
        return list(found.values())
    for number in numbers:
        if number not in found:
            raise NoSuchLetter(number)
    return [found[number] for number in numbers]


async def _next_message(bus: Bus, number: int) -> _Message | None:
    wanted = {"seq": number, "next_by_subj": subjects.DEAD_LETTERS_FILTER}
    return (await _api(bus, "STREAM.MSG.GET", wanted)).message


async def _api(bus: Bus, call: str, body: Mapping[str, object]) -> _Answer:
    raw = await bus.api(f"{call}.{subjects.DEAD_LETTERS_STREAM}", msgspec.json.encode(body))
    answer = msgspec.json.decode(raw, type=_Answer)
    if answer.error is not None and answer.error.err_code not in (_NO_MESSAGE, _SEQUENCE_GONE):
        raise BusRejected(f"{subjects.DEAD_LETTERS_STREAM}: {answer.error.description} ({answer.error.err_code})")
    return answer


def _letter(message: _Message) -> DeadLetter:
    headers = BytesHeaderParser().parsebytes(message.hdrs.partition(b"\r\n")[2])
    try:
        command = _decode_command(message.data)
    except msgspec.DecodeError:
        command = None
    return DeadLetter(
        number=message.seq,
        subject=str(headers.get("playhead-subject", "")),
        command=command,
        error=str(headers.get("playhead-error", "")),
        failed_at=message.time,
    )
