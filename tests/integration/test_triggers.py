"""Triggers on a running system: each event that fits starts the workflow once, whatever is lost or repeated."""

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest

from playhead_contracts import subjects
from playhead_contracts.events import Event, ExecutionCreated, TriggerPublished
from playhead_contracts.ids import trigger_stream
from playhead_gateway.access import create_key
from playhead_runtime.bus import Bus
from tests.commanding import letters, messages_in
from tests.conftest import Database
from tests.door import YAML, assert_problem, gateway, publish
from tests.system import TENANT, System, eventually, executor, projector

SCRIPT = Path(sys.executable).parent / "playhead"
SHIP = """
id: ship
input: {type: object, required: [order], properties: {order: {type: string}}}
blocks: {a: {type: function, code: "1"}}
"""
ON_PAID = """
id: on-paid
workflow: ship
on:
  subject: received.payment.*
  match: event.data.amount > 100
input: {order: "{{ event.data.order }}"}
"""
LOOP = """
id: loop
blocks:
  again: {type: publish, event: again, data: {n: 1}}
"""


@asynccontextmanager
async def served(client: System, database: Database) -> AsyncGenerator[httpx.AsyncClient]:
    """A gateway and an executor; the projector comes and goes in the tests."""
    async with executor(database.service_url, client.nats_url), gateway(database.service_url, client.nats_url) as http:
        for document in (SHIP, LOOP):
            await publish(http, document)
        yield http


async def trigger(http: httpx.AsyncClient, document: str, status: int = 201) -> dict[str, Any]:
    answer = await http.post("/v1/triggers", content=document, headers=YAML)
    assert answer.status_code == status, answer.text
    return answer.json()


async def pay(http: httpx.AsyncClient, number: int | str, amount: Any = 200, source: str = "/bank") -> None:
    event = {"specversion": "1.0", "id": f"p-{number}", "source": source, "type": "payment.settled"}
    data = {"order": f"o-{number}", "amount": amount}
    headers = {"content-type": "application/cloudevents+json"}
    answer = await http.post("/v1/events", json=event | {"data": data}, headers=headers)
    assert answer.status_code in (200, 202), answer.text


async def counted(http: httpx.AsyncClient, name: str = "on-paid", **expected: int) -> dict[str, Any]:
    """What the trigger has done, once it has done this."""

    async def look() -> dict[str, Any] | None:
        counts = (await http.get(f"/v1/triggers/{name}")).json()["counts"]
        return counts if all(counts[key] == value for key, value in expected.items()) else None

    return await eventually(look, 30)


async def beginnings(client: System) -> list[Event]:
    """Every beginning in the log, in order."""
    found: list[Event] = []
    position = 0
    while batch := await client.log.read_log(position, 1000):
        position = batch[-1].position
        found += [raw.decode() for raw in batch if raw.type == "execution.created"]
    return found


async def created(client: System) -> list[ExecutionCreated]:
    """What the beginnings say."""
    return [event.data for event in await beginnings(client) if isinstance(event.data, ExecutionCreated)]


