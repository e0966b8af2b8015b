"""Personal values: readable by those who may, found nowhere else, and gone everywhere when their key is."""

import asyncio
import base64
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from typer.testing import CliRunner

from playhead_cli.main import app
from playhead_contracts import subjects
from playhead_contracts.commands import TaskResult
from playhead_contracts.events import (
    BlockCompleted,
    BlockDispatched,
    BlockSkipped,
    EventData,
    ExecutionCreated,
    ExecutionStarted,
    Personal,
    SubjectForgotten,
)
from playhead_contracts.ids import BlockPath, EventId, ExecutionId, WorkflowId, execution_stream, operations_stream
from playhead_engine.folding import EXECUTIONS
from playhead_engine.privacy import seal_of
from playhead_eventlog import EVERY, GENESIS, VaultClosed, chain, open_log
from playhead_eventlog.operations import record_operation
from playhead_projector.settings import Settings as ProjectorSettings
from playhead_projector.verifying import verify_read_models
from playhead_runtime.ids import derived_id, new_id
from tests.conftest import Database
from tests.derived import caught_up, copies
from tests.door import YAML, gateway
from tests.outside import OutsideServer
from tests.system import ANN, TENANT, System, eventually, executor, hitl, projector
from tests.traffic import new_event

NAME = "Zwölfrid Quastenflosser"
EMAIL = "zwoelfrid@quastenflosser.example"
ANSWERED = "Bärlauchgasse 77"
SUBJECT = "customer-4711-quasten"
MARKS = ("quastenflosser", "lauchgasse", "customer-4711")

CHILD = """
id: greeter
input: {type: object}
blocks:
  greet: {type: function, inputs: {who: "{{ input.who }}"}, code: "{'text': 'Dear ' + inputs['who']}"}
output: "{{ blocks.greet.text }}"
"""

DOCUMENT = """
id: letters
personal: {subject: "{{ input.customer_id }}"}
input:
  type: object
  properties:
    customer_id: {type: string, x-personal: true}
    amount: {type: number}
    url: {type: string}
    tags: {type: array, items: {type: string}}
    customer:
      type: object
      properties:
        name: {type: string, x-personal: true}
        email: {type: string, x-personal: true}
        country: {type: string}
variables: {last: "", plain: 0}
blocks:
  count:
    type: function
    inputs: {amount: "{{ input.amount }}"}
    code: "{'double': inputs['amount'] * 2}"
    next: remember
  remember: {type: variables, set: {last: "{{ input.customer.name }}"}, next: call}
  call:
    type: http
    method: POST
    url: "{{ input.url }}/echo"
    body: {name: "{{ vars.last }}"}
    retry: {attempts: 2, backoff: 0s}
    next: fail
  fail:
    type: function
    inputs: {email: "{{ input.customer.email }}"}
    code: "raise ValueError('cannot write to ' + inputs['email'])"
    continue_on_error: true
    next: each
  each:
    type: loop
    for_each: "{{ input.tags }}"
    blocks:
      tag:
        type: function
        inputs: {t: "{{ loop.item }}", n: "{{ input.customer.name }}"}
        code: "inputs['n'] + inputs['t']"
    next: child
  child: {type: workflow, workflow: greeter, input: {who: "{{ input.customer.name }}"}, next: large}
  large: {type: function, inputs: {n: "{{ input.customer.name }}"}, code: "inputs['n'] * 20000", next: announce}
  announce:
    type: publish
    event: letter.written
    subject: "{{ input.customer.email }}"
    data: {to: "{{ blocks.child.output }}", amount: "{{ input.amount }}"}
    next: ask
  ask:
    type: human
    message: "Send to {{ input.customer.name }}?"
    show: {email: "{{ input.customer.email }}", amount: "{{ input.amount }}"}
    form:
      type: object
      properties: {address: {type: string, x-personal: true}}
    next: route
  route: {type: router, route: "blocks.ask.answer.address", next: {nowhere: [sum], else: [sum]}}
  sum: {type: function, inputs: {d: "{{ blocks.count.double }}"}, code: "{'sum': inputs['d'] + 1}"}
output:
  sum: "{{ blocks.sum.sum }}"
  address: "{{ blocks.ask.answer.address }}"
  greeting: "{{ blocks.child.output }}"
"""


