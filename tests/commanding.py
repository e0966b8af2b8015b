"""A client on the bus for tests: sends commands as any NATS client would, and hears the answers."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from playhead_contracts import subjects
from playhead_contracts.ids import ExecutionId, TenantId
from playhead_contracts.requests import Answer, Receipt, Refused, Result
from playhead_runtime.bus import Bus
from playhead_runtime.ids import new_id
from playhead_runtime.subscription import Subscription
from tests.system import eventually

Letter = tuple[str, dict[str, str], bytes]
"""Subject, headers with names in lower case, and body."""


class Commander:
    """Sends for one tenant; all answers come on one subject. Made by `commander`."""

    def __init__(self, bus: Bus, tenant: str, inbox: str, subscription: Subscription):
        self._bus = bus
        self._tenant = TenantId(tenant)
        self._messages = aiter(subscription)
        self.inbox = inbox

    async def send(self, kind: str, body: object, headers: dict[str, str] | None = None) -> None:
        """Publish one command; answers are wanted."""
        data = body if isinstance(body, bytes) else msgspec.json.encode({"reply_to": self.inbox} | body)  # type: ignore
        await self._bus.send(subjects.command(self._tenant, kind), data, new_id(), headers)

    async def ask(self, kind: str, body: object, headers: dict[str, str] | None = None) -> Receipt | Refused | Result:
        """The first answer to a command."""
        await self.send(kind, body, headers)
        return await self.heard()

    async def heard(self, seconds: float = 30.0) -> Answer:
        """The next answer, to whichever command."""
        message = await asyncio.wait_for(anext(self._messages), seconds)
        return msgspec.json.decode(message.data, type=Answer)

    async def receipt(self) -> Receipt:
        answer = await self.heard()
        assert isinstance(answer, Receipt), answer
        return answer

    async def result(self) -> Result:
        answer = await self.heard()
        assert isinstance(answer, Result), answer
        return answer

    async def refused(self) -> Refused:
        answer = await self.heard()
        assert isinstance(answer, Refused), answer
        return answer


@asynccontextmanager
async def commander(bus: Bus, tenant: str = "acme") -> AsyncGenerator[Commander]:
    inbox = bus.new_inbox()
    async with await bus.subscribe(inbox) as subscription:
        yield Commander(bus, tenant, inbox, subscription)


async def letters(bus: Bus, count: int) -> list[Letter]:
    """The first dead letters, as `playhead dlq` finds them."""
    from base64 import b64decode
    from email.parser import BytesHeaderParser

    async def arrived() -> bool:
        return await messages_in(bus, subjects.DEAD_LETTERS_STREAM) >= count

    await eventually(arrived)
    found: list[Letter] = []
    for number in range(1, count + 1):
        raw = await bus.api(f"STREAM.MSG.GET.{subjects.DEAD_LETTERS_STREAM}", msgspec.json.encode({"seq": number}))
        message = msgspec.json.decode(raw)["message"]
        parsed = BytesHeaderParser().parsebytes(b64decode(message.get("hdrs", "")).partition(b"\r\n")[2])
        headers = {name.lower(): str(value) for name, value in parsed.items()}
        found.append((message["subject"], headers, b64decode(message.get("data", ""))))
    return found


async def messages_in(bus: Bus, stream: str) -> int:
    """How many messages a stream holds."""
    info: Any = msgspec.json.decode(await bus.api(f"STREAM.INFO.{stream}", b""))
    return int(info["state"]["messages"])


def execution_in(answer: Receipt | Result) -> ExecutionId:
    """The execution that an answer is about."""
    return ExecutionId(answer.body["execution_id"])