async def test_a_trigger_starts_its_workflow_for_each_event_that_fits_and_says_what_it_did(
    client: System, database: Database
) -> None:
    async with served(client, database) as http, projector(database.service_url, client.nats_url):
        await pay(http, "before")
        first = await trigger(http, ON_PAID)
        assert (first["version"], first["warnings"]) == (1, [])
        assert (await trigger(http, ON_PAID, 200))["version"] == 1
        await pay(http, 1)
        await pay(http, 1)
        await pay(http, 1, source="/other")  # another event: source and id together name it
        await pay(http, 2, amount=5)
        await pay(http, 3, amount="a lot")
        counts = await counted(http, started=2, failed=1, due=0)
        assert (counts["matched"], counts["refused"], counts["repeated"]) == (2, 0, 0)
        begun = await created(client)
        assert [each.input for each in begun] == [{"order": "o-1"}] * 2
        assert {event.envelope.actor.name for event in await beginnings(client)} == {"trigger:on-paid"}
        by = begun[0].trigger
        assert by is not None
        assert (by.trigger_id, by.depth) == ("on-paid", 1)
        [(subject, headers, body)] = await letters(client.bus, 1)
        assert subject == subjects.dead_letter(TENANT, "trigger")
        assert headers["playhead-error"].startswith("trigger on-paid: event.data.amount > 100: ")
        assert msgspec.json.decode(body)["trigger"] == "on-paid"

        await trigger(http, ON_PAID.replace('{order: "{{ event.data.order }}"}', '{order: "{{ event.id }}"}'))
        await pay(http, 4)
        await counted(http, started=3)
        assert (await http.delete("/v1/triggers/on-paid")).json() == {"trigger_id": "on-paid", "removed": True}
        await pay(http, 5)
        assert_problem(await http.get("/v1/triggers/on-paid"), 404, "trigger-unknown")
        assert (await http.get("/v1/triggers")).json()["items"] == []
        assert (await trigger(http, ON_PAID))["version"] == 4
        await pay(http, 6)
        await counted(http, started=4)
        assert [each.input["order"] for each in await created(client)] == ["o-1", "o-1", "p-4", "o-6"]
        [row] = (await http.get("/v1/triggers")).json()["items"]
        assert (row["workflow_id"], row["subject"], row["enabled"]) == ("ship", "received.payment.*", True)
    [newest] = [event for event in await client.log.read(trigger_stream(TENANT, "on-paid")) if event.version == 1]
    assert isinstance(newest.data, TriggerPublished)
    assert newest.envelope.actor.name == "local"


async def test_a_trigger_that_cannot_be_is_refused_with_every_fault(client: System, database: Database) -> None:
    async with gateway(database.service_url, client.nats_url) as http:
        await publish(http, SHIP)
        answer = await http.post(
            "/v1/triggers", content="id: t\nworkflow: nowhere\non: {subject: received.x}", headers=YAML
        )
        assert assert_problem(answer, 422, "invalid-trigger")["errors"][0]["pointer"] == "#/workflow"
        answer = await http.post("/v1/triggers", content="id: t\non: {subject: a b}\ninput: '{{ x'", headers=YAML)
        found = {fault["pointer"] for fault in assert_problem(answer, 422, "invalid-trigger")["errors"]}
        assert found == {"#/workflow", "#/on/subject", "#/input"}
        warned = await trigger(
            http, "id: t\nworkflow: ship\non: {subject: received.x}\ninput: {n: 1}\nvariables: {v: 1}"
        )
        assert {fault["pointer"] for fault in warned["warnings"]} == {"#/input", "#/variables/v"}


async def test_what_the_gateway_refuses_is_counted_and_the_letter_says_why(client: System, database: Database) -> None:
    async with served(client, database) as http, projector(database.service_url, client.nats_url):
        await trigger(http, ON_PAID.replace("{{ event.data.order }}", "{{ event.data.amount }}"))
        await pay(http, 1)
        counts = await counted(http, refused=1)
        assert "does not fit the schema" in counts["last_error"]
        [(subject, headers, _)] = await letters(client.bus, 1)
        assert subject == subjects.dead_letter(TENANT, "triggered")
        assert headers["idempotency-key"].startswith("trigger:on-paid:")


async def test_where_clients_need_keys_triggers_need_none(client: System, database: Database) -> None:
    key = await create_key(database.service_url, TENANT, "ann", ["admin"])
    settings: dict[str, Any] = {"open_tenant": None, "bus_keys_required": True, "headers": {"X-API-Key": key.key}}
    async with (
        gateway(database.service_url, client.nats_url, **settings) as http,
        projector(database.service_url, client.nats_url),
    ):
        await publish(http, SHIP)
        await trigger(http, ON_PAID)
        await pay(http, 1)
        await counted(http, started=1)


