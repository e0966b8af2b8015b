"""Answering through the gateway: mirrored in the way in which the execution was started."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from playhead_contracts import subjects
from playhead_contracts.events import BlockCompleted, ExecutionCompleted, ExecutionResumed
from playhead_contracts.ids import BlockPath, ExecutionId, PauseId
from playhead_eventlog import EventLog, open_log
from playhead_projector.app import serve as serve_projector
from playhead_projector.settings import Settings as ProjectorSettings
from playhead_runtime.bus import Bus, NobodyThere
from playhead_runtime.ids import new_id
from tests.conftest import Database
from tests.door import ASKING, Pen, assert_problem, done, gateway, keyed, publish, sent_events, start_async
from tests.system import eventually, hitl

YES = {"input": {"approved": True}}


@pytest.fixture
async def pen(database: Database, bus: Bus) -> AsyncGenerator[Pen]:
    async with open_log(database.service_url) as log:
        yield Pen(log, bus)


@pytest.fixture
def log(pen: Pen) -> EventLog:
    return pen.log


@pytest.fixture
async def client(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[httpx.AsyncClient]:
    async with gateway(database.service_url, nats_url) as client:
        await publish(client, ASKING)
        yield client


@pytest.fixture
async def answers(database: Database, nats_url: str, client: httpx.AsyncClient, bus: Bus) -> AsyncGenerator[None]:
    """A service that takes answers, once it does."""
    async with hitl(database.service_url, nats_url):

        async def served() -> bool:
            response = await client.post(f"/v1/executions/{new_id()}/pauses/{new_id()}/resume", json=YES)
            assert response.status_code == 404
            try:
                await bus.request(subjects.ANSWER_REQUESTS, b"{}", 2)
            except NobodyThere:
                return False
            except Exception:  # noqa: BLE001 - somebody took it, which is what is asked
                return True
            return True

        await eventually(served)
        yield


@pytest.fixture
async def projector(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[None]:
    stop = asyncio.Event()
    settings = ProjectorSettings(database_url=database.service_url, nats_url=nats_url)
    running = asyncio.create_task(serve_projector(settings, stop))
    yield
    stop.set()
    await asyncio.wait_for(running, 30)


async def go_on(pen: Pen, execution_id: ExecutionId) -> None:
    """What an executor does once the pause is answered."""

    async def answered() -> bool:
        return (await pen.created(execution_id)).unheeded > 0

    await eventually(answered)
    await pen.write(
        execution_id,
        ExecutionResumed(executor="pen", epoch=2, command="resume"),
        BlockCompleted(path=BlockPath("ask"), outputs={"answer": {"approved": True}}),
        done("pay", {"paid": True}),
        ExecutionCompleted(output={"paid": True}),
    )


async def start_in_mode(client: httpx.AsyncClient, pen: Pen, mode: str) -> tuple[ExecutionId, PauseId]:
    execution_id = keyed("asking", f"in-{mode}")
    call = client.post(
        "/v1/workflows/asking/executions", json={"mode": mode}, headers={"idempotency-key": f"in-{mode}"}
    )
    calling = asyncio.create_task(call)
    pause_id = await pen.pause(execution_id)
    assert (await calling).status_code in (200, 202)
    return execution_id, pause_id


def resume(client: httpx.AsyncClient, execution_id: ExecutionId, pause_id: PauseId | str, body: Any = YES) -> Any:
    return client.post(f"/v1/executions/{execution_id}/pauses/{pause_id}/resume", json=body)


async def test_a_sync_execution_answers_with_its_result(client: httpx.AsyncClient, pen: Pen, answers: None) -> None:
    execution_id, pause_id = await start_in_mode(client, pen, "sync")
    going_on = asyncio.create_task(go_on(pen, execution_id))
    response = await resume(client, execution_id, pause_id)
    await going_on
    assert response.status_code == 200
    assert (response.json()["status"], response.json()["output"]) == ("completed", {"paid": True})
    again = await resume(client, execution_id, pause_id)
    first, second = response.json(), again.json()
    assert again.status_code == 200
    assert (first.pop("resumed")["repeated"], second.pop("resumed")["repeated"]) == (False, True)
    assert first == second


async def test_who_answers_may_ask_to_be_told_in_another_way(
    client: httpx.AsyncClient, pen: Pen, answers: None
) -> None:
    execution_id, pause_id = await start_in_mode(client, pen, "sync")
    here = f"/v1/executions/{execution_id}/pauses/{pause_id}/resume"
    response = await client.post(here, json=YES, headers={"prefer": "respond-async"})
    assert (response.status_code, response.headers["preference-applied"]) == (202, "respond-async")
    again = await client.post(here, json={**YES, "mode": "async"})
    assert (again.status_code, again.json()["answered_by"]["name"]) == (200, response.json()["answered_by"]["name"])
    going_on = asyncio.create_task(go_on(pen, execution_id))
    async with client.stream("POST", here, json=YES, headers={"accept": "text/event-stream"}) as stream:
        events = [event async for event in sent_events(stream)]
    await going_on
    assert events[-1].event == "execution.completed"


async def test_a_key_stands_for_one_answer(client: httpx.AsyncClient, pen: Pen, answers: None) -> None:
    execution_id, pause_id = await start_in_mode(client, pen, "async")
    here = f"/v1/executions/{execution_id}/pauses/{pause_id}/resume"
    key = {"idempotency-key": "once"}
    assert (await client.post(here, json=YES, headers=key)).status_code == 202
    assert (await client.post(here, json=YES, headers=key)).status_code == 200
    other = await client.post(here, json={"input": {"approved": False}}, headers=key)
    assert_problem(other, 422, "idempotency-key-reused")


async def test_more_time_and_another_person_are_asked_for_over_http(
    client: httpx.AsyncClient, pen: Pen, answers: None
) -> None:
    execution_id, pause_id = await start_in_mode(client, pen, "async")
    here = f"/v1/executions/{execution_id}/pauses/{pause_id}"
    assert_problem(await client.post(f"{here}/extend", json={"expires_in": "2d"}), 422, "no-more-time")
    assert_problem(await client.post(f"{here}/extend", json={}), 422, "invalid-request")
    assert_problem(await client.post(f"{here}/extend", json={"expires_in": "soon"}), 422, "invalid-request")
    delegated = await client.post(f"{here}/delegate", json={"to": "bob", "reason": "away"})
    assert (delegated.status_code, delegated.json()["repeated"]) == (200, False)
    assert_problem(await client.post(f"{here}/resume", json=YES), 403, "not-an-assignee")


async def test_an_async_execution_answers_at_once(client: httpx.AsyncClient, pen: Pen, answers: None) -> None:
    execution_id, pause_id = await start_in_mode(client, pen, "async")
    response = await resume(client, execution_id, pause_id)
    assert (response.status_code, response.json()["status"]) == (202, "queued")
    again = await resume(client, execution_id, pause_id)
    assert (again.status_code, again.json()["repeated"]) == (200, True)


async def test_a_streaming_execution_answers_with_the_facts_from_the_answer_on(
    client: httpx.AsyncClient, pen: Pen, answers: None
) -> None:
    execution_id, pause_id = await start_in_mode(client, pen, "stream")
    going_on = asyncio.create_task(go_on(pen, execution_id))
    here = f"/v1/executions/{execution_id}/pauses/{pause_id}/resume"
    async with client.stream("POST", here, json=YES) as response:
        assert response.status_code == 200
        events = [event async for event in sent_events(response)]
    await going_on
    assert [event.id for event in events if event.id] == [5, 6, 7, 8, 9]
    assert (events[0].event, events[-1].event) == ("pause.resolved", "execution.completed")


async def test_answers_that_cannot_be_are_refused_and_told_why(
    client: httpx.AsyncClient, pen: Pen, answers: None
) -> None:
    execution_id, pause_id = await start_in_mode(client, pen, "async")
    before = await pen.log.last_position()
    problem = assert_problem(
        await resume(client, execution_id, pause_id, {"input": {"approved": "yes"}}), 422, "answer-does-not-fit"
    )
    assert problem["errors"]
    assert_problem(await resume(client, execution_id, pause_id, {"input": "yes"}), 422, "invalid-request")
    assert_problem(await resume(client, execution_id, pause_id, {"approved": True}), 422, "invalid-request")
    assert_problem(await resume(client, execution_id, new_id()), 404, "pause-unknown")
    assert_problem(await resume(client, execution_id, "nonsense"), 404, "pause-unknown")
    wrong = {"input": {"approved": True}, "digest": "sha256:1"}
    assert_problem(await resume(client, execution_id, pause_id, wrong), 409, "proposal-changed")
    assert await pen.log.last_position() == before

    assert (await resume(client, execution_id, pause_id)).status_code == 202
    other = await resume(client, execution_id, pause_id, {"input": {"approved": False}})
    assert_problem(other, 409, "pause-already-answered")


async def test_of_many_answers_at_once_one_wins_and_all_are_told(
    client: httpx.AsyncClient, pen: Pen, answers: None
) -> None:
    execution_id, pause_id = await start_in_mode(client, pen, "async")
    bodies = [{"input": {"approved": number % 2 == 0}} for number in range(20)]
    responses = await asyncio.gather(*(resume(client, execution_id, pause_id, body) for body in bodies))
    codes = [response.status_code for response in responses]
    assert codes.count(202) == 1
    assert codes.count(200) == 9
    assert codes.count(409) == 10
    kinds = [raw.type for raw in await pen.log.read_log(0, 1000)]
    assert kinds.count("pause.resolved") == 1


async def test_without_anybody_to_take_answers_the_caller_is_told_to_come_again(
    client: httpx.AsyncClient, pen: Pen
) -> None:
    execution_id, pause_id = await start_in_mode(client, pen, "async")
    response = await resume(client, execution_id, pause_id)
    assert_problem(response, 503, "unavailable")
    assert int(response.headers["retry-after"]) >= 1


async def test_a_bad_item_of_a_batch_harms_no_other(client: httpx.AsyncClient, pen: Pen, answers: None) -> None:
    execution_id, pause_id = await start_in_mode(client, pen, "async")
    items: list[Any] = [
        {"pause_id": new_id(), "approved": True},
        {"pause_id": pause_id, "approved": True},
        {"pause_id": pause_id},
        {"tool_call_id": "call-1", "approved": True},
        {"pause_id": pause_id, "approved": False, "surprise": 1},
        7,
    ]
    response = await client.post(f"/v1/executions/{execution_id}/approvals", json={"items": items})
    assert response.status_code == 200
    outcomes = response.json()["items"]
    assert [(item["index"], item["status"]) for item in outcomes] == [
        (0, 404),
        (1, 200),
        (2, 422),
        (3, 422),
        (4, 422),
        (5, 422),
    ]
    assert outcomes[1]["outcome"] == "answered"
    assert outcomes[0]["problem"]["type"] == "urn:playhead:problem:pause-unknown"
    again = await client.post(f"/v1/executions/{execution_id}/approvals", json={"items": items[1:2]})
    assert again.json()["items"][0]["outcome"] == "repeated"
    assert_problem(await client.post(f"/v1/executions/{execution_id}/approvals", json={"items": []}), 422)


async def test_the_inbox_shows_what_is_asked_and_what_became_of_it(
    client: httpx.AsyncClient, pen: Pen, answers: None, projector: None
) -> None:
    execution_id, pause_id = await start_in_mode(client, pen, "async")

    async def inbox() -> list[dict[str, Any]] | None:
        response = await client.get("/v1/pauses", params={"status": "open", "workflow": "asking"})
        return response.json()["items"] if response.status_code == 200 else None

    rows = await eventually(inbox)
    assert [(row["pause_id"], row["execution_id"], row["status"]) for row in rows] == [(pause_id, execution_id, "open")]
    shown = (await client.get(f"/v1/pauses/{pause_id}")).json()
    assert (shown["message"], shown["before"]) == ("Pay?", {})
    assert shown["form"] == rows[0]["form"]
    assert (await resume(client, execution_id, pause_id)).status_code == 202
    shown = (await client.get(f"/v1/pauses/{pause_id}")).json()
    assert (shown["status"], shown["answer"]) == ("answered", {"approved": True})
    assert (await client.get("/v1/pauses", params={"status": "open"})).json()["items"] == []
    assert (await client.get("/v1/pauses", params={"assignee": "nobody"})).json()["items"] == []
    assert_problem(await client.get(f"/v1/pauses/{new_id()}"), 404, "pause-unknown")


async def test_a_pause_can_be_shown_as_soon_as_its_id_is_known(
    client: httpx.AsyncClient, pen: Pen, projector: None
) -> None:
    async def is_up() -> bool:
        return (await client.get("/v1/pauses")).status_code == 200

    await eventually(is_up)
    for _ in range(5):
        pause_id = await pen.pause(await start_async(client, "asking"))
        assert (await client.get(f"/v1/pauses/{pause_id}")).status_code == 200
