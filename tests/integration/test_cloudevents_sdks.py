"""Events on the bus are CloudEvents to the official SDKs, and what the SDKs make of them is the same event to us."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import httpx
import jsonschema_rs
import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary, from_structured, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from playhead_contracts.asyncapi import asyncapi
from playhead_contracts.events import EventReceived
from playhead_contracts.ids import EventId, event_stream
from playhead_eventlog import EventLog, open_log
from playhead_runtime.bus import Bus
from tests.conftest import Database
from tests.derived import Copy, copies, stream_state
from tests.door import TENANT, gateway, publish
from tests.node import installed_once, told_by
from tests.system import eventually, executor, projector
from tests.traffic import Traffic

FORMAT = JSONFormat()
OFFICIAL = Path(__file__).parent.parent / "official"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TELLING = """
id: telling
blocks:
  tell: {type: publish, event: refund.approved, subject: "refund 7", data: {amount: 5}, next: ask}
  ask: {type: human, message: "Pay?"}
"""
PLAIN: dict[str, Any] = {
    "id": "p-1",
    "source": "https://bank.example/eu",
    "type": "payment.settled",
    "subject": "orders/o-1",
    "time": "2026-03-01T12:00:00.500Z",
    "datacontenttype": "application/json",
    "dataschema": "https://bank.example/payment.json",
    "partitionkey": "o-1",
    "tier": "gold",
}
"""Within what the SDK for JavaScript can do: it knows no percent-encoding, times to the millisecond, and no `+json`."""
DATA = {"order": "o-1", "amount": 1.5, "text": 'quote " and 漢字', "nothing": None}


@pytest.fixture
async def log(database: Database) -> AsyncGenerator[EventLog]:
    async with open_log(database.service_url) as log:
        yield log


@pytest.fixture
async def door(database: Database, nats_url: str, bus: Bus) -> AsyncGenerator[httpx.AsyncClient]:
    """What takes events, and what puts them on the bus."""
    async with projector(database.service_url, nats_url), gateway(database.service_url, nats_url) as client:
        yield client


@pytest.fixture
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official SDK for JavaScript."""
    return installed_once(OFFICIAL, tmp_path_factory)


async def on_the_bus(bus: Bus, log: EventLog) -> list[Copy]:
    """The copy of the whole log."""

    async def all_of_it() -> list[Copy] | None:
        found = await copies(bus) if (await stream_state(bus)).get("messages") else []
        return found if found and int(found[-1].headers["playhead-position"]) == await log.last_position() else None

    return await eventually(all_of_it)


def as_http(copy: Copy) -> HTTPMessage:
    """A message of the bus as a request: the two bindings differ in where the kind of the data stands."""
    headers = {name: value for name, value in copy.headers.items() if name != "ce-datacontenttype"}
    headers.pop("traceparent", None)
    return HTTPMessage({**headers, "content-type": copy.headers["ce-datacontenttype"]}, copy.body)


def as_nats(message: HTTPMessage) -> HTTPMessage:
    """A request as a message of NATS, where `Content-Type` does nothing but tell structured events."""
    kind = message.headers["content-type"]
    if kind.startswith("application/cloudevents"):
        return message
    headers = {name: value for name, value in message.headers.items() if name != "content-type"}
    return HTTPMessage(headers | {"ce-datacontenttype": kind}, message.body)


async def post(client: httpx.AsyncClient, message: HTTPMessage) -> httpx.Response:
    return await client.post("/v1/events", content=message.body, headers=message.headers)


async def recorded(log: EventLog, response: httpx.Response) -> EventReceived:
    [event] = await log.read(event_stream(TENANT, EventId(response.json()["event_id"])))
    assert isinstance(event.data, EventReceived)
    return event.data


def sent_by_sdk(attributes: dict[str, Any], data: Any) -> CloudEvent:
    """An event as a program with the SDK makes it, which wants a time as an object."""
    return CloudEvent({**attributes, "specversion": "1.0", "time": datetime.fromisoformat(attributes["time"])}, data)


async def test_events_go_through_the_sdk_for_python_and_come_back_the_same(
    door: httpx.AsyncClient, log: EventLog, bus: Bus
) -> None:
    tricky = PLAIN | {"id": "p 1", "subject": 'quote " % and 漢字', "time": "2026-03-01T12:00:00.123456+00:00"}
    tricky |= {"datacontenttype": "application/vnd.bank+json"}
    for number, attributes in enumerate((PLAIN, tricky)):
        event = sent_by_sdk(attributes, DATA)
        taken = await post(door, to_binary(event, FORMAT))
        assert taken.status_code == 202, taken.text
        again = await post(door, to_structured(event, FORMAT))
        assert (again.status_code, again.json()) == (200, taken.json())
        before = await recorded(log, taken)

        copy = (await on_the_bus(bus, log))[number]
        on_bus = from_binary(as_http(copy), FORMAT, CloudEvent)
        assert on_bus.get_attributes() == event.get_attributes()
        assert on_bus.get_data() == DATA
        passed_on = [to_binary(on_bus, FORMAT), to_structured(on_bus, FORMAT)]
        passed_on += [to_structured(from_structured(passed_on[1], FORMAT, CloudEvent), FORMAT)]
        for message in passed_on:
            response = await post(door, message)
            assert (response.status_code, response.json()) == (200, taken.json()), response.text
        async with await bus.subscribe("told") as told:
            for mode, message in enumerate(map(as_nats, passed_on[:2])):
                subject, headers = "playhead.in.acme.payment.settled", message.headers | {"Playhead-Reply-To": "told"}
                await bus.send(subject, message.body, f"{number}-{mode}", headers)
                receipt = msgspec.json.decode((await anext(aiter(told))).data)
                assert (receipt["status"], receipt["body"]) == (200, taken.json())
        assert await recorded(log, taken) == before
    assert await log.last_position() == 2


