"""Gateways and projectors killed with SIGKILL with commands in their hands: each counts once, and is answered."""

import asyncio
from collections import Counter
from datetime import UTC, datetime

import msgspec

from playhead_contracts import subjects
from playhead_contracts.events import Actor, EventReceived, ExecutionCreated, NewEvent, TriggerPublished
from playhead_contracts.ids import EventId, StreamId, event_stream, trigger_stream
from playhead_contracts.requests import Result
from playhead_eventlog import GENESIS
from playhead_runtime.embedded_nats import free_port
from playhead_runtime.ids import derived_id
from tests.commanding import commander, messages_in
from tests.processes import Processes, Service
from tests.system import TENANT, System, eventually

WORK = """
id: work
blocks:
  pause: {type: wait, for: 300ms, next: a}
  a: {type: function, code: "inputs['n']", inputs: {n: "{{ input.n }}"}}
output: "{{ blocks.a.result }}"
"""
TRIGGER = {
    "id": "on-order",
    "workflow": "work",
    "on": {"subject": "received.order"},
    "input": {"n": "{{ event.data }}"},
}
COMMANDS = 100
EVENTS = 100
STRIKES = 2


async def begun(client: System) -> list[ExecutionCreated]:
    """Every beginning in the log."""
    found = [raw.decode().data for raw in await client.log.read_log(0, 100_000) if raw.type == "execution.created"]
    return [each for each in found if isinstance(each, ExecutionCreated)]


async def gateway(services: Processes) -> Service:
    return await services.start(
        "gateway", host="127.0.0.1", port=free_port(), open_tenant=TENANT, command_lease_seconds=1
    )


async def test_a_command_is_one_execution_and_is_answered_however_often_gateways_are_killed(
    client: System, services: Processes
) -> None:
    await client.publish(WORK)
    await services.start("executor")
    results: dict[str, Result] = {}
    answers = Counter[str]()

    async def strikes() -> None:
        for strike in range(STRIKES):
            mortal = await gateway(services)

            async def at_work(least: int = 30 * (strike + 1)) -> bool:
                return len(await begun(client)) >= least

            await eventually(at_work)
            await mortal.kill()
        await gateway(services)

    async with commander(client.bus, TENANT) as sender:

        async def send() -> None:
            for number in range(COMMANDS):
                # Every second one gives itself an id; what tells the others apart is their message alone.
                named = {"id": f"c-{number}"} if number % 2 else {}
                order = {"workflow_id": "work", "input": {"n": number}, "reply_to": sender.inbox} | named
                await client.bus.send(subjects.command(TENANT, "run"), msgspec.json.encode(order), f"m-{number}")
                if number % 30 == 0:
                    await asyncio.sleep(0.05)

        async def listen() -> None:
            while len(results) < COMMANDS:
                answer = await sender.heard(60)
                answers[type(answer).__name__] += 1
                if isinstance(answer, Result):
                    results[answer.command_id] = answer

        await asyncio.gather(strikes(), send(), listen())
    assert answers["Refused"] == 0
    assert answers["Receipt"] >= COMMANDS
    assert sorted(each.body["output"] for each in results.values()) == list(range(COMMANDS))
    assert sorted(each.input["n"] for each in await begun(client)) == list(range(COMMANDS))
    assert await messages_in(client.bus, subjects.DEAD_LETTERS_STREAM) == 0

    async def all_acked() -> bool:
        return await messages_in(client.bus, subjects.COMMANDS_STREAM) == 0

    await eventually(all_acked)


async def test_an_event_starts_one_execution_however_often_gateways_and_projectors_are_killed(
    client: System, services: Processes
) -> None:
    await client.publish(WORK)
    published = TriggerPublished(trigger_id="on-order", trigger_version=1, digest="d", document=TRIGGER)
    await append(client, trigger_stream(TENANT, "on-order"), EventId(derived_id("trigger")), published)
    await services.start("executor")

    async def receive() -> None:
        for number in range(EVENTS):
            event_id = EventId(derived_id("order", str(number)))
            data = EventReceived(event_id=str(number), event_type="order", source="/shop", content=number)
            await append(client, event_stream(TENANT, event_id), event_id, data)

    async def strikes() -> None:
        for strike in range(STRIKES):
            mortals = [await gateway(services), await services.start("projector")]

            async def at_work(least: int = 30 * (strike + 1)) -> bool:
                return len(await begun(client)) >= least

            await eventually(at_work)
            await asyncio.gather(*(mortal.kill() for mortal in mortals))
        await gateway(services)
        await services.start("projector")

    await asyncio.gather(receive(), strikes())

    async def all_begun() -> bool:
        return len(await begun(client)) >= EVENTS

    await eventually(all_begun)
    found = await begun(client)
    assert sorted(each.input["n"] for each in found) == list(range(EVENTS))
    assert len({each.trigger.event_id for each in found if each.trigger}) == EVENTS
    assert await messages_in(client.bus, subjects.DEAD_LETTERS_STREAM) == 0


async def append(client: System, stream: StreamId, event_id: EventId, data: EventReceived | TriggerPublished) -> None:
    new = NewEvent(
        id=event_id,
        data=data,
        tenant=TENANT,
        workflow_id=None,
        execution_id=None,
        actor=Actor(kind="system", name="shop"),
        recorded_at=datetime.now(UTC),
    )
    await client.log.append(stream, GENESIS, [new])