async def test_the_command_line_publishes_lists_shows_and_removes(
    client: System, database: Database, tmp_path: Path
) -> None:
    async with gateway(database.service_url, client.nats_url) as http, projector(database.service_url, client.nats_url):
        await publish(http, SHIP)
        (tmp_path / "t.yaml").write_text(f"{ON_PAID}variables: {{v: 1}}")

        async def playhead(*words: str) -> tuple[int | None, str]:
            command = (SCRIPT, "triggers", *words, "--url", str(http.base_url))
            process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
            return process.returncode, (await process.communicate())[0].decode()

        _, told = await playhead("publish", str(tmp_path / "t.yaml"))
        assert "published on-paid version 1" in told
        assert "#/variables/v" in told
        _, told = await playhead("list")
        assert "received.payment.*" in told
        _, told = await playhead("show", "on-paid")
        assert msgspec.json.decode(told)["document"]["workflow"] == "ship"
        _, told = await playhead("remove", "on-paid")
        assert told == "removed\n"
        _, told = await playhead("remove", "on-paid")
        assert "there is no trigger on-paid" in told


async def test_of_events_with_one_key_one_starts_the_workflow(client: System, database: Database) -> None:
    async with served(client, database) as http, projector(database.service_url, client.nats_url):
        await trigger(http, f"{ON_PAID}deduplicate_by: event.data.order")
        for source in ("/a", "/b", "/c"):
            await pay(http, 1, source=source)
        await pay(http, 2)
        await counted(http, matched=4, started=2, repeated=2)
        assert len(await created(client)) == 2


async def test_triggers_that_set_each_other_off_end_after_eight(client: System, database: Database) -> None:
    async with served(client, database) as http, projector(database.service_url, client.nats_url):
        await trigger(http, "id: loop\nworkflow: loop\non: {subject: loop.published.again}\n")
        await http.post("/v1/workflows/loop/executions", json={"mode": "async"})
        await counted(http, "loop", started=8, failed=1)
        [(_, headers, _)] = await letters(client.bus, 1)
        assert "8 are the most" in headers["playhead-error"]
        assert [each.trigger.depth if each.trigger else 0 for each in await created(client)] == list(range(9))


async def test_events_that_come_while_nobody_looks_and_lost_tables_change_nothing(
    client: System, database: Database, bus: Bus
) -> None:
    async with served(client, database) as http:
        await trigger(http, ON_PAID)
        for number in range(20):
            await pay(http, number)
        async with projector(database.service_url, client.nats_url):
            await counted(http, started=20)
        for number in range(20, 30):
            await pay(http, number)
        # As if it had crashed with everything unsaid, and the tables had been lost as well.
        with psycopg.connect(database.owner_url, autocommit=True) as connection:
            for table in ("firings", "triggers", "checkpoints"):
                connection.execute(f"truncate triggering.{table}")  # type: ignore[arg-type]
        async with projector(database.service_url, client.nats_url):
            await counted(http, matched=30, started=30)
        assert sorted(each.input["order"] for each in await created(client)) == sorted(f"o-{n}" for n in range(30))
        assert await messages_in(bus, subjects.COMMANDS_STREAM) == 0


async def test_a_command_that_is_lost_with_the_bus_is_sent_again(
    client: System, database: Database, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    from playhead_projector.triggering import sending

    monkeypatch.setattr(sending, "AGAIN_SECONDS", 0.5)
    async with gateway(database.service_url, client.nats_url) as http:
        await publish(http, SHIP)
        await trigger(http, ON_PAID)
        await pay(http, 1)
    async with projector(database.service_url, client.nats_url):

        async def sent() -> bool:
            return await messages_in(bus, subjects.COMMANDS_STREAM) > 0

        await eventually(sent)
        await bus.api(f"STREAM.DELETE.{subjects.COMMANDS_STREAM}", b"")
        async with served(client, database) as http:
            await counted(http, started=1)
    assert len(await created(client)) == 1
