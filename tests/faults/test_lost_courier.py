"""Couriers killed with SIGKILL while facts are on their way: each arrives, and once."""

import asyncio
from collections import Counter
from datetime import UTC, datetime

from playhead_contracts.events import Actor, ChildEnded, EventMatched, EventReceived, NewEvent
from playhead_contracts.ids import EventId, ExecutionId, event_stream
from playhead_eventlog import GENESIS
from playhead_runtime.ids import derived_id
from tests.processes import Processes
from tests.system import TENANT, System, eventually

CHILD = """
id: settle
blocks:
  paid:
    type: wait
    events:
      - {type: order.paid, match: "event.data.order == input.order"}
      - {type: order.packed, match: "event.data.order == input.order"}
    need: all
    from: 0
    next: out
  out: {type: response, body: "{{ blocks.paid.events.map(e, e.data.n) }}"}
"""
PARENT = """
id: settle-all
blocks:
  fan:
    type: parallel
    count: 8
    blocks:
      sub: {type: workflow, workflow: settle, input: {order: "{{ input.name + string(parallel.index) }}"}}
output: "{{ blocks.fan.results.map(r, r.output) }}"
"""
PARENTS = 6
STRIKES = 4


async def receive(client: System, kind: str, order: str, n: int) -> None:
    event_id = EventId(derived_id(kind, order, str(n)))
    data = EventReceived(event_id=event_id, event_type=kind, source="/shop", content={"order": order, "n": n})
    new = NewEvent(
        id=event_id,
        data=data,
        tenant=TENANT,
        workflow_id=None,
        execution_id=None,
        actor=Actor(kind="system", name="shop"),
        recorded_at=datetime.now(UTC),
    )
    await client.log.append(event_stream(TENANT, event_id), GENESIS, [new])


async def carried(client: System) -> int:
    """How many facts have arrived."""
    return sum(raw.type in ("event.matched", "child.ended") for raw in await client.log.read_log(0, 100_000))


async def test_every_fact_arrives_once_however_often_the_courier_is_killed(client: System, services: Processes) -> None:
    await client.publish(CHILD)
    await client.publish(PARENT)
    await services.start("executor")
    struck = asyncio.Event()

    async def strikes() -> None:
        for strike in range(STRIKES):
            courier = await services.start("projector")

            async def at_work(least: int = 6 * (strike + 1)) -> bool:
                return await carried(client) >= least

            await eventually(at_work)
            await courier.kill()
        struck.set()
        await services.start("projector")

    async def work() -> list[ExecutionId]:
        parents = [await client.start(PARENT, {"name": f"p{number}-"}) for number in range(PARENTS)]
        for index in range(8):
            if index == 7:
                await struck.wait()  # so that something is left to be carried after the last strike
            for number in range(PARENTS):
                await receive(client, "order.paid", f"p{number}-{index}", 1)
                await receive(client, "order.packed", f"p{number}-{index}", 2)
                await receive(client, "order.packed", f"p{number}-{index}", 3)
        for parent in parents:
            await client.ended(parent, 120)
        return parents

    parents, _ = await asyncio.gather(work(), strikes())
    for parent in parents:
        state = await client.state(parent)
        assert (state.status, state.output) == ("completed", [[1, 2]] * 8)
        ended = [e.data for e in await client.events(parent) if isinstance(e.data, ChildEnded)]
        assert len(ended) == len({fact.child for fact in ended}) == 8
        for fact in ended:
            events = await client.events(fact.child)
            matched = Counter(e.data.event.number for e in events if isinstance(e.data, EventMatched))
            assert matched == {0: 1, 1: 1}
