"""Sending what triggers start, as commands like those of any client, until a gateway has said what became of each.

A command can be lost (a wiped bus) and so can its answer: so it is sent again, later and later, under the idempotency
key that follows from its event. The gateway that gets it twice finds the execution that it made, and says so.
"""

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from playhead_contracts import subjects
from playhead_contracts.requests import IDEMPOTENCY_HEADER, REPLY_TO_HEADER, TRIGGERED, Answer, Receipt, Refused
from playhead_engine.triggers import key_of_run
from playhead_projector.triggering.store import DueFiring, FiringId, Settled, TriggerStore
from playhead_runtime.bus import Bus, Message, MessageTooLarge, Subscription
from playhead_runtime.dead_letters import Letter, keep
from playhead_runtime.ids import derived_id, new_id

log = logging.getLogger("playhead.projector.triggers")

AT_ONCE = 200
AGAIN_SECONDS = 10.0
AGAIN_AT_MOST_SECONDS = 600.0
_MOST_OF_ERROR = 1000
_KIND = "trigger"

_decode = msgspec.json.Decoder(Answer).decode


class Sending:
    """Sends what is due, and notes the answers. Made anew by each runner that works."""

    def __init__(self, bus: Bus):
        self._bus = bus
        self._inbox = bus.new_inbox()
        self._asked: dict[str, FiringId] = {}
        self._heard: list[Settled] = []
        self._subscription: Subscription | None = None

    async def open(self) -> None:
        """Begin to listen."""
        self._subscription = await self._bus.listen(self._inbox, self._on_answer)

    async def close(self) -> None:
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    @property
    def waits_for(self) -> int:
        """How many commands were sent whose answers have not been heard."""
        return len(self._asked)

    async def do(self, store: TriggerStore) -> bool:
        """Note what was heard and send what is due; says whether there may be more. Raises BusUnavailable."""
        await self.note(store)
        due = await store.due(AT_ONCE)
        commands = [firing for firing in due if not firing.is_failed]
        letters = [firing for firing in due if firing.is_failed]
        if letters:
            await asyncio.gather(*(self._keep(letter) for letter in letters))
            await store.told(letter.id for letter in letters)
        if commands:
            await self._send_all(store, commands)
        return len(due) == AT_ONCE

    async def note(self, store: TriggerStore) -> None:
        """Write down what gateways have said."""
        heard, self._heard = self._heard, []
        if heard:
            await store.settle(heard)

    async def _send_all(self, store: TriggerStore, commands: Sequence[DueFiring]) -> None:
        # Noted first: an answer may be here before the next statement.
        await store.sent((command.id for command in commands), AGAIN_SECONDS, AGAIN_AT_MOST_SECONDS)
        await asyncio.gather(*(self._send(command) for command in commands))

    async def _send(self, command: DueFiring) -> None:
        tenant, trigger_id, key = command.id
        name = derived_id(_KIND, tenant, trigger_id, key)
        self._asked[name] = command.id
        headers = {IDEMPOTENCY_HEADER: key_of_run(trigger_id, key), REPLY_TO_HEADER: self._inbox}
        order = msgspec.json.decode(command.message)
        if (traceparent := order.pop("traceparent", None)) is not None:
            headers["traceparent"] = traceparent
        data = msgspec.json.encode({**order, "id": name})
        try:
            # Each time under another id: a command that JetStream takes for a repeat would not be answered.
            await self._bus.send(subjects.command(tenant, TRIGGERED), data, new_id(), headers)
        except MessageTooLarge as too_large:
            del self._asked[name]
            self._heard.append(Settled(command.id, None, str(too_large)))
            await self._keep(msgspec.structs.replace(command, message=_without_input(order), error=str(too_large)))

    async def _keep(self, firing: DueFiring) -> None:
        tenant, trigger_id, key = firing.id
        letter = Letter(
            tenant=tenant,
            kind=_KIND,
            data=firing.message.encode(),
            error=firing.error or "",
            msg_id=f"dlq:{_KIND}:{derived_id(tenant, trigger_id, key)}",
        )
        await keep(self._bus, letter)

    async def _on_answer(self, message: Message) -> None:
        try:
            answer = _decode(message.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        about = self._asked.pop(answer.command_id, None)
        match answer:
            case Receipt() if about is not None:
                self._heard.append(Settled(about, str(answer.body["execution_id"])))
            case Refused() if about is not None:
                detail = str(answer.problem.get("detail") or answer.problem.get("title"))
                self._heard.append(Settled(about, None, detail[:_MOST_OF_ERROR]))
            case _:
                log.debug("answer to nothing", extra={"command": answer.command_id})


def _without_input(order: dict[str, object]) -> str:
    return msgspec.json.encode({name: order[name] for name in ("workflow_id", "trigger") if name in order}).decode()
