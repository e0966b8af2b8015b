"""Events from outside: taken once, in either mode of CloudEvents, or refused with every fault."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import msgspec
import pytest

from playhead_contracts.events import EventReceived
from playhead_contracts.ids import EventId, event_stream
from playhead_eventlog import EventLog, open_log
from playhead_gateway.access import create_key
from playhead_gateway.cloud_events import read_cloud_event
from playhead_gateway.problems import BadRequest, UnsupportedMediaType
from playhead_runtime.bus import Bus
from tests.conftest import Database
from tests.door import TENANT, assert_problem, gateway

STRUCTURED = {"content-type": "application/cloudevents+json"}
PAYMENT = {
    "specversion": "1.0",
    "id": "p-1",
    "source": "https://bank.example/eu",
    "type": "payment.settled",
    "subject": "orders/o-1",
    "time": "2026-03-01T14:00:00.5+02:00",
    "datacontenttype": "application/json",
    "partitionkey": "o-1",
    "sequence": 7,
    "data": {"order": "o-1", "text": "nul \x00 and 漢字"},
}


@pytest.fixture
async def log(database: Database) -> AsyncGenerator[EventLog]:
    async with open_log(database.service_url) as log:
        yield log


@pytest.fixture
async def client(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[httpx.AsyncClient]:
    async with gateway(database.service_url, nats_url) as client:
        yield client


async def send(client: httpx.AsyncClient, **changes: Any) -> httpx.Response:
    event = {name: value for name, value in (PAYMENT | changes).items() if value is not ...}
    return await client.post("/v1/events", json=event, headers=STRUCTURED)


async def recorded(log: EventLog, event_id: str) -> EventReceived:
    [event] = await log.read(event_stream(TENANT, EventId(event_id)))
    assert isinstance(event.data, EventReceived)
    assert (event.envelope.id, event.envelope.tenant) == (event_id, TENANT)
    return event.data


async def test_a_structured_event_is_recorded_with_all_it_says(client: httpx.AsyncClient, log: EventLog) -> None:
    response = await send(client)
    assert response.status_code == 202, response.text
    taken = response.json()
    assert taken["position"] == await log.last_position() == 1
    data = await recorded(log, taken["event_id"])
    assert (data.event_id, data.event_type, data.source) == ("p-1", "payment.settled", "https://bank.example/eu")
    assert data.subject == "orders/o-1"
    assert data.time is not None
    assert data.time.isoformat() == "2026-03-01T12:00:00.500000+00:00"
    assert data.content == PAYMENT["data"]
    assert data.attributes == {"partitionkey": "o-1", "sequence": 7}


async def test_a_binary_event_is_its_headers_and_any_json_body(client: httpx.AsyncClient, log: EventLog) -> None:
    attributes = {"specversion": "1.0", "id": "p-2", "source": "/a%20b", "type": "x", "extra": "%E6%BC%A2"}
    headers = {f"CE-{name}": value for name, value in attributes.items()}
    response = await client.post("/v1/events", content=b"[1, 2]", headers=headers | {"content-type": "text/json"})
    assert response.status_code == 202, response.text
    data = await recorded(log, response.json()["event_id"])
    assert (data.source, data.content, data.attributes) == ("/a b", [1, 2], {"extra": "漢"})

    without_body = await client.post("/v1/events", headers=headers | {"ce-id": "p-3"})
    assert without_body.status_code == 202, without_body.text
    assert (await recorded(log, without_body.json()["event_id"])).content is None


async def test_the_same_event_again_is_the_same_event_and_another_is_refused(
    client: httpx.AsyncClient, log: EventLog
) -> None:
    first = await send(client)
    again = await send(client)
    assert (again.status_code, again.json()) == (200, first.json())
    assert_problem(await send(client, data={"order": "o-2"}), 409, "event-is-another")
    assert await log.last_position() == 1
    other_source = await send(client, source="/elsewhere")
    assert other_source.status_code == 202
    assert other_source.json()["event_id"] != first.json()["event_id"]


async def test_an_event_belongs_to_the_tenant_of_the_key_and_needs_its_scope(
    database: Database, nats_url: str, bus: Bus, log: EventLog
) -> None:
    runs = [await create_key(database.service_url, tenant, "bank", ["executions:run"]) for tenant in ("acme", "globex")]
    reads = await create_key(database.service_url, "acme", "reader", ["executions:read"])
    async with gateway(database.service_url, nats_url, open_tenant=None) as client:

        async def send_with(key: str) -> httpx.Response:
            return await client.post("/v1/events", json=PAYMENT, headers=STRUCTURED | {"x-api-key": key})

        taken = [await send_with(made.key) for made in runs]
        assert [response.status_code for response in taken] == [202, 202]
        assert_problem(await send_with(reads.key), 403, "scope-missing")
        assert_problem(await client.post("/v1/events", json=PAYMENT, headers=STRUCTURED), 401)
    assert {raw.stream_id for raw in await log.read_log(0, 10) if raw.type == "event.received"} == {
        f"event:{tenant}:{response.json()['event_id']}"
        for tenant, response in zip(("acme", "globex"), taken, strict=True)
    }


FAULTS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "nothing that is required": (
        {"specversion": ..., "id": ..., "source": ..., "type": None},
        {"#/specversion", "#/id", "#/source", "#/type"},
    ),
    "another version": ({"specversion": "0.3"}, {"#/specversion"}),
    "empty and wrong kinds": ({"id": "", "source": 5, "subject": {}}, {"#/id", "#/source", "#/subject"}),
    "no time": ({"time": "yesterday"}, {"#/time"}),
    "a time without its zone": ({"time": "2026-03-01T12:00:00"}, {"#/time"}),
    "a type that is no token": ({"type": "a b"}, {"#/type"}),
    "a type of ours": ({"type": "dev.playhead.block.completed"}, {"#/type"}),
    "a type of ours without its prefix": ({"type": "execution.completed"}, {"#/type"}),
    "attributes that CloudEvents does not allow": (
        {"Upper": 1, "listed": [1], "half": 0.5, "large": 2**31},
        {"#/Upper", "#/listed", "#/half", "#/large"},
    ),
    "data that is not JSON": ({"datacontenttype": "text/xml", "data": "<a/>"}, {"#/datacontenttype"}),
    "data as bytes": ({"data": ..., "data_base64": "AA=="}, {"#/data_base64"}),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_event_at_fault_is_refused_at_every_place(
    client: httpx.AsyncClient, log: EventLog, fault: str
) -> None:
    changes, places = FAULTS[fault]
    problem = assert_problem(await send(client, **changes), 422, "invalid-request")
    assert {error["pointer"] for error in problem["errors"]} == places
    assert await log.last_position() == 0


async def test_what_is_no_event_is_told_apart(client: httpx.AsyncClient, log: EventLog) -> None:
    async def post(content: bytes, kind: str) -> httpx.Response:
        headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/", "ce-type": "x", "content-type": kind}
        return await client.post("/v1/events", content=content, headers=headers)

    assert_problem(await post(b"{", "application/cloudevents+json"), 400, "bad-request")
    assert_problem(await post(b"[]", "application/cloudevents+json"), 422, "invalid-request")
    assert_problem(await post(b"<ce/>", "application/cloudevents+xml"), 415)
    assert_problem(await post(b"{}", "application/cloudevents-batch+json"), 422, "invalid-request")
    assert_problem(await post(b"<a/>", "application/xml"), 415)
    assert_problem(await post(b"{", "application/json"), 400, "bad-request")
    assert_problem(await client.post("/v1/events", json={"order": 1}), 422, "invalid-request")
    assert await log.last_position() == 0


async def send_batch(client: httpx.AsyncClient, *events: dict[str, Any]) -> httpx.Response:
    return await client.post(
        "/v1/events",
        content=msgspec.json.encode(events),
        headers={"content-type": "application/cloudevents-batch+json"},
    )


async def test_a_batch_is_recorded_in_its_order_and_again_not_at_all(client: httpx.AsyncClient, log: EventLog) -> None:
    batch = [PAYMENT | {"id": f"b-{number}"} for number in range(5)]
    first = await send_batch(client, *batch)
    assert first.status_code == 202, first.text
    assert [taken["position"] for taken in first.json()] == [1, 2, 3, 4, 5]
    again = await send_batch(client, *batch)
    assert (again.status_code, again.json()) == (200, first.json())
    more = await send_batch(client, *batch, PAYMENT)
    assert (more.status_code, more.json()[:5], more.json()[5]["position"]) == (202, first.json(), 6)
    assert (await send_batch(client)).json() == []


async def test_nothing_of_a_batch_with_a_fault_is_taken(client: httpx.AsyncClient, log: EventLog) -> None:
    problem = assert_problem(await send_batch(client, PAYMENT, PAYMENT | {"type": "a b"}), 422, "invalid-request")
    assert [error["pointer"] for error in problem["errors"]] == ["#/1/type"]
    assert_problem(await send_batch(client, *[PAYMENT] * 1001), 422, "invalid-request")
    assert await log.last_position() == 0


async def test_an_event_is_the_same_in_whichever_mode_it_comes(client: httpx.AsyncClient, log: EventLog) -> None:
    taken = await send(client, flag=True)
    headers = {
        f"ce-{name}": str(value).replace(" ", "%20")
        for name, value in PAYMENT.items()
        if name not in ("data", "datacontenttype")
    }
    binary = await client.post("/v1/events", json=PAYMENT["data"], headers=headers | {"ce-flag": "true"})
    assert (binary.status_code, binary.json()) == (200, taken.json())
    other = await client.post("/v1/events", json=PAYMENT["data"], headers=headers | {"ce-flag": "false"})
    assert_problem(other, 409, "event-is-another")


async def test_the_kind_of_data_is_kept_where_it_says_more_than_json(client: httpx.AsyncClient, log: EventLog) -> None:
    plain = await send(client, datacontenttype="application/json; charset=utf-8")
    assert "datacontenttype" not in (await recorded(log, plain.json()["event_id"])).attributes
    of_kind = await send(client, id="p-2", datacontenttype="application/vnd.bank+json")
    data = await recorded(log, of_kind.json()["event_id"])
    assert data.attributes["datacontenttype"] == "application/vnd.bank+json"


def test_a_message_of_nats_says_in_another_header_of_what_kind_its_data_is() -> None:
    headers = {"CE-SpecVersion": "1.0", "Ce-Id": "%E6%BC%A2", "ce-source": "/s", "ce-type": "paid"}
    event = read_cloud_event({**headers, "ce-datacontenttype": "application/json"}.items(), b'{"n":1}')
    assert event == EventReceived(event_id="漢", event_type="paid", source="/s", content={"n": 1})
    whole = {"specversion": "1.0", "id": "漢", "source": "/s", "type": "paid", "data": {"n": 1}}
    kind = ("Content-Type", "Application/CloudEvents+JSON; charset=utf-8")
    assert read_cloud_event([kind], msgspec.json.encode(whole)) == event
    with pytest.raises(UnsupportedMediaType):
        read_cloud_event(headers.items(), b'{"n":1}')
    with pytest.raises(BadRequest):
        read_cloud_event({**headers, "ce-subject": "%FF"}.items(), b"")
