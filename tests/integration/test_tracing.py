"""One trace from the HTTP call through everything it sets going, seen by a collector of its own."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import httpx
import msgspec
import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from playhead_contracts import subjects
from playhead_contracts.commands import Task, TaskResult
from playhead_contracts.events import Actor, BlockDispatched, Envelope, ExecutionStarted, NewEvent
from playhead_contracts.ids import BlockPath, EventId, ExecutionId, execution_stream
from playhead_runtime.ids import new_id
from playhead_runtime.tracing import tracing
from tests.conftest import Database
from tests.door import YAML, gateway, publish
from tests.otlp import collector, place, points_to
from tests.outside import OutsideServer
from tests.system import TENANT, System, eventually, executor, hitl, only_pause, projector

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CALLERS_TRACE = CALLER[3:35]
ANSWERER = "00-11111111111111111111111111111111-2222222222222222-01"
ANSWERERS_TRACE = ANSWERER[3:35]
SECRET = "hunter2-and-more"

STORY = """
id: story
input: {type: object}
blocks:
  call: {type: http, method: POST, url: "{{ input.url }}/call?key={{ input.key }}", next: remote}
  remote: {type: task, task: by-hand, inputs: {n: "{{ input.key }}"}, next: ask}
  ask: {type: human, message: "Go on, {{ input.key }}?", next: after}
  after: {type: http, url: "{{ input.url }}/after", headers: {x-key: "{{ input.key }}"}}
"""
PURE = """
id: pure
blocks: {sum: {type: function, code: "1 + 1"}}
"""
PARENT = """
id: parent
blocks: {inner: {type: workflow, workflow: pure}}
"""
WAITS = """
id: waits
blocks:
  paid: {type: wait, events: [{type: bank.paid}], next: sum}
  sum: {type: function, code: "1 + 1"}
"""
TRIGGER = """
id: when-paid
workflow: pure
on: {subject: received.bank.paid}
"""
SLEEPS = """
id: sleeps
blocks: {rest: {type: wait, for: 2s}}
"""
FAILS = """
id: fails
blocks: {breaks: {type: function, code: "1 / 0"}}
"""


@asynccontextmanager
async def services(database: Database, nats_url: str) -> AsyncGenerator[httpx.AsyncClient]:
    """The gateway's client, with an executor and a hitl behind it."""
    async with (
        executor(database.service_url, nats_url),
        hitl(database.service_url, nats_url),
        gateway(database.service_url, nats_url) as client,
    ):
        yield client


async def start(client: httpx.AsyncClient, workflow: str, input: Any = None, **headers: str) -> ExecutionId:
    response = await client.post(
        f"/v1/workflows/{workflow}/executions", json={"mode": "async", "input": input}, headers=headers
    )
    assert response.status_code == 202, response.text
    return ExecutionId(response.json()["execution_id"])


async def envelopes(system: System, execution_id: ExecutionId) -> dict[str, Envelope]:
    """Of each type of event the newest envelope."""
    return {event.envelope.type: event.envelope for event in await system.events(execution_id)}


async def task_on_the_bus(system: System, execution_id: ExecutionId) -> Task:
    async def dispatched() -> bool:
        return any(isinstance(event.data, BlockDispatched) for event in await system.events(execution_id))

    await eventually(dispatched)
    [delivery] = await worker_share(system)
    await delivery.ack()
    return msgspec.json.decode(delivery.data, type=Task)


async def worker_share(system: System) -> list[Any]:
    body = {"durable_name": "worker-by-hand", "filter_subject": "playhead.task.*.by-hand", "ack_policy": "explicit"}
    create = msgspec.json.encode({"stream_name": subjects.TASKS_STREAM, "config": body})
    await system.bus.api(f"CONSUMER.DURABLE.CREATE.{subjects.TASKS_STREAM}.worker-by-hand", create)
    puller = await system.bus.pull(subjects.TASKS_STREAM, "worker-by-hand")
    try:
        return await puller.fetch(1, 20)
    finally:
        await puller.close()


async def do_task(system: System, task: Task, traceparent: str | None) -> None:
    result = TaskResult(
        id=new_id(),
        tenant=task.tenant,
        execution_id=task.execution_id,
        path=BlockPath(task.path),
        task_id=task.task_id,
        outputs={"done": True},
        traceparent=traceparent,
    )
    await system.bus.send(subjects.command(TENANT, "task_result"), msgspec.json.encode(result), result.id)


