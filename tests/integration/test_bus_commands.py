"""Commands by any NATS client: the same admission as over HTTP, answers on a subject, nothing lost in silence."""

import asyncio
from collections.abc import AsyncGenerator

import httpx
import msgspec
import pytest

from playhead_cli.dead_letters import KeyNotKept, find_letters, redrive
from playhead_contracts import subjects
from playhead_contracts.ids import WorkflowId, execution_stream
from playhead_contracts.requests import Receipt, Refused, Result, RunRequest
from playhead_gateway.access import create_key
from playhead_gateway.bus import commands
from playhead_runtime.ids import new_id
from tests.commanding import Commander, commander, execution_in, letters, messages_in
from tests.conftest import Database
from tests.door import gateway, keyed, publish
from tests.system import TENANT, System, eventually

SUM = """
id: sum
input: {type: object, required: [n], properties: {n: {type: number}}}
blocks: {a: {type: function, inputs: {n: "{{ input.n }}"}, code: "inputs['n'] * 2"}}
output: "{{ blocks.a.result }}"
"""
ASKING = """
id: asking
blocks:
  ask:
    type: human
    message: "Pay?"
    form: {type: object, required: [approved], properties: {approved: {type: boolean}}}
    next: pay
  pay: {type: function, code: "{'paid': True}"}
"""
FOR_ANN = """
id: for-ann
blocks:
  ask: {type: human, message: "Pay?", assignees: [ann]}
"""
TWO_EYES = """
id: two-eyes
blocks:
  ask: {type: human, message: "Pay?", quorum: {needed: 2}}
"""
SLOW = """
id: slow
blocks: {w: {type: wait, for: 1h}}
"""
SHORT = """
id: short
blocks: {w: {type: wait, for: 300ms}}
"""
Door = tuple[System, httpx.AsyncClient, Commander]


@pytest.fixture
async def door(system: System, database: Database) -> AsyncGenerator[Door]:
    """A system with a gateway, and a client of either of its doors."""
    async with (
        gateway(database.service_url, system.nats_url) as http,
        commander(system.bus, TENANT) as client,
    ):
        for document in (SUM, ASKING, FOR_ANN, TWO_EYES, SLOW, SHORT):
            await publish(http, document)
        yield system, http, client


async def test_a_run_gives_a_receipt_and_then_the_result_with_the_bodies_of_http(door: Door) -> None:
    _, http, client = door
    await client.send("run", {"workflow_id": "sum", "input": {"n": 21}, "id": "c-1"})
    receipt, result = await client.receipt(), await client.result()
    assert (receipt.command_id, receipt.status, receipt.repeated) == ("c-1", 202, False)
    assert (result.command_id, result.status, result.body["output"]) == ("c-1", 200, 42)
    answer = await http.post("/v1/workflows/sum/executions", json={"input": {"n": 21}})
    assert set(answer.json()) == set(result.body)
    shown = (await http.get(f"/v1/executions/{execution_in(result)}/events")).json()["items"][0]
    assert shown["actor"] == {"kind": "key", "name": "nats", "channel": "nats"}
    assert "mode" not in shown["data"]  # async, which is what is meant if nothing is said


async def test_a_command_without_a_subject_for_answers_is_done_and_forgotten(door: Door) -> None:
    system, _, _ = door
    body = msgspec.json.encode({"workflow_id": "sum", "input": {"n": 1}})
    await system.bus.publish(subjects.command(TENANT, "run"), body, {"Idempotency-Key": "k-1"})

    async def begun() -> bool:
        return bool(await system.events(keyed("sum", "k-1")))

    await eventually(begun)
    assert (await system.ended(keyed("sum", "k-1"))).output == 2

    async def empty() -> bool:
        return await messages_in(system.bus, subjects.COMMANDS_STREAM) == 0

    await eventually(empty)


async def test_one_key_is_one_execution_by_either_door_and_a_different_command_with_it_is_refused(door: Door) -> None:
    _, http, client = door
    order = {"workflow_id": "sum", "input": {"n": 4}, "reply": "receipt"}
    first = await client.ask("run", order, {"Idempotency-Key": "k-1"})
    again = await client.ask("run", order, {"Idempotency-Key": "k-1"})
    by_id = await client.ask("run", order | {"id": "k-1"})
    assert isinstance(first, Receipt)
    assert isinstance(again, Receipt)
    assert isinstance(by_id, Receipt)
    assert (first.repeated, again.repeated, by_id.repeated) == (False, True, True)
    answer = await http.post(
        "/v1/workflows/sum/executions", json={"input": {"n": 4}}, headers={"Idempotency-Key": "k-1"}
    )
    ids = {execution_in(first), execution_in(again), execution_in(by_id), answer.json()["execution_id"]}
    assert len(ids) == 1
    other = await client.ask("run", order | {"input": {"n": 5}}, {"Idempotency-Key": "k-1"})
    assert isinstance(other, Refused)
    assert other.problem["type"] == "urn:playhead:problem:idempotency-key-reused"


