"""Commands over the bus: how many are admitted and answered, what one client waits for, and how fast triggers start."""

import asyncio
from time import perf_counter

import msgspec

from playhead_bench.rig import TENANT, Rig, chain, rig
from playhead_bench.table import Figure, percentile_99
from playhead_contracts import subjects
from playhead_contracts.events import ExecutionCreated, Json
from playhead_contracts.requests import Answer, Receipt, Refused, Result
from playhead_runtime.bus import Message
from playhead_runtime.ids import new_id

COMMANDS = 2000
CALLS = 200
DOCUMENT = chain(1, "bench-pure")
TRIGGER: dict[str, Json] = {
    "id": "bench",
    "workflow": DOCUMENT["id"],
    "on": {"subject": "received.bench", "match": "event.data.n >= 0"},
}


async def measure_commands(runs: int) -> list[Figure]:
    """Commands `run` of any NATS client: many at once, with and without a result; and one at a time, to its result."""
    async with rig() as system:
        client = await system.serve_all()
        client.post("/v1/workflows", DOCUMENT, 201)
        client.post("/v1/triggers", TRIGGER, 201)
        await _answered(system, 50, "result")
        forgotten = [await _answered(system, COMMANDS, "receipt") for _ in range(runs)]
        answered = [await _answered(system, COMMANDS, "result") for _ in range(runs)]
        times = [await _one_by_one(system) for _ in range(runs)]
        started = [await _triggered(system) for _ in range(runs)]
    medians = tuple(each[CALLS // 2] for each in times)
    note = f"p99 {sorted(percentile_99(each) for each in times)[runs // 2]:.1f} ms"
    return [
        Figure("commands over NATS, admitted with receipt", "commands/s", tuple(forgotten), None),
        Figure("commands over NATS, to their results", "commands/s", tuple(answered), None),
        Figure(
            "command over NATS to its result, one by one, p50", "ms", medians, None, higher_is_better=False, note=note
        ),
        Figure("events over NATS that each start a workflow", "executions/s", tuple(started), None),
    ]


async def _answered(system: Rig, count: int, reply: str) -> float:
    """How many a second, from the first command to the last answer."""
    inbox, left, done = system.bus.new_inbox(), count, asyncio.Event()
    wanted = Result if reply == "result" else Receipt

    async def on_answer(message: Message) -> None:
        nonlocal left
        answer = msgspec.json.decode(message.data, type=Answer)
        assert not isinstance(answer, Refused), answer
        left -= isinstance(answer, wanted)
        if left == 0:
            done.set()

    subscription = await system.bus.listen(inbox, on_answer)
    began = perf_counter()
    for number in range(count):
        await system.bus.publish(_SUBJECT, _order(number, inbox, reply))
    await done.wait()
    took = perf_counter() - began
    await subscription.unsubscribe()
    return count / took


async def _one_by_one(system: Rig) -> list[float]:
    """Milliseconds from a command to its result, sorted."""
    inbox = system.bus.new_inbox()
    times: list[float] = []
    async with await system.bus.subscribe(inbox) as answers:
        messages = aiter(answers)
        for number in range(CALLS):
            began = perf_counter()
            await system.bus.publish(_SUBJECT, _order(number, inbox, "result"))
            while not isinstance(msgspec.json.decode((await anext(messages)).data, type=Answer), Result):
                continue
            times.append((perf_counter() - began) * 1000)
    return sorted(times)


async def _triggered(system: Rig) -> float:
    """Executions a second that begin because of events, from the first event to the last beginning."""
    position = await system.log.last_position()
    began = perf_counter()
    for number in range(COMMANDS):
        headers = {"ce-specversion": "1.0", "ce-id": new_id(), "ce-source": "/bench", "ce-type": "bench"}
        data = msgspec.json.encode({"n": number})
        await system.bus.publish(_INBOX, data, headers | {"ce-datacontenttype": "application/json"})
    seen = 0
    while seen < COMMANDS:
        raws = await system.log.read_log(position, 10_000)
        seen += sum(raw.type == ExecutionCreated.type_name() for raw in raws)
        position = raws[-1].position if raws else position
        if not raws:
            await asyncio.sleep(0.005)
    return COMMANDS / (perf_counter() - began)


_SUBJECT, _INBOX = subjects.command(TENANT, "run"), subjects.inbox(TENANT, "bench")


def _order(number: int, inbox: str, reply: str) -> bytes:
    return msgspec.json.encode(
        {"workflow_id": DOCUMENT["id"], "input": {"n": number}, "reply_to": inbox, "reply": reply}
    )