async def work_with_opentelemetry(system: System, task: Task) -> None:
    """A worker of somebody else's, with the official SDK."""
    provider = TracerProvider(resource=Resource({"service.name": "their-worker"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    propagator = TraceContextTextMapPropagator()
    came = propagator.extract({"traceparent": task.traceparent or ""})
    with provider.get_tracer("theirs").start_as_current_span("count", came, trace.SpanKind.CONSUMER):
        headers: dict[str, str] = {}
        propagator.inject(headers)
        await do_task(system, task, headers["traceparent"])
    provider.shutdown()


async def test_one_trace_leads_from_the_call_through_everything_and_the_answer_links_to_it(
    client: System, database: Database, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector(monkeypatch) as seen:
        async with OutsideServer() as outside, services(database, nats_url) as http:
            outside.respond("/call", body={"ok": True})
            outside.respond("/after", 503)
            await publish(http, STORY)
            execution_id = await start(http, "story", {"url": outside.url, "key": SECRET}, traceparent=CALLER)
            task = await task_on_the_bus(client, execution_id)
            await work_with_opentelemetry(client, task)
            pause = only_pause(await client.when(execution_id, lambda state: bool(state.open_pauses())))
            resume = f"/v1/executions/{execution_id}/pauses/{pause.pause_id}/resume"
            answered = await http.post(
                resume, json={"input": {"note": SECRET}, "mode": "sync"}, headers={"traceparent": ANSWERER}
            )
            assert answered.json()["status"] == "failed", answered.text
        # Everything has stopped in order, so nothing is on its way any more.
        facts = await envelopes(client, execution_id)

        called = await seen.one("POST /v1/workflows/{workflow_id}/executions")
        assert (called.trace_id, called.parent_id, called.kind) == (CALLERS_TRACE, CALLER[36:52], "server")
        assert called.attributes["http.response.status_code"] == 202
        assert (called.attributes["playhead.execution.id"], called.links) == (execution_id, ())
        first, second = sorted(seen.named("POST"), key=lambda span: span.started_ns)[0], await seen.one("GET")
        setting_going = ["publish playhead.exec.{tenant}.run", "process playhead.exec.{tenant}.run"]
        going_on = ["invoke_workflow story", "block call", "POST"]
        assert seen.above(first) == [called.name, *setting_going, *going_on]
        assert first.kind == "client"
        asked, told = await seen.one("publish playhead.task.{tenant}.by-hand"), await seen.one("count")
        assert seen.above(asked) == [called.name, *setting_going, "invoke_workflow story", asked.name]
        assert (place(task.traceparent), told.parent_id, told.service) == (place(asked), asked.span_id, "their-worker")
        paused = await seen.one("pause.requested")
        assert seen.above(paused)[-4:] == [
            "count",
            "process playhead.cmd.{tenant}.task_result",
            "invoke_workflow story",
            "pause.requested",
        ]
        assert paused.trace_id == CALLERS_TRACE

        resumed = await seen.one("POST /v1/executions/{execution_id}/pauses/{pause_id}/resume")
        assert (resumed.trace_id, points_to(resumed)) == (ANSWERERS_TRACE, [place(called)])
        assert seen.above(second) == [
            resumed.name,
            "publish playhead.rpc.hitl.answer",
            "process playhead.rpc.hitl.answer",
            "publish playhead.exec.{tenant}.resume",
            "process playhead.exec.{tenant}.resume",
            "invoke_workflow story",
            "block after",
            "GET",
        ]
        assert (second.is_error, second.attributes["error.type"]) == (True, "503")
        last = next(span for span in seen.named("invoke_workflow story") if span.trace_id == ANSWERERS_TRACE)
        assert points_to(last) == [place(called)]
        assert last.attributes["error.type"] == "http_status"

        call, after = outside.requests
        assert [place(each.headers["traceparent"]) for each in (call, after)] == [place(first), place(second)]
        assert place(facts["execution.created"].traceparent) == place(called)
        assert facts["block.completed"].traceparent is not None
        assert place(facts["pause.resolved"].traceparent) == place(await seen.one("process playhead.rpc.hitl.answer"))
        assert place(facts["block.failed"].traceparent) == place(await seen.one("block after"))
        assert place(facts["execution.failed"].traceparent) == place(last)
        by_service = {span.service for span in seen.spans}
        assert by_service == {"playhead-gateway", "playhead-executor", "playhead-hitl", "their-worker"}
        assert SECRET.encode() not in seen.bodies, "spans hold nothing that came as input"
        assert b"/call" not in seen.bodies, "URLs of calls may hold secrets"


async def test_without_spans_the_callers_trace_still_goes_everywhere_and_nothing_is_made_up(
    client: System, database: Database, nats_url: str
) -> None:
    async with (
        OutsideServer() as outside,
        services(database, nats_url) as http,
        projector(database.service_url, nats_url),
    ):
        outside.respond("/call", body={"ok": True})
        outside.respond("/after", body={"ok": True})
        await publish(http, STORY)
        execution_id = await start(http, "story", {"url": outside.url, "key": SECRET}, traceparent=CALLER)
        task = await task_on_the_bus(client, execution_id)
        assert task.traceparent == CALLER
        await do_task(client, task, None)
        pause = only_pause(await client.when(execution_id, lambda state: bool(state.open_pauses())))
        resume = f"/v1/executions/{execution_id}/pauses/{pause.pause_id}/resume"
        await http.post(resume, json={"mode": "sync"}, headers={"traceparent": ANSWERER})
        before, after = outside.requests
        assert (before.headers["traceparent"], after.headers["traceparent"]) == (CALLER, ANSWERER)
        told = [event.envelope.traceparent for event in await client.events(execution_id)]
        resolved = (await envelopes(client, execution_id))["pause.resolved"].version
        assert set(told[: resolved - 1]) == {CALLER}
        assert set(told[resolved - 1 :]) == {ANSWERER}

        async def copied() -> str | None:
            subject = f"playhead.evt.{TENANT}.story.execution.completed"
            wanted = msgspec.json.encode({"last_by_subj": subject})
            answer = msgspec.json.decode(await client.bus.api(f"STREAM.MSG.GET.{subjects.EVENTS_STREAM}", wanted))
            return answer["message"]["hdrs"] if "message" in answer else None

        headers = msgspec.convert(await eventually(copied), bytes).decode()
        assert f"traceparent: {ANSWERER}" in headers

        outside.requests.clear()
        unknown = await http.post("/v1/workflows/nobody/executions", json={}, headers={"traceparent": CALLER})
        assert unknown.json()["trace_id"] == CALLERS_TRACE, "who reports a problem can say where to look"
        untraced = await start(http, "story", {"url": outside.url, "key": "k"}, traceparent="00-not-a-trace-01")
        task = await task_on_the_bus(client, untraced)
        assert task.traceparent is None
        assert "traceparent" not in outside.requests[0].headers
        assert {event.envelope.traceparent for event in await client.events(untraced)} == {None}


async def test_commands_on_the_bus_and_events_from_outside_bring_their_traces(
    client: System, database: Database, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector(monkeypatch) as seen:
        async with services(database, nats_url) as http, projector(database.service_url, nats_url):
            await publish(http, WAITS)
            await publish(http, PURE)
            published = await http.post("/v1/triggers", content=TRIGGER, headers=YAML)
            assert published.status_code == 201, published.text
            command = msgspec.json.encode({"workflow_id": "waits"})
            await client.bus.send(subjects.command(TENANT, "run"), command, "r1", {"traceparent": CALLER})
            created = await seen.one("process playhead.cmd.{tenant}.run", messaging_message_id="r1")
            [execution_id] = [each for each in (await waiting(client)) if each is not None]
            paid = {"specversion": "1.0", "id": "1", "source": "/bank", "type": "bank.paid", "traceparent": ANSWERER}
            sent = await http.post("/v1/events", json=paid, headers={"content-type": "application/cloudevents+json"})
            assert sent.status_code == 202, sent.text
            assert (await client.ended(execution_id)).status == "completed"
            facts = await envelopes(client, execution_id)
            triggered = await seen.one("invoke_workflow pure")
        assert (created.trace_id, place(facts["execution.created"].traceparent)) == (CALLERS_TRACE, place(created))
        received = await seen.one("POST /v1/events")
        assert points_to(received) == [place(ANSWERER)]
        assert place(facts["event.matched"].traceparent) == place(received)
        going_on = await seen.one("invoke_workflow waits", playhead_epoch=2)
        assert (seen.above(going_on)[0], points_to(going_on)) == ("POST /v1/events", [place(created)])
        # In between is the command of the trigger.
        first, *_, publishing, processing, last = seen.above(triggered)
        assert (first, last) == ("POST /v1/events", "invoke_workflow pure")
        assert [publishing, processing] == [f"{what} playhead.exec.{{tenant}}.run" for what in ("publish", "process")]


async def waiting(system: System) -> set[ExecutionId | None]:
    """The executions that wait for an event, once there are some."""

    async def look() -> set[ExecutionId | None] | None:
        raws = await system.log.read_log(0, 1000)
        return {raw.decode().envelope.execution_id for raw in raws if raw.type == "execution.paused"} or None

    return await eventually(look)


async def test_a_child_is_in_the_trace_of_its_parent_a_timer_in_its_own_and_a_rerun_points_to_its_source(
    client: System, database: Database, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector(monkeypatch) as seen:
        async with services(database, nats_url) as http, projector(database.service_url, nats_url):
            await publish(http, PURE)
            await publish(http, PARENT)
            await publish(http, FAILS)
            await publish(http, SLEEPS)
            sleeping = await start(http, "sleeps")
            execution_id = await start(http, "parent")
            assert (await client.ended(execution_id)).status == "completed"
            await http.post(f"/v1/executions/{execution_id}/rerun", json={"from_block": "inner", "mode": "async"})
            assert (await client.ended(await start(http, "fails"))).status == "failed"
            assert (await client.ended(sleeping)).status == "completed"
        began, called, *_ = sorted(
            seen.named("POST /v1/workflows/{workflow_id}/executions"), key=lambda span: span.started_ns
        )
        woken = await seen.one("invoke_workflow sleeps", playhead_epoch=2)
        assert (woken.parent_id, points_to(woken)) == (began.span_id, []), "a timer has no other trace to be in"
        inner = min(seen.named("block sum"), key=lambda span: span.started_ns)
        assert seen.above(inner)[2:] == [
            "process playhead.exec.{tenant}.run",
            "invoke_workflow parent",
            "block inner",
            "publish playhead.exec.{tenant}.run",
            "process playhead.exec.{tenant}.run",
            "invoke_workflow pure",
            "block sum",
        ]
        segments = [span for span in seen.named("invoke_workflow parent") if span.trace_id == called.trace_id]
        # The second one was woken by the end of the child.
        assert [points_to(span) for span in sorted(segments, key=lambda span: span.started_ns)] == [[], [place(called)]]
        assert points_to(await seen.one("POST /v1/executions/{execution_id}/rerun")) == [place(called)]
        broken = await seen.one("block breaks")
        assert (broken.is_error, broken.attributes["error.type"]) == (True, "code_error")


async def test_who_goes_on_in_the_place_of_a_lost_executor_points_to_what_it_was_at(
    client: System, database: Database, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.publish(PURE)
    execution_id = await client.start(PURE, send=False)
    state = await client.state(execution_id)
    _, head = await client.log.load(execution_stream(execution_id))
    lost = NewEvent(
        id=EventId(new_id()),
        data=ExecutionStarted(executor="lost", epoch=1, command=f"run:{execution_id}"),
        tenant=TENANT,
        workflow_id=state.workflow_id,
        execution_id=execution_id,
        actor=Actor(kind="system", name="lost"),
        recorded_at=datetime.now(UTC),
        traceparent=CALLER,
    )
    await client.log.append(execution_stream(execution_id), head, [lost])
    with collector(monkeypatch) as seen:
        async with executor(database.service_url, nats_url):
            await client.send_run(execution_id)
            await client.ended(execution_id)
        segment = await seen.one("invoke_workflow pure")
        assert (points_to(segment), segment.attributes["playhead.epoch"]) == ([place(CALLER)], 2)


async def test_a_sampler_that_wants_nothing_passes_that_on(
    client: System, database: Database, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector(monkeypatch, OTEL_TRACES_SAMPLER="always_off") as seen:
        async with services(database, nats_url) as http:
            await publish(http, PURE)
            execution_id = await start(http, "pure", traceparent=CALLER)
            await client.ended(execution_id)
            told = [str(event.envelope.traceparent).split("-") for event in await client.events(execution_id)]
        assert seen.spans == []
    assert {(trace_id, flags) for _, trace_id, _, flags in told} == {(CALLERS_TRACE, "00")}


async def test_spans_that_a_block_makes_itself_are_below_that_of_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector(monkeypatch) as seen:
        # A process of its own: it has one default provider.
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", OWN_SPAN)
        assert await process.wait() == 0
        own = await seen.one("own")
        assert seen.above(own) == ["request", "block b", "own"]
        assert own.service == "orders", "the standard variable names the service"


OWN_SPAN = """
import asyncio, os
os.environ["OTEL_SERVICE_NAME"] = "orders"
from opentelemetry import trace
from playhead_runtime.spans import block_attempt
from playhead_runtime.tracing import tracing

async def main():
    async with tracing("executor") as tracer:
        with tracer.enter("request", "server", {}, None), block_attempt("e", "b", "orders.pay", 1):
            with trace.get_tracer("orders").start_as_current_span("own"):
                pass

asyncio.run(main())
"""


async def test_a_collector_that_is_away_does_not_hold_up_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector(monkeypatch) as gone:
        url = gone.url
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{url}/v1/traces")
    async with tracing("test", flush_seconds=0.5) as tracer:
        with tracer.enter("lost", "internal", {}, None):
            pass
        began = perf_counter()
    assert perf_counter() - began < 3