async def test_events_go_through_the_sdk_for_javascript_and_come_back_the_same(
    door: httpx.AsyncClient, log: EventLog, bus: Bus, official: Path
) -> None:
    taken = await post(door, to_structured(sent_by_sdk(PLAIN, DATA), FORMAT))
    assert taken.status_code == 202, taken.text
    [said] = await told_by_javascript(official, await on_the_bus(bus, log))
    assert said["event"] == PLAIN | {"specversion": "1.0", "data": DATA}
    for mode in ("binary", "structured"):
        response = await post(door, HTTPMessage(said[mode]["headers"], said[mode]["body"].encode()))
        assert (response.status_code, response.json()) == (200, taken.json()), response.text


async def test_everything_on_the_bus_is_what_the_contracts_say_to_both_sdks(
    door: httpx.AsyncClient, log: EventLog, bus: Bus, official: Path, database: Database, nats_url: str
) -> None:
    async with executor(database.service_url, nats_url):
        await publish(door, TELLING)
        paused = await door.post("/v1/workflows/telling/executions", json={}, headers={"traceparent": TRACE})
        assert paused.json()["status"] == "paused", paused.text
    await post(door, to_binary(sent_by_sdk(PLAIN, DATA), FORMAT))
    await Traffic(log).run(10)
    found = await on_the_bus(bus, log)
    raws = await log.read_log(0, 10_000)
    contract = Contract(asyncapi("1"))
    for copy, raw, said in zip(found, raws, await told_by_javascript(official, found), strict=True):
        contract.check(copy, raw.type)
        for event in (from_binary(as_http(copy), FORMAT, CloudEvent).get_attributes(), said["event"]):
            assert (event["id"], event["type"]) == (copy.headers["ce-id"], copy.headers["ce-type"])
        if "playhead-event" not in copy.headers:
            assert copy.headers["ce-dataschema"] == f"urn:playhead:contract:events/{raw.type}.v1.json"
            assert said["event"]["data"] == as_javascript_has_it(msgspec.json.decode(raw.data))
    created = [copy for copy in found if copy.headers["ce-type"] == "dev.playhead.execution.created"]
    assert any(TRACE[3:35] in copy.headers.get("ce-traceparent", "") for copy in created)

    [told] = [copy for copy in found if copy.subject == "playhead.evt.acme.telling.published.refund.approved"]
    event = from_binary(as_http(told), FORMAT, CloudEvent)
    assert event.get_data() == {"amount": 5}
    first, second = [await post(door, to(event, FORMAT)) for to in (to_structured, to_binary)]
    assert (first.status_code, second.status_code, second.json()) == (202, 200, first.json())
    assert (await recorded(log, first)).content == {"amount": 5}


class Contract:
    """The AsyncAPI document, as what checks messages."""

    def __init__(self, document: dict[str, Any]):
        self._document = document
        self._validators: dict[str, jsonschema_rs.Validator] = {}

    def check(self, copy: Copy, event_type: str) -> None:
        """A message fits the headers and the payload of the one channel that its subject is on."""
        kind = copy.subject.split(".")[3]
        own = kind if kind == "received" else copy.subject.split(".")[4]
        if own in ("published", "received"):
            message = {"published": "PublishedCloudEvent", "received": "ReceivedCloudEvent"}[own]
        else:
            words = event_type.replace("_", ".").split(".")
            message = "".join(word.capitalize() for word in words)
            assert self._channel(message)["address"].endswith(f".{event_type}")
        self._validator(message, "headers").validate(copy.headers)
        self._validator(message, "payload").validate(msgspec.json.decode(copy.body))

    def _channel(self, message: str) -> dict[str, Any]:
        [channel] = [each for each in self._document["channels"].values() if message in each["messages"]]
        return channel

    def _validator(self, message: str, part: str) -> jsonschema_rs.Validator:
        name = f"{message}.{part}"
        if name not in self._validators:
            schema = self._document["components"]["messages"][message][part]
            components = {"components": self._document["components"]}
            self._validators[name] = jsonschema_rs.Draft202012Validator({**components, "allOf": [schema]})
        return self._validators[name]


def as_javascript_has_it(value: Any) -> Any:
    """JSON as JavaScript reads it: every number is a double."""
    match value:
        case dict():
            return {name: as_javascript_has_it(each) for name, each in cast("dict[str, Any]", value).items()}
        case list():
            return [as_javascript_has_it(each) for each in cast("list[Any]", value)]
        case int() if abs(value) > 2**53:
            return float(value)
        case _:
            return value


async def told_by_javascript(official: Path, found: Iterable[Copy]) -> list[dict[str, Any]]:
    lines = [
        msgspec.json.encode({"headers": message.headers, "body": message.body.decode()})
        for message in map(as_http, found)
    ]
    said = await asyncio.to_thread(told_by, official / "cloudevents.mjs", b"\n".join(lines) + b"\n")
    return [msgspec.json.decode(line) for line in said.splitlines()]
