"""Commands that no consumer takes, because there is no such command: found by looking, and refused like any other.

JetStream keeps them, for their subjects belong to the stream, and gives them to nobody.
"""

import asyncio
import logging
from base64 import b64decode
from contextlib import suppress
from email.parser import BytesHeaderParser

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import TaskResult
from playhead_contracts.errors import PlayheadError
from playhead_contracts.ids import TenantId
from playhead_contracts.requests import ADMITTED
from playhead_gateway.bus.commands import UnknownCommand
from playhead_gateway.bus.replies import NoSuchReply, answers_of
from playhead_gateway.problems import tell
from playhead_gateway.services import Services
from playhead_runtime.bus import Bus
from playhead_runtime.dead_letters import Letter, keep

log = logging.getLogger("playhead.gateway.bus")

LOOK_SECONDS = 5.0
_KNOWN = frozenset((*ADMITTED, TaskResult.kind()))
_UNKNOWN = "unknown"


class _Message(msgspec.Struct, frozen=True):
    subject: str
    seq: int
    data: str = ""
    hdrs: str = ""


class _Found(msgspec.Struct, frozen=True):
    message: _Message | None = None


class _State(msgspec.Struct, frozen=True):
    subjects: dict[str, int] | None = None


class _Info(msgspec.Struct, frozen=True):
    state: _State | None = None


class Strays:
    """Looks for them now and then. Two gateways that look at once do no harm: a letter is kept once."""

    def __init__(self, services: Services):
        self._services = services

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except PlayheadError as unavailable:
                log.info("strays not looked for", extra={"reason": str(unavailable)})

    async def look(self) -> int:
        """Refuse all that are there; returns how many."""
        bus, count = self._services.bus, 0
        for subject in await _subjects(bus):
            if _is_known(subject):
                continue
            while (message := await _first(bus, subject)) is not None:
                await self._refuse(message)
                count += 1
        return count

    async def _refuse(self, message: _Message) -> None:
        bus, data = self._services.bus, b64decode(message.data)
        parsed = BytesHeaderParser().parsebytes(b64decode(message.hdrs).partition(b"\r\n")[2])
        headers = {name.lower(): str(value) for name, value in parsed.items()}
        tenant, _, kind = message.subject.removeprefix("playhead.cmd.").partition(".")
        refused = UnknownCommand(kind)
        told = tell(refused, message.subject)
        name = headers.get("nats-msg-id") or f"stray:{message.seq}"
        letter = Letter(
            tenant=TenantId(tenant),
            kind=_UNKNOWN,
            data=data,
            error=str(refused),
            msg_id=f"dlq:stray:{message.seq}:{name}",
            subject=message.subject,
            problem=told.body,
        )
        await keep(bus, letter)
        with suppress(NoSuchReply):
            await answers_of(bus, headers, data, name).refused(told)
        body = msgspec.json.encode({"seq": message.seq})
        await bus.api(f"STREAM.MSG.DELETE.{subjects.COMMANDS_STREAM}", body)


def _is_known(subject: str) -> bool:
    parts = subject.split(".")
    return len(parts) == 4 and parts[3] in _KNOWN


async def _subjects(bus: Bus) -> list[str]:
    body = msgspec.json.encode({"subjects_filter": subjects.COMMANDS_FILTER})
    info = msgspec.json.decode(await bus.api(f"STREAM.INFO.{subjects.COMMANDS_STREAM}", body), type=_Info)
    return [] if info.state is None else list(info.state.subjects or ())


async def _first(bus: Bus, subject: str) -> _Message | None:
    body = msgspec.json.encode({"seq": 1, "next_by_subj": subject})
    raw = await bus.api(f"STREAM.MSG.GET.{subjects.COMMANDS_STREAM}", body)
    return msgspec.json.decode(raw, type=_Found).message