async def stored(database: Database) -> str:
    """All that PostgreSQL holds, as text, but for the vault."""
    found: list[str] = []
    async with await psycopg.AsyncConnection.connect(database.owner_url) as connection:
        cursor = await connection.execute(
            "select schemaname, tablename from pg_tables "
            "where schemaname not in ('pg_catalog', 'information_schema', 'vault')"
        )
        tables = await cursor.fetchall()
        assert {("log", "events"), ("log", "blobs"), ("read", "block_states"), ("read", "pauses")} <= set(tables)
        for schema, table in tables:
            query = SQL("select t::text from {} t").format(Identifier(schema, table))
            found += [row[0] for row in await (await connection.execute(query)).fetchall()]
            if (schema, table) == ("log", "blobs"):
                cursor = await connection.execute("select convert_from(content, 'utf8') from log.blobs")
                found += [row[0] for row in await cursor.fetchall()]
    return "\n".join(found)


async def derived(client: System) -> list[str]:
    """What the bus keeps of the log."""
    found: list[str] = []
    for copy in await copies(client.bus):
        found += [copy.subject, copy.body.decode(), *copy.headers.values()]
    return found


def leaks(told: list[str]) -> list[str]:
    text = "\n".join(told).lower()
    return [text[max(0, at - 80) : at + 80] for mark in MARKS if (at := text.find(mark)) >= 0]


async def views(http: httpx.AsyncClient, execution_id: str) -> dict[str, str]:
    """Everything that the gateway shows of an execution."""
    pages = ("", "/events", "/blocks", "/state", "/stream")
    found = {page: (await http.get(f"/v1/executions/{execution_id}{page}")).text for page in pages}
    found["inbox"] = (await http.get("/v1/pauses", params={"status": "answered"})).text
    return found


async def chains_verify(client: System, execution_id: ExecutionId) -> None:
    previous = GENESIS.hash
    for raw in await client.log.read_raw(execution_stream(execution_id)):
        assert raw.prev_hash == previous
        assert chain(previous, raw.meta, raw.data) == raw.hash
        previous = raw.hash