async def test_what_is_refused_over_http_is_refused_with_the_same_problem_and_kept(door: Door) -> None:
    system, http, client = door
    wrong = await client.ask("run", {"workflow_id": "sum", "input": {"n": "x"}, "id": "c-1"})
    assert isinstance(wrong, Refused)
    answer = await http.post("/v1/workflows/sum/executions", json={"input": {"n": "x"}})
    assert (wrong.status, wrong.problem) == (answer.status_code, answer.json())
    unknown = await client.ask("run", {"workflow_id": "nowhere"})
    assert isinstance(unknown, Refused)
    assert unknown.status == 404
    by = {"trigger_id": "t", "event_id": "e", "position": 1, "depth": 1}
    forged = await client.ask("run", {"workflow_id": "sum", "input": {"n": 1}, "trigger": by})
    assert isinstance(forged, Refused)
    assert forged.problem["errors"][0]["pointer"] == "#/trigger"
    extra = await client.ask("run", {"workflow_id": "sum", "inputs": {}})
    assert isinstance(extra, Refused)
    assert extra.problem["errors"][0]["pointer"] == "#/inputs"
    unreadable = await client.ask("run", b"\xff no json", {"Playhead-Reply-To": client.inbox})
    assert isinstance(unreadable, Refused)
    assert unreadable.problem["type"] == "urn:playhead:problem:bad-request"
    kept = await letters(system.bus, 5)
    assert [subject for subject, _, _ in kept] == [subjects.dead_letter(TENANT, "run")] * 5
    assert kept[0][1]["playhead-subject"] == subjects.command(TENANT, "run")
    assert kept[0][1]["idempotency-key"] == "c-1"
    assert msgspec.json.decode(kept[0][1]["playhead-problem"]) == wrong.problem
    assert kept[4][2] == b"\xff no json"


async def test_answers_never_go_to_subjects_of_ours(door: Door) -> None:
    system, _, _ = door
    listening = await system.bus.subscribe(">")
    for place in ("playhead.cmd.acme.run", "$JS.API.STREAM.DELETE.PLAYHEAD_EVENTS", "a.*", "a b", ""):
        body = {"workflow_id": "sum", "input": {"n": 1}, "reply_to": place}
        await system.bus.send(subjects.command(TENANT, "run"), msgspec.json.encode(body), new_id())
    kept = await letters(system.bus, 4)  # an empty one is none
    assert all("invalid-reply-to" in headers["playhead-problem"] for _, headers, _ in kept)
    await system.bus.publish("end", b"")
    async for message in listening:
        if message.subject == "end":
            break
        assert message.subject != "$JS.API.STREAM.DELETE.PLAYHEAD_EVENTS"
        assert b'"type":"refused"' not in message.data


async def test_a_pause_is_answered_and_the_result_follows(door: Door) -> None:
    _, _, client = door
    await client.send("run", {"workflow_id": "asking"})
    receipt, paused = await client.receipt(), await client.result()
    assert paused.body["status"] == "paused"
    pause = {"execution_id": execution_in(receipt), "pause_id": paused.body["pauses"][0]["pause_id"]}
    wrong = await client.ask("resume", pause | {"input": {"approved": "maybe"}})
    assert isinstance(wrong, Refused)
    assert wrong.problem["type"] == "urn:playhead:problem:answer-does-not-fit"
    await client.send("resume", pause | {"input": {"approved": True}, "id": "a-1"})
    taken, done = await client.receipt(), await client.result()
    assert (taken.status, taken.repeated, done.body["status"]) == (202, False, "completed")
    assert done.body["resumed"]["answered_by"]["name"] == "nats"
    await client.send("resume", pause | {"input": {"approved": True}, "id": "a-1"})
    again, same = await client.receipt(), await client.result()
    assert again.repeated
    assert same.body["output"] == done.body["output"]


