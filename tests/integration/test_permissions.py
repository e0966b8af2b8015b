"""The users of `deploy/nats.conf`: the system works with them, and each is refused what is not its own."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from playhead_eventlog.stopping import stop_tasks
from playhead_runtime.bus import BusUnavailable, Message, NotAllowed, connect_bus
from playhead_runtime.ids import new_id
from tests.conftest import Database
from tests.consuming import Consumer
from tests.door import TENANT, gateway, publish
from tests.secured import OUTSIDE, PREFIXES, SecuredNats
from tests.system import eventually, executor, hitl, projector

API = "PLAYHEAD.API"
"""What those outside say in place of `$JS.API`."""

WORK = """
id: work
blocks:
  ask:
    type: human
    message: "Pay?"
    form: {type: object, required: [approved], properties: {approved: {type: boolean}}}
    next: count
  count: {type: task, task: word-count, timeout: 1m, next: tell}
  tell: {type: publish, event: counted, data: {n: "{{ blocks.count.n }}"}}
output: {n: "{{ blocks.count.n }}"}
"""


@pytest.fixture
async def nats(data: Path) -> AsyncGenerator[SecuredNats]:
    server = SecuredNats(data)
    await server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
async def door(database: Database, nats: SecuredNats) -> AsyncGenerator[httpx.AsyncClient]:
    """All services, each as its own user."""
    url = database.service_url
    gateway_settings: dict[str, Any] = nats.settings("gateway")
    async with (
        projector(url, **nats.settings("projector")),
        executor(url, **nats.settings("executor")),
        hitl(url, **nats.settings("hitl")),
        gateway(url, **gateway_settings) as client,
    ):
        await publish(client, WORK)
        yield client


async def test_an_execution_goes_from_a_command_to_its_end_each_part_as_its_own_user(
    nats: SecuredNats, door: httpx.AsyncClient, tmp_path: Path
) -> None:
    consumer = Consumer("python", tmp_path, TENANT, nats.url("consumer"), str(door.base_url), **_consumer_environ())
    await consumer.start()
    working = asyncio.create_task(_work(nats))
    try:
        async with nats.connect("client") as client:
            inbox = client.new_inbox()
            async with await client.subscribe(inbox) as answers:
                said = aiter(answers)
                run = {"workflow_id": "work", "mode": "sync", "reply_to": inbox}
                await client.send(f"playhead.cmd.{TENANT}.run", msgspec.json.encode(run), new_id())
                receipt, paused = await _said(said), await _said(said)
                assert (receipt["type"], paused["type"]) == ("receipt", "result")
                body = paused["body"]
                assert body["status"] == "paused"
                answer = {
                    "execution_id": body["execution_id"],
                    "pause_id": body["pauses"][0]["pause_id"],
                    "input": {"approved": True},
                    "reply_to": inbox,
                }
                await client.send(f"playhead.cmd.{TENANT}.resume", msgspec.json.encode(answer), new_id())
                receipt = await _said(said)
                assert receipt["type"] == "receipt", receipt
                ended = (await _said(said))["body"]
                assert (ended["status"], ended["output"]) == ("completed", {"n": 3})

        async def has_followed() -> bool:
            return (await consumer.shown())["workflows"] == {"work": {"completed": 1}}

        await eventually(has_followed, every=0.2)
        assert "again soon" not in consumer.said()
    finally:
        await stop_tasks(working)
        await consumer.kill()


async def test_what_a_service_lacks_after_a_wiped_bus_the_projector_makes(
    nats: SecuredNats, door: httpx.AsyncClient
) -> None:
    async with nats.connect("operator") as operator:
        for stream in ("PLAYHEAD_COMMANDS", "PLAYHEAD_TASKS", "PLAYHEAD_EVENTS", "PLAYHEAD_DLQ"):
            await operator.api(f"STREAM.DELETE.{stream}", b"")

        async def runs_again() -> bool:
            response = await door.post("/v1/workflows/work/executions", json={})
            return response.status_code == 200 and response.json()["status"] == "paused"

        await eventually(runs_again, every=0.2)


MAY_NOT = {
    "gateway": [
        "playhead.evt.acme.w.block.completed",
        "playhead.cmd.acme.run",
        "playhead.task.acme.word-count",
        "playhead.timer.acme.x",
        "$JS.API.STREAM.CREATE.PLAYHEAD_COMMANDS",
        "$JS.API.STREAM.DELETE.PLAYHEAD_COMMANDS",
        "$JS.API.STREAM.PURGE.PLAYHEAD_COMMANDS",
        "$JS.API.STREAM.MSG.GET.PLAYHEAD_EVENTS",
        "$JS.API.CONSUMER.MSG.NEXT.PLAYHEAD_COMMANDS.executor",
        "$JS.API.CONSUMER.CREATE.PLAYHEAD_COMMANDS.executor",
        "$JS.API.CONSUMER.DELETE.PLAYHEAD_COMMANDS.admission",
        "$JS.ACK.PLAYHEAD_COMMANDS.executor.1.1.1.1.0",
    ],
    "executor": [
        "playhead.evt.acme.w.block.completed",
        "playhead.cmd.acme.run",
        "playhead.in.acme.paid",
        "playhead.rpc.hitl.answer",
        "$JS.API.STREAM.CREATE.PLAYHEAD_COMMANDS",
        "$JS.API.STREAM.PURGE.PLAYHEAD_EVENTS",
        "$JS.API.CONSUMER.MSG.NEXT.PLAYHEAD_COMMANDS.admission",
        "$JS.API.CONSUMER.MSG.NEXT.PLAYHEAD_TASKS.worker-acme-word-count",
        "$JS.ACK.PLAYHEAD_INBOX.inbox.1.1.1.1.0",
    ],
    "hitl": [
        "playhead.evt.acme.w.block.completed",
        "playhead.cmd.acme.run",
        "playhead.task.acme.word-count",
        "playhead.dlq.acme.run",
        "$JS.API.STREAM.CREATE.PLAYHEAD_COMMANDS",
        "$JS.API.CONSUMER.MSG.NEXT.PLAYHEAD_COMMANDS.executor",
    ],
    "projector": [
        "playhead.cmd.acme.resume",
        "playhead.cmd.acme.cancel",
        "playhead.task.acme.word-count",
        "playhead.rpc.hitl.answer",
        "$JS.API.STREAM.DELETE.PLAYHEAD_EVENTS",
        "$JS.API.STREAM.PURGE.PLAYHEAD_COMMANDS",
        "$JS.API.CONSUMER.CREATE.PLAYHEAD_COMMANDS.executor",
        "$JS.API.CONSUMER.MSG.NEXT.PLAYHEAD_COMMANDS.executor",
    ],
    "client": [
        "playhead.cmd.globex.run",
        "playhead.cmd.acme.task_result",
        "playhead.in.globex.paid",
        "playhead.exec.acme.run",
        "playhead.evt.acme.w.block.completed",
        "playhead.rpc.hitl.answer",
        "playhead.rpc.executor.one.nudge",
        "playhead.live.acme.x",
        "playhead.dlq.acme.run",
        "$JS.API.STREAM.INFO.PLAYHEAD_EVENTS",
        "$JS.API.STREAM.NAMES",
        "$JS.API.CONSUMER.MSG.NEXT.PLAYHEAD_EVENTS.consumer-acme",
    ],
    "worker": [
        "playhead.cmd.acme.run",
        "playhead.cmd.globex.task_result",
        "playhead.chunk.globex.x",
        "playhead.task.acme.word-count",
        "$JS.API.CONSUMER.CREATE.PLAYHEAD_TASKS.worker-acme-word-count.playhead.task.*.word-count",
        "$JS.API.CONSUMER.CREATE.PLAYHEAD_TASKS.worker-acme-word-count",
        "$JS.API.CONSUMER.CREATE.PLAYHEAD_TASKS.other.playhead.task.acme.word-count",
        "$JS.API.CONSUMER.DURABLE.CREATE.PLAYHEAD_TASKS.worker-acme-word-count",
        "$JS.API.CONSUMER.CREATE.PLAYHEAD_TASKS",
        "$JS.API.CONSUMER.MSG.NEXT.PLAYHEAD_TASKS.worker-globex-word-count",
        "$JS.API.STREAM.MSG.GET.PLAYHEAD_TASKS",
        "$JS.API.DIRECT.GET.PLAYHEAD_TASKS",
    ],
    "consumer": [
        "playhead.cmd.acme.run",
        "playhead.evt.acme.w.block.completed",
        "$JS.API.CONSUMER.CREATE.PLAYHEAD_EVENTS.consumer-acme.playhead.evt.globex.>",
        "$JS.API.CONSUMER.CREATE.PLAYHEAD_EVENTS.consumer-acme.playhead.evt.>",
        "$JS.API.CONSUMER.CREATE.PLAYHEAD_EVENTS.consumer-acme",
        "$JS.API.CONSUMER.CREATE.PLAYHEAD_EVENTS",
        "$JS.API.CONSUMER.DURABLE.CREATE.PLAYHEAD_EVENTS.consumer-acme",
        "$JS.API.CONSUMER.CREATE.PLAYHEAD_EVENTS.consumer-globex.playhead.evt.acme.>",
        "$JS.API.CONSUMER.MSG.NEXT.PLAYHEAD_EVENTS.consumer-globex",
        "$JS.API.CONSUMER.DELETE.PLAYHEAD_EVENTS.consumer-globex",
        "$JS.API.STREAM.MSG.GET.PLAYHEAD_EVENTS",
        "$JS.API.DIRECT.GET.PLAYHEAD_EVENTS",
        "$JS.API.STREAM.INFO.PLAYHEAD_EVENTS",
        "$JS.API.STREAM.PURGE.PLAYHEAD_EVENTS",
        "$JS.API.STREAM.DELETE.PLAYHEAD_EVENTS",
        "$JS.ACK.PLAYHEAD_EVENTS.consumer-globex.1.1.1.1.0",
    ],
}
"""Subjects that a user may not publish to."""

MAY_NOT_HEAR = {
    "gateway": ["playhead.evt.>", "playhead.cmd.>", "playhead.rpc.hitl.*", "$JS.>"],
    "executor": [
        "playhead.evt.>",
        "playhead.exec.>",
        "playhead.live.*.*",
        "playhead.rpc.hitl.answer",
        "_INBOX_worker.>",
    ],
    "hitl": ["playhead.evt.>", "playhead.live.*.*", "playhead.rpc.executor.*.nudge", "playhead.rpc.hitl.answer"],
    "projector": ["playhead.evt.>", "playhead.cmd.>", "playhead.live.*.*"],
    "client": [
        "playhead.evt.>",
        "playhead.evt.acme.>",
        "playhead.cmd.acme.>",
        "_INBOX_client.>",
        "_INBOX_client.globex.>",
    ],
    "worker": [
        "playhead.task.>",
        "playhead.task.acme.word-count",
        "playhead.chunk.acme.*",
    ],
    "consumer": ["playhead.evt.>", "playhead.evt.acme.>", "playhead.live.acme.*", "_INBOX_consumer.>", ">"],
}
"""Subjects that a user may not listen on, besides the inboxes of all others."""


@pytest.mark.parametrize("name", list(MAY_NOT))
async def test_a_user_is_refused_what_is_not_its_own(nats: SecuredNats, name: str) -> None:
    inboxes = ["_INBOX.>", *(f"{prefix}.>" for other, prefix in PREFIXES.items() if other != name)]
    async with nats.raw(name) as user:
        subjects = MAY_NOT[name] + [each.replace("$JS.API", API) for each in MAY_NOT[name] if name in OUTSIDE]
        wrong = [f"publish to {each}" for each in subjects if await user.may_publish(each)]
        wrong += [f"listen on {each}" for each in (*MAY_NOT_HEAR[name], *inboxes) if await user.may_listen(each)]
        # The check itself tells the two apart.
        assert await user.may_listen(f"{PREFIXES[name]}.x")
        assert not await user.may_publish("refused.to.everybody")
    assert not wrong


async def test_nobody_gets_in_without_a_password(nats: SecuredNats) -> None:
    for url in (nats.address, nats.url("gateway").replace("gateway:", "hitl:"), nats.url("gateway").replace("@", "x@")):
        with pytest.raises(BusUnavailable):
            async with connect_bus(url, "stranger", wait_seconds=0.5):
                pass


async def test_a_body_cannot_say_another_filter_than_the_subject(nats: SecuredNats) -> None:
    async with nats.connect("operator") as operator, nats.connect("consumer") as consumer:
        config = {"name": "PLAYHEAD_EVENTS", "subjects": ["playhead.evt.>"]}
        assert b"error" not in await operator.api("STREAM.CREATE.PLAYHEAD_EVENTS", msgspec.json.encode(config))
        path = f"{API}.CONSUMER.CREATE.PLAYHEAD_EVENTS.consumer-acme.playhead.evt.acme.>"
        for forged in (
            {"filter_subject": "playhead.evt.globex.>"},
            {"filter_subject": "playhead.evt.>"},
            {"filter_subjects": ["playhead.evt.acme.>", "playhead.evt.globex.>"]},
            {"filter_subject": "playhead.evt.acme.>", "name": "consumer-globex", "durable_name": "consumer-globex"},
        ):
            body = {"stream_name": "PLAYHEAD_EVENTS", "config": _durable() | forged}
            assert b"error" in await consumer.request(path, msgspec.json.encode(body), 5), forged
        body = {"stream_name": "PLAYHEAD_EVENTS", "config": _durable()}
        assert b"error" not in await consumer.request(path, msgspec.json.encode(body), 5)


def _durable() -> dict[str, Any]:
    name = "consumer-acme"
    return {"name": name, "durable_name": name, "filter_subject": "playhead.evt.acme.>", "ack_policy": "explicit"}


async def _said(answers: Any) -> dict[str, Any]:
    message = await asyncio.wait_for(anext(answers), 20)
    return msgspec.json.decode(message.data)


async def _work(nats: SecuredNats) -> None:
    """A worker for word counts, as docs/remote-workers.md says."""
    name, task = f"worker-{TENANT}-word-count", f"playhead.task.{TENANT}.word-count"
    async with nats.connect("worker") as bus:
        config = {"name": name, "durable_name": name, "filter_subject": task, "ack_policy": "explicit"}
        body = {"stream_name": "PLAYHEAD_TASKS", "config": config}
        await bus.request(f"{API}.CONSUMER.CREATE.PLAYHEAD_TASKS.{name}.{task}", msgspec.json.encode(body), 5)
        inbox = bus.new_inbox()
        async with await bus.subscribe(inbox) as tasks:
            wanted = b'{"batch":1,"expires":60000000000}'
            await bus.publish(f"{API}.CONSUMER.MSG.NEXT.PLAYHEAD_TASKS.{name}", wanted, reply=inbox)
            message = await anext(aiter(tasks))
        given = msgspec.json.decode(message.data)
        inbox = bus.new_inbox()
        result = {each: given[each] for each in ("tenant", "execution_id", "path", "task_id")}
        result |= {"type": "task_result", "id": new_id(), "outputs": {"n": 3}, "reply_to": inbox}
        async with await bus.subscribe(inbox) as answers:
            await bus.send(f"playhead.cmd.{TENANT}.task_result", msgspec.json.encode(result), result["id"])
            assert (await _said(aiter(answers)))["accepted"]
        await bus.publish(message.reply, b"+ACK")


def _consumer_environ() -> dict[str, str]:
    return {
        "PLAYHEAD_JS_PREFIX": API,
        "CONSUMER_NAME": f"consumer-{TENANT}",
        "PLAYHEAD_NATS_INBOX_PREFIX": PREFIXES["consumer"],
    }


async def test_a_puller_cannot_have_messages_sent_where_it_may_not_publish(nats: SecuredNats) -> None:
    async with nats.connect("operator") as operator, nats.connect("consumer") as consumer:
        config = {"name": "PLAYHEAD_EVENTS", "subjects": ["playhead.evt.>"]}
        await operator.api("STREAM.CREATE.PLAYHEAD_EVENTS", msgspec.json.encode(config))
        path = f"{API}.CONSUMER.CREATE.PLAYHEAD_EVENTS.consumer-acme.playhead.evt.acme.>"
        await consumer.request(path, msgspec.json.encode({"stream_name": "PLAYHEAD_EVENTS", "config": _durable()}), 5)
        await operator.request("playhead.evt.acme.w.published.x", b'{"forged":1}', 2)
        heard: list[str] = []

        async def on_message(message: Message) -> None:
            heard.append(message.subject)

        pull = f"{API}.CONSUMER.MSG.NEXT.PLAYHEAD_EVENTS.consumer-acme"
        for target in ("playhead.rpc.hitl.answer", "playhead.exec.acme.run", "_INBOX_gateway.x"):
            await operator.listen(target, on_message)
            await consumer.publish(pull, b'{"batch":1,"no_wait":true}', reply=target)
        # Where it may listen it is given the message, which went nowhere before.
        inbox = consumer.new_inbox()
        async with await consumer.subscribe(inbox) as pulled:
            await consumer.publish(pull, b'{"batch":1,"expires":2000000000}', reply=inbox)
            assert (await asyncio.wait_for(anext(aiter(pulled)), 5)).data == b'{"forged":1}'
        await operator.request("$JS.API.INFO", b"", 2)
        assert not heard


async def test_a_refusal_is_told_at_once_to_whoever_asks(nats: SecuredNats) -> None:
    async with nats.connect("worker") as worker, asyncio.timeout(1):
        with pytest.raises(NotAllowed, match=r"playhead\.cmd\.acme\.run"):
            await worker.send("playhead.cmd.acme.run", b"{}", new_id())
        with pytest.raises(NotAllowed):
            await worker.request("playhead.rpc.hitl.answer", b"{}", 5)
