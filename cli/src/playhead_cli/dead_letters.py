"""What was given up: commands to executors, commands of clients and events from outside. And sending it again."""

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from email.parser import BytesHeaderParser

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import AnyCommand
from playhead_contracts.errors import NotFound, Refused
from playhead_contracts.events import Json
from playhead_contracts.requests import ADMITTED, IDEMPOTENCY_HEADER, AnyRequest
from playhead_runtime.bus import Bus, BusRejected
from playhead_runtime.dead_letters import CALLER_HEADER, ERROR_HEADER, PROBLEM_HEADER, SUBJECT_HEADER
from playhead_runtime.ids import new_id

_COMMANDS = subjects.COMMANDS_FILTER.removesuffix(">")
_INBOX = subjects.INBOX_FILTER.removesuffix(">")
_NO_MESSAGE = 10037
_SEQUENCE_GONE = 10043

_decode_command = msgspec.json.Decoder(AnyCommand).decode


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one. `kind` is that of the command, or `event`; `command` is None if it cannot be read."""

    number: int
    subject: str
    kind: str
    command: AnyCommand | AnyRequest | None
    error: str
    problem: Json = None
    """What its sender was told."""
    failed_at: datetime

    @property
    def execution_id(self) -> str | None:
        return getattr(self.command, "execution_id", None)

    @property
    def failures(self) -> int:
        return getattr(self.command, "failures", 0) + 1


class Kept(msgspec.Struct, frozen=True):
    """A dead letter, and the message as it is kept; names of headers in lower case."""

    letter: DeadLetter
    data: bytes
    headers: Mapping[str, str]


class NoSuchLetter(NotFound):
    def __init__(self, number: int):
        super().__init__(f"there is no dead letter {number}; `playhead dlq list` shows those that are there")


class NotACommand(Refused):
    problem, title, status = "not-a-command", "The dead letter is not a command", 422

    def __init__(self, letter: DeadLetter):
        super().__init__(f"dead letter {letter.number} cannot be sent again: {letter.error}")


class KeyNotKept(Refused):
    problem, title, status = "key-not-kept", "The dead letter came with a key", 422

    def __init__(self, letter: DeadLetter):
        super().__init__(
            f"dead letter {letter.number} came with an API key, which is not kept: who sent it must send it again"
        )


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


async def dead_letters(bus: Bus) -> AsyncGenerator[Kept]:
    """All of them, oldest first. Raises BusUnavailable."""
    number = 1
    while (message := await _next_message(bus, number)) is not None:
        yield _kept(message)
        number = message.seq + 1


async def redrive(bus: Bus, kept: Kept) -> str:
    """Send it again to where it came from, and remove the dead letter. Gives the new id of the message.

    A crash in between leaves the letter there; twice does no harm. A client's command keeps its idempotency key. Raises
    NotACommand, KeyNotKept, BusUnavailable.
    """
    letter = kept.letter
    is_event = letter.subject.startswith(_INBOX)
    if not letter.subject or (letter.command is None and not is_event):
        raise NotACommand(letter)
    if CALLER_HEADER in kept.headers:
        raise KeyNotKept(letter)
    if is_event or isinstance(letter.command, AnyRequest):
        message_id = f"redrive:{new_id()}"
        data, headers = kept.data, _headers_again(kept.headers)
    else:
        assert letter.command is not None
        again = msgspec.structs.replace(letter.command, id=f"{letter.command.id}:redrive:{new_id()}", failures=0)
        message_id, data, headers = again.id, msgspec.json.encode(again), {}
    await bus.send(letter.subject, data, message_id, headers)
    await _api(bus, "STREAM.MSG.DELETE", {"seq": letter.number})
    return message_id


async def find_letters(bus: Bus, numbers: list[int]) -> list[Kept]:
    """The letters with these numbers; all when there are none. Raises NoSuchLetter, BusUnavailable."""
    found = {kept.letter.number: kept async for kept in dead_letters(bus)}
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


def _kept(message: _Message) -> Kept:
    parsed = BytesHeaderParser().parsebytes(message.hdrs.partition(b"\r\n")[2])
    headers = {name.lower(): str(value) for name, value in parsed.items()}
    subject = headers.get(SUBJECT_HEADER, "")
    letter = DeadLetter(
        number=message.seq,
        subject=subject,
        kind=message.subject.split(".", 3)[3],
        command=_command(subject, message.data),
        error=headers.get(ERROR_HEADER, ""),
        problem=_problem(headers.get(PROBLEM_HEADER)),
        failed_at=message.time,
    )
    return Kept(letter, message.data, headers)


def _command(subject: str, data: bytes) -> AnyCommand | AnyRequest | None:
    kind = ADMITTED.get(subject.rpartition(".")[2]) if subject.startswith(_COMMANDS) else None
    try:
        return _decode_command(data) if kind is None else msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _problem(text: str | None) -> Json:
    try:
        return None if text is None else msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None


def _headers_again(headers: Mapping[str, str]) -> dict[str, str]:
    """Those that belong to the message, and not to the dead letter."""
    key = IDEMPOTENCY_HEADER.lower()
    own = ("content-type", "traceparent", key)
    return {name: value for name, value in headers.items() if name.startswith("ce-") or name in own}