async def test_who_has_no_key_is_nobody_and_a_key_is_somebody(door: Door, database: Database) -> None:
    system, _, client = door
    ann = await create_key(database.service_url, TENANT, "ann", ["executions:run", "pauses:answer"])
    reader = await create_key(database.service_url, TENANT, "joe", ["executions:read"])
    stranger = await create_key(database.service_url, "other", "eve", ["admin"])
    paused: dict[str, dict[str, str]] = {}
    for workflow in ("for-ann", "two-eyes"):
        await client.send("run", {"workflow_id": workflow})
        await client.receipt()
        body = (await client.result()).body
        paused[workflow] = {"execution_id": body["execution_id"], "pause_id": body["pauses"][0]["pause_id"]}
    for pause in paused.values():
        nobody = await client.ask("resume", pause | {"action": "approve"})
        assert isinstance(nobody, Refused)
        assert nobody.status == 403
    for key, kind in ((reader.key, "scope-missing"), (stranger.key, "other-tenant"), ("ph_forged", "unauthorized")):
        headers = {"Authorization": f"Bearer {key}"}
        refused = await client.ask("resume", paused["for-ann"] | {"action": "approve"}, headers)
        assert isinstance(refused, Refused)
        assert refused.problem["type"] == f"urn:playhead:problem:{kind}"
    await client.send("resume", paused["for-ann"] | {"action": "approve"}, {"X-API-Key": ann.key})
    assert (await client.receipt()).body["answered_by"] == {"kind": "key", "name": "ann", "channel": "nats"}
    assert (await client.result()).body["status"] == "completed"
    for _, headers, body in await letters(system.bus, 5):
        told = "\n".join((*headers.values(), body.decode()))
        assert not any(key in told for key in (reader.key, stranger.key, "ph_forged"))


async def test_where_keys_are_required_a_command_without_one_is_refused(system: System, database: Database) -> None:
    key = await create_key(database.service_url, TENANT, "ann", ["executions:run", "workflows:write"])
    async with (
        gateway(
            database.service_url,
            system.nats_url,
            open_tenant=None,
            bus_keys_required=True,
            headers={"X-API-Key": key.key},
        ) as http,
        commander(system.bus, TENANT) as client,
    ):
        await publish(http, SUM)
        order = {"workflow_id": "sum", "input": {"n": 1}, "reply": "receipt"}
        refused = await client.ask("run", order)
        assert isinstance(refused, Refused)
        assert refused.status == 401
        assert isinstance(await client.ask("run", order, {"authorization": f"bearer {key.key}"}), Receipt)


async def test_a_cancel_has_its_result_when_the_execution_has_ended(door: Door) -> None:
    _, _, client = door
    started = await client.ask("run", {"workflow_id": "slow", "reply": "receipt"})
    assert isinstance(started, Receipt)
    await client.send("cancel", {"execution_id": execution_in(started), "reason": "enough"})
    receipt, result = await client.receipt(), await client.result()
    assert (receipt.status, result.body["status"]) == (202, "cancelled")
    refused = await client.ask("cancel", {"execution_id": execution_in(started)})
    assert isinstance(refused, Refused)
    assert refused.problem["type"] == "urn:playhead:problem:execution-ended"


async def test_an_execution_is_run_again_and_a_dry_run_has_a_result_at_once(door: Door) -> None:
    _, http, client = door
    await client.send("run", {"workflow_id": "sum", "input": {"n": 1}})
    await client.receipt()
    first = await client.result()
    order = {"execution_id": execution_in(first), "from_block": "a", "input": {"n": 5}}
    plan = await client.ask("rerun", order | {"dry_run": True})
    assert isinstance(plan, Result)
    assert "plan" in plan.body
    await client.send("rerun", order, {"Idempotency-Key": "r-1"})
    receipt, result = await client.receipt(), await client.result()
    assert receipt.body["plan"] == plan.body["plan"]
    assert result.body["output"] == 10
    body = {name: value for name, value in order.items() if name != "execution_id"}
    over_http = await http.post(
        f"/v1/executions/{execution_in(first)}/rerun", json=body, headers={"Idempotency-Key": "r-1"}
    )
    assert over_http.json()["execution_id"] == execution_in(result)


async def test_many_clients_wait_for_results_at_once(door: Door) -> None:
    system, _, client = door
    for number in range(300):
        order = {"workflow_id": "sum", "input": {"n": number}, "id": f"m-{number}", "reply_to": client.inbox}
        await system.bus.publish(subjects.command(TENANT, "run"), msgspec.json.encode(order))
    results: dict[str, Result] = {}
    receipts = 0
    while len(results) < 300:
        answer = await client.heard()
        if isinstance(answer, Result):
            results[answer.command_id] = answer
        else:
            receipts += isinstance(answer, Receipt)
    assert receipts == 300
    assert all(results[f"m-{number}"].body["output"] == number * 2 for number in range(300))
    streams = {execution_stream(execution_in(result)) for result in results.values()}
    assert len(streams) == 300