async def test_personal_values_are_read_by_those_who_may_found_nowhere_and_gone_when_forgotten(
    database: Database, nats_url: str, client: System, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    async with (
        OutsideServer() as server,
        executor(database.service_url, nats_url),
        hitl(database.service_url, nats_url),
        projector(database.service_url, nats_url),
        gateway(database.service_url, nats_url) as http,
    ):
        server.respond("/echo", 503, {"no": NAME})
        server.respond("/echo", 200, {"you sent": NAME})
        for document in (CHILD, DOCUMENT):
            published = await http.post("/v1/workflows", content=document, headers=YAML)
            assert published.status_code == 201, published.text
        live = await client.bus.subscribe("playhead.live.>")
        given: dict[str, Any] = {
            "customer_id": SUBJECT,
            "amount": 21,
            "url": server.url,
            "tags": ["x", "y"],
            "customer": {"name": NAME, "email": EMAIL, "country": "AT"},
        }
        begun = await http.post(
            "/v1/workflows/letters/executions",
            json={"input": given},
            headers={"Idempotency-Key": "k1"},
        )
        assert begun.status_code == 200, begun.text
        assert begun.json()["status"] == "paused", begun.text
        execution_id = ExecutionId(begun.json()["execution_id"])
        pause = begun.json()["pauses"][0]
        assert pause["message"] == f"Send to {NAME}?"
        ended = await http.post(
            f"/v1/executions/{execution_id}/pauses/{pause['pause_id']}/resume",
            json={"input": {"address": ANSWERED}, "comment": f"for {NAME}", "digest": pause["digest"]},
        )
        assert ended.json()["output"] == {"sum": 43, "address": ANSWERED, "greeting": f"Dear {NAME}"}, ended.text
        again = await http.post(
            "/v1/workflows/letters/executions", json={"input": given}, headers={"Idempotency-Key": "k1"}
        )
        assert again.json()["execution_id"] == execution_id
        other = await http.post(
            "/v1/workflows/letters/executions",
            json={"input": given | {"amount": 22}},
            headers={"Idempotency-Key": "k1"},
        )
        assert other.status_code == 422
        fork = await http.post(
            f"/v1/executions/{execution_id}/rerun", json={"from_block": "sum", "mode": "sync", "early_cutoff": True}
        )
        # What failed runs again, and so people are asked again; what gave the same is taken over.
        assert fork.json()["status"] == "paused", fork.text
        fork_id = ExecutionId(fork.json()["execution_id"])
        asked = fork.json()["pauses"][0]
        done = await http.post(
            f"/v1/executions/{fork_id}/pauses/{asked['pause_id']}/resume", json={"input": {"address": ANSWERED}}
        )
        assert done.json()["output"]["address"] == ANSWERED, done.text
        await caught_up(client.log, database)

        shown = await views(http, execution_id)
        assert all(NAME in text or NAME in text.encode().decode("unicode_escape") for text in shown.values())
        assert '"amount":21' in shown["/events"]

        told = [await stored(database), *await derived(client), caplog.text]
        await client.bus.publish("playhead.live.end", b"")
        async for message in live:
            if message.subject == "playhead.live.end":
                break
            told += [message.data.decode(), *message.headers.values()]
        assert leaks(told) == []
        assert '"amount":21' in "\n".join(told)
        assert '"double":42' in "\n".join(told)
        assert '"$sealed"' in told[0]
        assert (
            leaks([await exported(database, tmp_path, kind) for kind in ("jsonl", "cloudevents", "ocel", "xes")]) == []
        )
        verified = [*await ids_of(client), execution_id, fork_id]
        for each in verified:
            await chains_verify(client, each)

        answer = await http.post("/v1/subjects/forget", json={"subject": SUBJECT})
        assert answer.json() == {"key_ids": answer.json()["key_ids"], "executions": 3, "cancelled": []}, answer.text
        assert len(answer.json()["key_ids"]) == 1
        repeated = await http.post("/v1/subjects/forget", json={"subject": SUBJECT})
        assert repeated.json() == {"key_ids": [], "executions": 0, "cancelled": []}
        await caught_up(client.log, database)
        gone = await views(http, execution_id)
        assert leaks(list(gone.values())) == []
        assert '"$forgotten":true' in gone["/events"]
        assert "(forgotten)" in gone["inbox"]
        assert '"amount":21' in gone["/events"]
        refused = await http.post(f"/v1/executions/{execution_id}/rerun", json={"from_block": "sum"})
        assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (422, "values-forgotten")
        for each in verified:
            await chains_verify(client, each)
        assert leaks([await vault(database)]) == []


async def ids_of(client: System) -> list[ExecutionId]:
    heads = await client.log.heads()
    return [ExecutionId(name.partition(":")[2]) for name in heads if name.startswith("execution:")]


async def exported(database: Database, folder: Path, kind: str) -> str:
    """What `playhead export` writes."""
    file, environ = folder / f"log.{kind}", {"PLAYHEAD_DATABASE_URL": database.service_url}
    words = ["export", "--format", kind, "--output", str(file)]
    ran = await asyncio.to_thread(CliRunner().invoke, app, words, env=environ)
    assert ran.exit_code == 0, ran.output
    content = file.read_text()
    assert "letters" in content
    return content


async def vault(database: Database) -> str:
    async with await psycopg.AsyncConnection.connect(database.owner_url) as connection:
        cursor = await connection.execute("select t::text from vault.subject_keys t")
        return "\n".join(row[0] for row in await cursor.fetchall())


ORDER = """
id: order
personal: {subject: "{{ input.who }}"}
input: {type: object, required: [who], properties: {who: {type: string, x-personal: true}, plain: {type: string}}}
blocks:
  work: {type: task, task: by-hand, inputs: {who: "{{ input.who }}"}, next: paid}
  paid:
    type: wait
    events: [{type: paid, match: "event.data.who == input.who"}]
    next: ask
  ask:
    type: human
    message: "{{ input.who }} has paid: {{ blocks.work.text }}. {{ input.plain }}?"
    show: {plain: "{{ input.plain }}", who: "{{ input.who }}"}
"""


async def test_waiting_remote_work_and_webhooks_see_what_is_sealed_where_it_is_needed(
    database: Database, nats_url: str, client: System
) -> None:
    who, key = f"{NAME} & Söhne", base64.b64encode(b"m" * 32).decode()
    async with (
        OutsideServer() as server,
        executor(database.service_url, nats_url, master_key=key),
        hitl(database.service_url, nats_url, master_key=key),
        projector(database.service_url, nats_url, master_key=key),
        gateway(database.service_url, nats_url, master_key=key) as http,
    ):
        await http.post("/v1/webhooks", json={"name": "desk", "url": f"{server.url}/hook"})
        assert (await http.post("/v1/workflows", content=ORDER, headers=YAML)).status_code == 201
        refused = await http.post("/v1/workflows/order/executions", json={"input": {"who": ""}})
        assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (422, "subject-unknown")
        begun = await http.post(
            "/v1/workflows/order/executions", json={"input": {"who": who, "plain": "ok"}, "mode": "async"}
        )
        assert begun.status_code == 202, begun.text
        execution_id = ExecutionId(begun.json()["execution_id"])
        stream = execution_stream(execution_id)

        async def dispatched() -> BlockDispatched | None:
            raws = await client.log.read_raw(stream)
            return next((d for raw in raws if isinstance(d := raw.decode().data, BlockDispatched)), None)

        task = await eventually(dispatched)
        result = TaskResult(
            id=task.task_id,
            tenant=TENANT,
            execution_id=execution_id,
            path=BlockPath("work"),
            task_id=task.task_id,
            outputs={"text": f"done for {who}"},
        )
        await client.bus.send(subjects.command(TENANT, "task_result"), msgspec.json.encode(result), result.id)

        async def event(name: str) -> bool:
            return any(raw.type == name for raw in await client.log.read_raw(stream))

        async def waits() -> bool:
            started = [raw.data for raw in await client.log.read_raw(stream) if raw.type == "block.started"]
            return any(b'"watch":' in data and b'"captured":{"$sealed"' in data for data in started)

        await eventually(waits)
        # What outsiders say is not sealed, for nobody has said whose it is: the search below passes over it.
        for said in ("somebody else", who):
            headers = {"ce-specversion": "1.0", "ce-type": "paid", "ce-id": str(len(said)), "ce-source": "/till"}
            assert (await http.post("/v1/events", json={"who": said}, headers=headers)).status_code == 202

        async def told() -> bytes | None:
            return server.requests[0].body if server.requests else None

        hook = msgspec.json.decode(await eventually(told))["data"]
        assert hook["message"] == f"{who} has paid: done for {who}. ok?"
        assert hook["show"] == {"plain": "ok", "who": who}
        await caught_up(client.log, database)
        assert (await http.get("/v1/pauses")).json()["items"][0]["show"] == {"plain": "ok", "who": who}
        text = await stored(database)
        own = "\n".join(line for line in text.splitlines() if "event.received" not in line)
        assert leaks([own]) == []
        assert base64.b64encode(b"m" * 32).decode() not in text
        assert (
            await verify_read_models(ProjectorSettings(database_url=database.service_url, nats_url=nats_url))
        ).intact

        async with open_log(database.service_url) as without:
            with pytest.raises(VaultClosed, match="PLAYHEAD_MASTER_KEY"):
                await without.read(stream)

        environ = {"PLAYHEAD_URL": str(http.base_url), "COLUMNS": "300"}

        async def forget(*more: str) -> tuple[int, str]:
            ran = await asyncio.to_thread(CliRunner().invoke, app, ["forget", who, "--yes", *more], env=environ)
            return ran.exit_code, ran.output

        code, said = await forget()
        assert code == 1
        assert "not ended, and would lose what they read: " + execution_id in " ".join(said.split())
        # As if it had been killed right after recording it: asked again, it records it no second time.
        key_id = await client.log.vault.find(TENANT, who)
        assert key_id is not None
        fact, fact_id = SubjectForgotten(key_ids=(key_id,)), derived_id("subject.forgotten", TENANT, key_id)
        await record_operation(client.log, TENANT, fact, ANN, event_id=EventId(fact_id), at=datetime.now(UTC))
        code, said = await forget("--cancel")
        assert (code, "cancelled: " + execution_id in said) == (0, True), said
        assert "there is nothing of them, or it was forgotten before" in (await forget())[1]
        await eventually(lambda: event("execution.cancelled"))
        operations = await client.log.read(operations_stream(TENANT))
        [forgotten] = [each for each in operations if isinstance(each.data, SubjectForgotten)]
        assert (forgotten.envelope.id, forgotten.envelope.actor) == (fact_id, ANN)
        await caught_up(client.log, database)
        row = (await http.get("/v1/pauses", params={"status": "closed"})).json()["items"][0]
        assert (row["message"], row["show"]) == ("(forgotten)", {"$forgotten": True})
        await chains_verify(client, execution_id)


async def test_a_sealed_value_that_somebody_copies_is_not_opened_for_them(
    database: Database, nats_url: str, client: System
) -> None:
    """Who may start a workflow and see the bus, but not read executions, learns nothing by putting in what they saw."""
    async with (
        executor(database.service_url, nats_url),
        projector(database.service_url, nats_url),
        gateway(database.service_url, nats_url) as http,
    ):
        plain = "id: plain\nblocks: {ask: {type: human, message: '{{ input.m }}', show: {it: '{{ input.it }}'}}}"
        for document in (ORDER.replace("work: {type: task, task: by-hand", "work: {type: function, code: '1'"), plain):
            assert (await http.post("/v1/workflows", content=document, headers=YAML)).status_code == 201
        begun = await http.post("/v1/workflows/order/executions", json={"input": {"who": NAME}, "mode": "async"})
        stream = execution_stream(ExecutionId(begun.json()["execution_id"]))
        seen = msgspec.json.decode((await client.log.read_raw(stream, 0, 1))[0].data)["input"]["who"]
        assert seen.startswith("sealed:")
        marker = {"$sealed": seen.split(":")[2], "key": seen.split(":")[1]}
        tried = await http.post("/v1/workflows/plain/executions", json={"input": {"m": seen, "it": [marker, seen]}})
        assert tried.json()["pauses"][0]["message"] == seen
        await caught_up(client.log, database)
        row = (await http.get("/v1/pauses")).json()["items"][0]
        assert (row["message"], row["show"]) == (seen, {"it": [marker, seen]})


async def test_an_execution_that_loses_its_values_goes_on_without_them(
    database: Database, nats_url: str, client: System
) -> None:
    document = """
id: goes_on
personal: {subject: "{{ input.who }}"}
input: {type: object, properties: {who: {type: string, x-personal: true}, list: {type: array, x-personal: true}}}
blocks:
  each:
    type: loop
    for_each: "{{ input.list }}"
    blocks: {ask: {type: human, message: "{{ loop.item }} of {{ input.who }}?"}}
    next: say
  say: {type: function, inputs: {who: "{{ input.who }}", all: "{{ input.list }}"}, code: "inputs"}
"""
    path = "/v1/workflows/goes_on/executions"
    async with gateway(database.service_url, nats_url) as http:
        async with executor(database.service_url, nats_url), hitl(database.service_url, nats_url):
            await http.post("/v1/workflows", content=document, headers=YAML)
            begun = (await http.post(path, json={"input": {"who": NAME, "list": [NAME]}})).json()
            assert begun["pauses"][0]["message"] == f"{NAME} of {NAME}?"
        refused = await http.post("/v1/subjects/forget", json={"subject": NAME})
        assert (refused.status_code, refused.json()["executions"]) == (409, [begun["execution_id"]])
        forced = await http.post("/v1/subjects/forget", json={"subject": NAME, "force": True})
        assert forced.json()["executions"] == 1, forced.text
        # Processes that never had the key, as all are half a minute later.
        async with executor(database.service_url, nats_url), hitl(database.service_url, nats_url):
            asked = f"/v1/executions/{begun['execution_id']}/pauses/{begun['pauses'][0]['pause_id']}/resume"

            async def answered() -> dict[str, Any] | None:
                response = await http.post(asked, json={"input": {"approved": True}, "comment": NAME})
                return response.json() if response.status_code == 200 else None

            ended = await eventually(answered)
            assert ended["status"] == "completed", ended
            assert ended["output"] == {"$forgotten": True}, "what comes of forgotten values is forgotten at once"
        state = (await http.get(f"/v1/executions/{begun['execution_id']}/state")).text
        assert leaks([state]) == []
        again = (await http.post(path, json={"input": {"who": NAME, "list": []}, "mode": "async"})).status_code
        assert again == 202, "who comes back has another key"


async def test_no_snapshot_is_kept_of_a_state_that_holds_sealed_values(
    database: Database, nats_url: str, client: System
) -> None:
    key_id = await client.log.vault.key_for(TENANT, SUBJECT)
    personal, workflow = Personal(key_id, blocks=(BlockPath("b3"),)), WorkflowId("long")
    execution_id = ExecutionId(new_id())
    stream, head = execution_stream(execution_id), GENESIS
    facts: list[EventData] = [
        ExecutionCreated(workflow_id=workflow, workflow_version=1, digest="d", personal=personal),
        ExecutionStarted(executor="one", epoch=1, command="run"),
        BlockCompleted(path=BlockPath("b3"), outputs={"name": NAME}),
        *(BlockSkipped(path=BlockPath(f"b{number}"), reason="for the test") for number in range(4, 3 * EVERY)),
    ]
    for page in range(0, len(facts), EVERY):
        events = [
            msgspec.structs.replace(new_event(fact, TENANT, workflow, execution_id), seal=seal_of(personal, fact))
            for fact in facts[page : page + EVERY]
        ]
        head = (await client.log.append(stream, head, events)).head
    state, _ = await client.log.fold(stream, EXECUTIONS)
    assert state is not None
    assert (state.version, state.blocks[BlockPath("b3")].outputs) == (len(facts), {"name": NAME})
    async with projector(database.service_url, nats_url):
        await caught_up(client.log, database)
    sealed, _ = await client.log.fold(stream, EXECUTIONS, opened=False)
    assert sealed is not None
    assert "$sealed" in sealed.blocks[BlockPath("b3")].outputs
    assert leaks([await stored(database)]) == []
    assert await client.log.snapshots.newest_version(stream) == 0