async def test_more_that_wait_than_a_gateway_holds_are_answered_too(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, client = door
    monkeypatch.setattr(commands, "MOST_HELD", 2)
    monkeypatch.setattr(commands, "_LOOK_AGAIN_SECONDS", 0.1)
    for number in range(12):
        await client.send("run", {"workflow_id": "short", "id": f"h-{number}"})
    answered: set[str] = set()
    while len(answered) < 12:
        answer = await client.heard()
        assert not isinstance(answer, Refused)
        if isinstance(answer, Result):
            assert answer.body["status"] == "completed"
            answered.add(answer.command_id)


async def test_a_result_larger_than_a_message_says_where_to_get_it(door: Door) -> None:
    _, http, client = door
    code = "'x' * 900000"
    many = "".join(f'  b{n}: {{type: function, code: "{code}"}}\n' for n in range(10))
    await publish(http, f"id: large\nblocks:\n{many}")
    await client.send("run", {"workflow_id": "large"})
    await client.receipt()
    result = await client.result()
    assert result.status == 413
    assert result.body["links"]["self"].endswith(execution_in(result))


async def test_a_refused_command_that_is_too_large_to_be_kept_leaves_at_least_the_reason(door: Door) -> None:
    system, _, client = door
    data = b"x" * (system.bus.max_payload - 200)
    headers = {"Playhead-Reply-To": client.inbox}
    await system.bus.publish(subjects.command(TENANT, "run"), data, headers)
    assert (await client.refused()).problem["type"] == "urn:playhead:problem:bad-request"
    [(_, kept, body)] = await letters(system.bus, 1)
    assert body == b""
    assert kept["playhead-error"].endswith("; too large to keep")


async def test_a_stopped_gateway_hands_waiting_commands_to_another(system: System, database: Database) -> None:
    async with commander(system.bus, TENANT) as client:
        async with gateway(database.service_url, system.nats_url) as http:
            await publish(http, SLOW)
            await client.send("run", {"workflow_id": "slow", "id": "s-1"})
            first = await client.receipt()
        async with gateway(database.service_url, system.nats_url) as http:
            again = await client.receipt()
            assert again.repeated
            assert execution_in(again) == execution_in(first)
            cancelling = http.post(f"/v1/executions/{execution_in(first)}/cancel", json={})
            _, result = await asyncio.gather(cancelling, client.result())
            assert (result.command_id, result.body["status"]) == ("s-1", "cancelled")


async def test_a_command_that_does_not_exist_is_refused_too_and_not_left_lying(door: Door) -> None:
    system, _, client = door
    refused = await client.ask("strat", {"workflow_id": "sum", "id": "c-1"})
    assert isinstance(refused, Refused)
    assert (refused.command_id, refused.problem["type"]) == ("c-1", "urn:playhead:problem:unknown-command")
    [(subject, headers, _)] = await letters(system.bus, 1)
    assert subject == subjects.dead_letter(TENANT, "unknown")
    assert headers["playhead-subject"] == subjects.command(TENANT, "strat")
    assert await messages_in(system.bus, subjects.COMMANDS_STREAM) == 0


async def test_a_dead_letter_is_sent_again_and_is_the_same_command(door: Door) -> None:
    system, http, client = door
    order = {"workflow_id": "later", "id": "c-1"}
    assert isinstance(await client.ask("run", order), Refused)
    assert isinstance(await client.ask("run", order, {"X-API-Key": "ph_forged"}), Refused)
    first, second = await find_letters(system.bus, [])
    assert (first.letter.kind, first.letter.command) == (
        "run",
        RunRequest(workflow_id=WorkflowId("later"), id="c-1", reply_to=client.inbox),
    )
    assert first.letter.problem["status"] == 404
    await publish(http, "id: later\nblocks: {a: {type: function, code: '1'}}")
    with pytest.raises(KeyNotKept):
        await redrive(system.bus, second)
    await redrive(system.bus, first)
    receipt, result = await client.receipt(), await client.result()
    assert execution_in(receipt) == keyed("later", "c-1")
    assert result.body["status"] == "completed"
    assert [kept.letter.number for kept in await find_letters(system.bus, [])] == [2]
